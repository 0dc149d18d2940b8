"""The benchmark: its rows, a small network on one of them, and the command line."""

import json

import numpy as np
import onnx
import pytest

from hw.presets import PRESETS
from sim import bench
from sim.harness import Memory
from tests.models import small_squeezenet

ROW = bench.Row("256-lanes", PRESETS["256-lanes"], Memory(), "model")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    builder = small_squeezenet(1, shared=True)
    onnx.save(builder.model("scores"), folder / "small.onnx")
    np.save(folder / "image.npy", builder.image())
    return folder / "small.onnx", folder / "image.npy"


def test_rows():
    assert len({row.name for row in bench.ROWS}) == len(bench.ROWS)
    lanes = {row.name: (row.config.lanes, row.memory.kind) for row in bench.ROWS}
    assert lanes["128-lanes"] == (128, "litedram") and lanes["1024-lanes"] == (1024, "model")
    sdram = next(row for row in bench.ROWS if row.name == "256-lanes-sdram")
    assert sdram.memory.width == 2 and sdram.config.on_chip_bytes <= 400_000


def test_figures_and_table(files):
    model, image = files
    report = bench.measure([model], image, [ROW])
    (result,) = report["results"]
    assert result["mismatches"] == 0 and result["checked_values"] > 5_000
    assert result["model"] == "small" and result["configuration"] == "256-lanes"
    assert sum(layer["cycles"] for layer in result["layers"]) == pytest.approx(
        result["cycles"], abs=16)
    line = bench.format_table(report["results"]).splitlines()[-1]
    assert f"{result['cycles']:,}" in line and f"0 of {result['checked_values']:,}" in line


def test_command_line(files, tmp_path, monkeypatch, capsys):
    model, image = files
    monkeypatch.setattr(bench, "ROWS", (ROW,))
    out = tmp_path / "bench.json"
    assert bench.main([str(model), "--image", str(image), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["results"][0]["lanes"] == 256
    assert "| 256-lanes | model | small |" in capsys.readouterr().out
    assert bench.main([str(tmp_path / "no.onnx"), "--image", str(image)]) == 2
    assert "no.onnx" in capsys.readouterr().err


def test_networks_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "ROWS", (ROW,))
    monkeypatch.setattr(bench, "FAMILY_FOLDER", tmp_path)
    image = tmp_path / "image.npy"
    np.save(image, np.random.default_rng(1).normal(0, 50, (3, 32, 32)).astype(np.float32))
    assert bench.main(["squeezenet-cifar", "--image", str(image)]) == 0
    assert "| model | squeezenet-cifar |" in capsys.readouterr().out
    assert (tmp_path / "squeezenet-cifar.onnx").exists()
