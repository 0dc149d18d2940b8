"""Board descriptions: found by name and variant, and each core fits its device by count."""

import dataclasses
import importlib.util

import pytest

import boards
from hw.build import FLOWS
from hw.config import VECTOR
from hw.project import NAMES

ARTY = boards.get("arty_a7")
ALL = [board for variants in boards.available().values() for board in variants]
SERIES7 = [board for board in ALL if board.device.startswith("xc7")]


def test_by_name_and_variant():
    assert boards.get("arty_a7") is boards.get("arty-a7", "35")
    assert boards.get("arty_a7").device == "xc7a35ticsg324-1L"
    assert boards.get("arty_a7", "100").device == "xc7a100tcsg324-1"
    assert boards.get("arty_a7", 100).clock_hz == 100e6


def test_unknown_names_list_what_there_is():
    with pytest.raises(boards.UnknownBoard, match="'nonesuch' is unknown; there are: arty_a7"):
        boards.get("nonesuch")
    with pytest.raises(boards.UnknownBoard, match="no variant '200'; there are: 35, 100"):
        boards.get("arty_a7", "200")


def test_names_are_unique():
    assert len({str(board) for board in ALL}) == len(ALL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ALL[0].clock_hz = 1
    with pytest.raises(TypeError):
        ALL[0].resources["dsp"] = 1


@pytest.mark.parametrize("board", SERIES7, ids=str)
def test_multipliers_and_memories_fit_the_device(board):
    config = board.config
    packed = (VECTOR - config.table_rows) * config.co_lanes * config.pixels // 2
    assert config.multiplier == "dsp48-packed"
    assert packed + 2 * config.requantisers <= board.resources["dsp"]
    bits = 128 * (config.act_vectors + config.weight_vectors + config.line_vectors) \
        + 32 * config.image_width * config.image_lines
    assert bits <= 0.95 * 32 * 1024 * board.resources["bram36"]


def test_clocks_of_core_and_memory():
    assert not ARTY.crosses_clocks
    assert dataclasses.replace(ARTY, clock_hz=125e6).crosses_clocks
    assert not dataclasses.replace(ARTY, clock_hz=125e6, dram=None).crosses_clocks


def test_another_clock():
    """A DDR3 memory keeps its own; an SDR memory has the core's."""
    fast = ARTY.at_clock(125e6)
    assert (fast.clock_hz, fast.dram.clock_hz, fast.fastest_hz) == (125e6, 100e6, 125e6)
    assert ARTY.at_clock(80e6).fastest_hz == 100e6
    slow = boards.get("ulx3s").at_clock(50e6)
    assert slow.clock_hz == slow.dram.clock_hz == 50e6 and not slow.crosses_clocks


def test_memories_in_words():
    assert ARTY.memory == "DDR3-800 x16"
    assert dataclasses.replace(ARTY, dram=None, bus_bytes=32).memory == "AXI4, 32 bytes a cycle"
    assert boards.get("ulx3s").at_clock(50e6).memory == "SDR-50 x16"


@pytest.mark.parametrize("board", ALL, ids=str)
def test_words_of_the_description(board):
    """Every resource has a name, every flow a module."""
    assert set(board.resources) <= set(NAMES)
    assert importlib.util.find_spec(FLOWS[board.flow]) is not None
