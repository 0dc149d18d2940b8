"""The command `python -m sw.run`, on a model of a chip."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hw.config import Config
from hw.isa import Error
from sw import run as tool
from sw.errors import UserError
from tests.chip_model import Board

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.onnx"
CONFIG = Config(co_lanes=8, requantisers=4, act_vectors=2048, weight_vectors=512)
CONFIG_JSON = '{"co_lanes": 8, "requantisers": 4, "act_vectors": 2048, "weight_vectors": 512}'


@pytest.fixture
def images(tmp_path):
    """Two files with something of the shape of a digit."""
    files = []
    for seed in range(2):
        files.append(tmp_path / f"{seed}.npy")
        values = np.random.default_rng(seed).integers(0, 256, (1, 1, 32, 32))
        np.save(files[-1], values.astype(np.float32))
    return files


@pytest.fixture
def board(monkeypatch):
    board = Board(CONFIG)
    opened = []
    monkeypatch.setattr(tool, "open_target",
                        lambda name, **options: opened.append((name, options)) or board.chip)
    board.opened = opened
    return board


def command(images, *more):
    return tool.main([str(DIGITS), "--image", *map(str, images), "--config", CONFIG_JSON,
                      "--target", "serial:/dev/x", *more])


def test_table_and_report(board, images, tmp_path, capsys):
    assert command(images, "--json", str(tmp_path / "report.json"), "--baud", "3000000") == 0
    name, options = board.opened[0]
    assert name == "serial:/dev/x" and options["baud"] == 3_000_000
    assert options["board"].name == "arty_a7" and options["board"].config == CONFIG
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (f"serial:/dev/x: 128 lanes at 100 MHz, configuration "
                        f"{CONFIG.digest:08x}")
    assert re.fullmatch(r"cycles of an image +1,234 +[0-9.]+ % of peak", lines[1])
    assert "81037.3 images/s at 100 MHz" in lines
    assert sum(line.startswith(str(tmp_path)) for line in lines) == 2
    assert lines[-1] == "20 output values compared with golden: 0 mismatches"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["cycles"] == 1234 and report["mismatches"] == 0
    assert [image["file"] for image in report["images"]] == list(map(str, images))
    assert all(len(image["top5"]) == 5 for image in report["images"])
    assert report["link"]["requests"] > 100 and report["link"]["retries"] == 0
    assert board.line.closed


def test_a_wrong_value_is_a_mismatch(board, images, capsys):
    """What the core wrote is changed behind its back."""
    run = board.core.run

    def spoilt():
        before = dict(board.memory.words)
        run()
        for address, word in board.memory.words.items():
            if before.get(address, 0) != word:
                board.memory.words[address] ^= 0x10000

    board.core.run = spoilt
    assert command(images[:1]) == 1
    shown = capsys.readouterr().out
    assert re.search("compared with golden: [1-9][0-9]* mismatches", shown)
    assert "\nMISMATCH: " in shown


def test_nothing_is_compared_if_so_asked(board, images, capsys):
    assert command(images[:1], "--check", "none") == 0
    assert "nothing was compared (--check none)" in capsys.readouterr().out


@pytest.mark.parametrize(("spoil", "status", "message"), [
    (lambda board: setattr(board.core, "fault", Error.READ), 1, "with READ at instruction 1"),
    (lambda board: setattr(board.line, "deaf", True), 1, "model: no answer to a write"),
    (lambda board: board.core.values.update(CONFIG=1), 2, "the core is 00000001; compile again"),
])
def test_failures_are_one_line(board, images, tmp_path, capsys, spoil, status, message):
    spoil(board)
    assert command(images, "--json", str(tmp_path / "report.json")) == status
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: ") and message in shown.err
    assert shown.err.count("\n") == 1 and not (tmp_path / "report.json").exists()
    assert board.line.closed


@pytest.mark.parametrize(("options", "message"), [
    (["--target", "jtag"], "target 'jtag' is unknown; there are: sim, chip-sim, serial:DEVICE"),
    (["--target", "serial:"], "target 'serial:' is unknown"),
    (["--target", "chip-sim", "--bit-cycles", "1"], "a bit of 1 cycles; 2 or more"),
    (["--target", "sim", "--baud", "9600"], "target 'sim' has no baud rate; only serial:DEVICE"),
    (["--target", "serial:/dev/x", "--baud", "0"], "a serial port at 0 baud; 1 or more"),
    (["--target", "serial:/dev/x", "--bit-cycles", "2"], "target 'serial:/dev/x': cycles of a bit"),
    (["--target", "chip-sim", "--board", "genesys2"], "target 'chip-sim': board genesys2 is a"),
    (["--board", "none"], "board 'none' is unknown; there are: arty_a7"),
    (["--board", "arty_a7", "--variant", "7"], "board 'arty_a7' has no variant '7'"),
    (["--config", "none"], "configuration none: "),
    (["--config", ""], "configuration : "),
    (["--json", "/none/report.json"], "cannot write /none/report.json"),
])
def test_bad_options(images, capsys, options, message):
    assert tool.main([str(DIGITS), "--image", str(images[0]), *options]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {message}") and shown.out == ""


def test_bad_calls():
    with pytest.raises(UserError, match="no image is given"):
        tool.recognise(DIGITS, [], "sim")
    with pytest.raises(UserError, match="check 'eyes' is unknown; there are: golden, none"):
        tool.recognise(DIGITS, ["x.npy"], "sim", check="eyes")
