"""Board descriptions: found by name and variant, and each core fits its device by count."""

import dataclasses

import pytest

import boards
from hw.config import VECTOR

ALL = [board for variants in boards.available().values() for board in variants]


def test_by_name_and_variant():
    assert boards.get("arty_a7") is boards.get("arty-a7", "35")
    assert boards.get("arty_a7").device == "xc7a35ticsg324-1L"
    assert boards.get("arty_a7", "100").device == "xc7a100tcsg324-1"
    assert boards.get("arty_a7", 100).clock_hz == 100e6


def test_unknown_names_list_what_there_is():
    with pytest.raises(boards.UnknownBoard, match="'nonesuch' is unknown; there are: arty_a7"):
        boards.get("nonesuch")
    with pytest.raises(ValueError, match="no variant '200'; there are: 35, 100"):
        boards.get("arty_a7", "200")


def test_names_are_unique():
    assert len({str(board) for board in ALL}) == len(ALL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ALL[0].clock_hz = 1
    with pytest.raises(TypeError):
        ALL[0].resources["dsp"] = 1


@pytest.mark.parametrize("board", ALL, ids=str)
def test_multipliers_and_memories_fit_the_device(board):
    config = board.config
    packed = (VECTOR - config.table_rows) * config.co_lanes * config.pixels // 2
    assert config.multiplier == "dsp48-packed"
    assert packed + 2 * config.requantisers <= board.resources["dsp"]
    bits = 128 * (config.act_vectors + config.weight_vectors + config.line_vectors) \
        + 32 * config.image_width * config.image_lines
    assert bits <= 0.95 * 32 * 1024 * board.resources["bram36"]


def test_one_clock_for_core_and_memory():
    with pytest.raises(ValueError, match="clock_hz is 5e\\+07, that of its memory 1e\\+08"):
        dataclasses.replace(ALL[0], clock_hz=50e6)
