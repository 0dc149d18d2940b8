"""Predicted frames of boards: which boards, what is kept, and one figure against a measured one."""

import json

import pytest

import boards
from hw import figures
from hw.boards import MODELS as COLUMNS
from sw import predict_boards

ARTY = boards.get("arty_a7", "35")


@pytest.fixture
def asked(monkeypatch):
    """Boards that were predicted; the cycles of each are its lanes."""
    seen = []

    def predicted(board, progress):
        progress("half", 0.5)
        seen.append(board.name)
        return {name: {"cycles": board.config.lanes, "frames_per_second": 1.5}
                for name in predict_boards.MODELS}

    monkeypatch.setattr(predict_boards, "predicted", predicted)
    return seen


def test_columns():
    assert tuple(predict_boards.MODELS) == COLUMNS


def test_boards_without_figures(figures_file, asked, capsys, tmp_path):
    every = [board for variants in boards.available().values() for board in variants]
    path = tmp_path / "frames.json"
    assert predict_boards.main(["--json", str(path)]) == 0
    assert asked == [board.name for board in every]
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{board}: frames/s of v1.1 1.5, v1.0 1.5" for board in every]
    assert json.loads(path.read_text())["arty_a7-35"]["v1.0"]["cycles"] == 256
    assert figures.recorded(ARTY, "predicted")["v1.0"]["cycles"] == 256
    entry = json.loads(figures_file.read_text())["arty_a7-35"]["predicted"]
    assert entry["made_by"] == "python -m sw.predict_boards arty_a7"
    assert predict_boards.main([]) == 0 and len(asked) == len(every)
    assert capsys.readouterr().out == "no board without figures\n"


def test_boards_by_name(figures_file, asked, capsys):
    assert predict_boards.main(["genesys2", "arty-a7"]) == 0
    assert asked == ["genesys2", "arty_a7", "arty_a7"]
    capsys.readouterr()
    assert predict_boards.main(["nonesuch"]) == 2
    assert capsys.readouterr().err.startswith("error: board 'nonesuch' is unknown; there are: ")


def test_prediction(monkeypatch):
    """1,387,689 cycles were measured on this core and memory."""
    monkeypatch.setattr(predict_boards, "MODELS", {"v1.1": "squeezenet1.1"})
    found = predict_boards.predicted(ARTY)["v1.1"]
    assert found["cycles"] == pytest.approx(1_387_689, rel=0.005)
    assert found["frames_per_second"] == pytest.approx(100e6 / found["cycles"], abs=0.01)
