"""Onnxruntime, golden operators and core, compared over a folder of images."""

import json

import numpy as np
import onnx
import pytest

import sim.verify
from hw.config import Config
from sim.verify import main, verify
from sw.accuracy import image_files
from sw.evaluate import main as evaluate_main
from tests.models import small_squeezenet

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    builder = small_squeezenet(2, shared=True)
    onnx.save(builder.model("scores"), folder / "model.onnx")
    (folder / "images").mkdir()
    for number in range(3):
        np.save(folder / "images" / f"{number}.npy", builder.image())
    return folder


def test_all_three_are_equal(folder, capsys):
    path = folder / "report.json"
    assert main([str(folder / "model.onnx"), "--images", str(folder / "images"), "--count", "2",
                 "--json", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 images: 0 mismatches"
    report = json.loads(path.read_text())
    assert report["images"] == 2 and report["mismatches"] == 0
    table = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    for layer in report["layers"]:
        assert layer["golden_values"] > 0 and layer["rtl_values"] > 0, layer
        assert table[layer["name"]] == [f"{layer['golden_values']:,}", "0",
                                        f"{layer['rtl_values']:,}", "0"]
    assert table["all"][2] == f"{sum(layer['rtl_values'] for layer in report['layers']):,}"


def test_a_wrong_operator_is_seen(folder, monkeypatch, capsys):
    """Golden operators that round otherwise differ from onnxruntime, in the layers that do it."""
    real = sim.verify.golden.run

    def wrong(graph, image, *more):
        values = real(graph, image, *more)
        name = next(node.output for node in graph.nodes if type(node).__name__ == "Conv")
        values[name] = values[name].copy()
        values[name].flat[7] ^= 1
        return values

    monkeypatch.setattr(sim.verify.golden, "run", wrong)
    result = verify(folder / "model.onnx", image_files(folder / "images"), rtl=False)
    assert result.mismatches == 3
    bad = [line for line in result.lines if line.golden.mismatches]
    assert len(bad) == 1 and "onnxruntime" in bad[0].golden.first
    status = main([str(folder / "model.onnx"), "--images", str(folder / "images"), "--no-rtl"])
    output = capsys.readouterr().out
    assert status == 1 and f"MISMATCH in {bad[0].name}" in output
    assert output.endswith("3 images: 3 mismatches\n")


def test_a_wrong_core_is_seen(folder, monkeypatch):
    real = sim.verify.check_run

    def wrong(program, values, results, outputs):
        results = results.copy()
        results["data"][5, 0] ^= 1
        return real(program, values, results, outputs)

    monkeypatch.setattr(sim.verify, "check_run", wrong)
    result = verify(folder / "model.onnx", image_files(folder / "images", 1), config=Config())
    assert [line.rtl.mismatches for line in result.lines if line.rtl.mismatches] == [1]
    assert not any(line.golden.mismatches for line in result.lines)


def test_the_core_as_a_backend(folder, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("filename,index\n" + "".join(f"{number}.npy,0\n" for number in range(3)))
    reports = []
    for backend in ("rtl", "golden", "onnxruntime"):
        path = tmp_path / f"{backend}.json"
        assert evaluate_main([str(folder / "model.onnx"), "--images", str(folder / "images"),
                              "--labels", str(labels), "--backend", backend, "--count", "2",
                              "--reference", str(folder / "model.onnx"), "--json", str(path)]) == 0
        reports.append(json.loads(path.read_text()))
    assert reports[0] == reports[1] == reports[2]
    assert reports[0]["images"] == 2 and reports[0]["agreement"] == 100.0


def test_bad_input(folder, tmp_path, capsys):
    for arguments, words in (
            ([folder / "none.onnx", "--images", folder / "images"], "none.onnx"),
            ([folder / "model.onnx", "--images", tmp_path], "no images"),
            ([folder / "model.onnx", "--images", folder / "images", "--config", "none"], "presets"),
            ([folder / "model.onnx", "--images", folder / "images", "--json",
              tmp_path / "no" / "r.json"], "r.json")):
        assert main(list(map(str, arguments))) == 2
        output = capsys.readouterr()
        assert output.err.startswith("error: ") and words in output.err and not output.out
        assert output.err.count("\n") == 1
