"""The command line of the quantizer."""

import csv
import json

import numpy as np
import onnx
import pytest

from sw.importer import import_model
from sw.quantize import main
from tests.data import data_file
from tests.float_models import fire_network, photographs_of

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("PIL")


@pytest.fixture
def folder(tmp_path):
    builder = fire_network()
    builder.metadata = {"firecore.preprocess": "rgb-imagenet"}
    onnx.save(builder.model(builder.out), tmp_path / "float.onnx")
    files = photographs_of(tmp_path / "images", 6)
    with open(tmp_path / "images" / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "index"])
        writer.writerows([path.name, number] for number, path in enumerate(files))
    return tmp_path


def run(folder, *options):
    return main([str(folder / "float.onnx"), "--calibration", str(folder / "images"),
                 "-o", str(folder / "int8.onnx"), *map(str, options)])


def test_quantizes_and_prints_the_accuracy(folder, capsys):
    assert run(folder, "--evaluation", folder / "images", "--count", 4,
               "--json", folder / "report.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "with 4 images, preprocessing rgb-imagenet" in lines[0]
    assert lines[1].startswith("float:     6 images, top-1 ")
    assert lines[2].startswith("quantized: 6 images, top-1 ") and "agreement" in lines[2]
    report = json.loads((folder / "report.json").read_text())
    assert report["calibration_images"] == 4 and report["preprocess"] == "rgb-imagenet"
    assert report["float"]["images"] == report["quantized"]["images"] == 6
    assert 0 <= report["quantized"]["agreement"] <= 100
    graph = import_model(folder / "int8.onnx")
    assert graph.metadata["firecore.preprocess"] == "rgb"


def test_onnxruntime_runs_it_unchanged(folder):
    assert run(folder) == 0
    session = ort.InferenceSession(str(folder / "int8.onnx"),
                                   providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, 16, 16)).astype(np.float32)
    scores, = session.run(None, {"image": pixels})
    assert scores.shape == (1, 10, 1, 1) and scores.sum() == pytest.approx(1, abs=1e-5)


def failed(capsys, status, *words):
    output = capsys.readouterr()
    assert status == 2 and not output.out
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    for word in words:
        assert word in output.err, output.err


def test_bad_input(folder, capsys):
    failed(capsys, run(folder, "--labels", "x.csv"), "--labels needs --evaluation")
    failed(capsys, run(folder, "--percentile", "12"), "--percentile 12")
    failed(capsys, run(folder, "--acc-width", "30"), "20 to 25")
    failed(capsys, run(folder, "--count", "0"), "count of 0")
    failed(capsys, run(folder, "--preprocess", "grey"), "float.onnx", "takes 3")
    failed(capsys, run(folder, "--evaluation", folder), str(folder), "no images")
    failed(capsys, run(folder, "--calibration", folder / "none"), "no such folder")
    (folder / "empty").mkdir()
    failed(capsys, run(folder, "--calibration", folder / "empty"), "empty", "no images")
    failed(capsys, run(folder, "-o", folder / "absent" / "x.onnx"), "not a file in a folder")
    (folder / "images" / "a.jpg").write_text("no image")
    failed(capsys, run(folder), "a.jpg", "not an image")
    (folder / "images" / "a.jpg").unlink()
    failed(capsys, main([str(folder / "none.onnx"), "--calibration", str(folder / "images"),
                         "-o", str(folder / "int8.onnx")]), "none.onnx", "cannot be read")
    (folder / "float.onnx").write_bytes((folder / "float.onnx").read_bytes()[:500])
    failed(capsys, run(folder), "float.onnx", "truncated")
    assert not (folder / "int8.onnx").exists()


def test_a_model_without_trained_weights(tmp_path, capsys):
    """onnx's own SqueezeNet, with weights that are all alike, at the size of its input."""
    path = (onnx.__path__[0] + "/backend/test/data/light/light_squeezenet.onnx")
    photographs_of(tmp_path / "images", 1, (40, 60))
    status = main([path, "--calibration", str(tmp_path / "images"), "-o",
                   str(tmp_path / "int8.onnx")])
    assert status == 0, capsys.readouterr().err
    graph = import_model(tmp_path / "int8.onnx")
    assert graph.outputs == ("softmaxout_1",)


def test_real_network_keeps_its_accuracy(tmp_path, capsys):
    """A few images only."""
    model = data_file("squeezenet1.1_fp32.onnx")
    images = data_file("images/calibration")
    status = main([str(model), "--calibration", str(images), "--count", "5", "-o",
                   str(tmp_path / "int8.onnx"), "--preprocess", "bgr-mean"])
    assert status == 0, capsys.readouterr().err
    from sw.accuracy import image_files
    from sw.classifier import OnnxRuntime
    from sw.evaluate import evaluate

    files = image_files(data_file("images/evaluation"), 20)
    figures = evaluate(OnnxRuntime(tmp_path / "int8.onnx"), files,
                       reference=OnnxRuntime(model)).figures()
    assert figures["agreement"] >= 85
