"""The table of boards, and the figures that it is made of."""

import dataclasses
import json

import pytest

import boards
from hw import boards as command
from hw import build, figures, flow_vivado
from hw.config import Config
from hw.project import BuildError

ARTY = boards.get("arty_a7", "35")
USED = {"lut": 15_545, "ff": 23_035, "dsp": 80, "bram36": 48}


def test_figures_are_for_the_board_as_it_is(figures_file):
    figures.record(ARTY, "resources", USED, "command")
    figures.record(ARTY, "predicted", {"v1.1": 1}, "another")
    assert figures.recorded(ARTY, "resources") == USED
    assert figures.recorded(ARTY, "predicted") == {"v1.1": 1}
    assert figures.recorded(boards.get("arty_a7", "100"), "resources") is None
    for change in ({"clock_hz": 90e6}, {"config": Config()}, {"device": "xc7a35tcsg324-1"},
                   {"dram": dataclasses.replace(ARTY.dram, banks=8)}):
        assert figures.recorded(dataclasses.replace(ARTY, **change), "resources") is None
    entry = json.loads(figures_file.read_text())["arty_a7-35"]["resources"]
    assert entry["made_by"] == "command"


def test_a_file_that_is_not_json(figures_file, monkeypatch, capsys):
    """A build that is to be recorded says so before its work."""
    figures_file.write_text("{")
    with pytest.raises(BuildError, match="figures.json: not JSON"):
        figures.recorded(ARTY, "resources")
    monkeypatch.setattr(flow_vivado, "check_tools", lambda options: None)
    monkeypatch.setattr(flow_vivado, "build", None)
    assert build.main(["--board", "arty_a7", "--record"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {figures_file}: not JSON: ")


def test_table(figures_file, capsys, tmp_path):
    """Every board has a line; what was not found is a dash."""
    figures.record(ARTY, "resources", USED, "command")
    figures.record(ARTY, "predicted", {
        "v1.1": {"cycles": 1_389_816, "frames_per_second": 71.95},
        "v1.0": {"cycles": 3_445_928, "frames_per_second": 29.02}}, "command")
    path = tmp_path / "deep" / "table.json"
    assert command.main(["--json", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    every = [board for variants in boards.available().values() for board in variants]
    assert len(lines) == 2 + len(every)
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["arty_a7 35", "xc7a35ticsg324-1L", "256", "100", "DDR3-800 x16",
                     "15,545 of 20,800", "23,035 of 41,600", "80 of 90", "48 of 50",
                     "72.0", "29.0"]
    assert "- of 63,400" in lines[3] and lines[3].endswith("| - | - |")
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    rows = json.loads(path.read_text())
    assert [row["part"] for row in rows] == [board.device for board in every]
    assert rows[0]["resources"] == USED and rows[1]["resources"] is None


def test_a_table_that_cannot_be_written(figures_file, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert command.main(["--json", str(tmp_path / "file" / "table.json")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")


def test_record_of_a_build(figures_file, tmp_path, monkeypatch, capsys):
    class Flow:
        @staticmethod
        def check_tools(options):
            pass

        @staticmethod
        def build(board, folder, options, progress):
            return {"resources": USED}

        @staticmethod
        def summary(report, folder):
            return "summary"

    monkeypatch.setattr(build.importlib, "import_module", lambda name: Flow)
    assert build.main(["--board", "arty_a7", "--variant", "100", "--record"]) == 0
    assert capsys.readouterr().out.endswith("summary\n")
    assert figures.recorded(boards.get("arty_a7", "100"), "resources") == USED
    entry = json.loads(figures_file.read_text())["arty_a7-100"]["resources"]
    assert entry["made_by"] == "python -m hw.build --board arty_a7 --variant 100 --record"
    for other in (["--core-clock", "90"], ["--config", "{}"], ["--synth", "none"]):
        assert build.main(["--board", "arty_a7", "--record", *other]) == 2
        assert capsys.readouterr().err.startswith("error: --record: supported for the board as")
