"""Accuracy figures and the command line that prints them."""

import json

import numpy as np
import onnx
import pytest

from sw.accuracy import Tally, image_files, read_labels
from sw.classifier import OnnxRuntime
from sw.errors import UserError
from sw.evaluate import main, open_backend
from sw.quantizer import quantize
from tests.float_models import fire_network, photographs_of

pytest.importorskip("onnxruntime")
pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A float model, the quantized one, and images labelled with what the float model says but for
    the last of them."""
    folder = tmp_path_factory.mktemp("evaluate")
    builder = fire_network(1)
    onnx.save(builder.model(builder.out), folder / "float.onnx")
    files = photographs_of(folder / "images", 5)
    result = quantize(builder.model(builder.out), files, preprocess="rgb-imagenet")
    onnx.save(result.model, folder / "int8.onnx")
    model = OnnxRuntime(folder / "float.onnx", "rgb-imagenet")
    best = [int(model.scores(file).argmax()) for file in files]
    worst = int(model.scores(files[-1]).argmin())
    lines = [f"{file.name},{label}" for file, label in zip(files, [*best[:-1], worst], strict=True)]
    (folder / "images" / "labels.csv").write_text("\n".join(["filename,index", *lines]) + "\n")
    return folder


def evaluate(folder, model, *options):
    path = folder / "report.json"
    status = main([str(folder / model), "--images", str(folder / "images"), "--json", str(path),
                   *map(str, options)])
    return status, json.loads(path.read_text()) if status == 0 else None


def test_accuracy_of_a_float_model(folder, capsys):
    status, report = evaluate(folder, "float.onnx", "--preprocess", "rgb-imagenet")
    assert status == 0
    assert report == {"images": 5, "top1": 80.0, "top5": 80.0, "agreement": None}
    assert capsys.readouterr().out == "5 images, top-1 80.00 %, top-5 80.00 %\n"


@pytest.mark.parametrize("backend", ["onnxruntime", "golden"])
def test_quantized_models_need_no_option(folder, backend):
    status, report = evaluate(folder, "int8.onnx", "--backend", backend, "--reference",
                              folder / "float.onnx", "--count", "4")
    assert status == 0 and report["images"] == 4
    assert report["agreement"] >= 75 and report["top1"] == report["agreement"]


def test_preprocessing_changes_what_the_model_sees(folder):
    files = image_files(folder / "images")
    right = OnnxRuntime(folder / "int8.onnx")
    assert right.preprocess == "rgb" and right.float_preprocess == "rgb-imagenet"
    wrong = OnnxRuntime(folder / "int8.onnx", "bgr")
    assert (right.scores(files[0]) != wrong.scores(files[0])).any()


def test_without_labels_only_the_agreement_is_known(folder, tmp_path):
    photographs_of(tmp_path / "images", 2)
    for name in ("int8.onnx", "float.onnx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    status, report = evaluate(tmp_path, "int8.onnx", "--reference", tmp_path / "float.onnx")
    assert status == 0 and report["top1"] is None and report["agreement"] is not None


def test_tally():
    tally = Tally()
    scores = np.array([0, 3, 3, 1, 0, 0, 0])
    tally.add(scores, 1, scores)
    tally.add(scores, 2, scores[::-1])
    tally.add(scores, 5, scores)
    tally.add(scores, 6, scores)
    assert tally.figures() == {"images": 4, "top1": 25.0, "top5": 50.0, "agreement": 75.0}
    with pytest.raises(UserError, match="class 7 is labelled; the model has 7"):
        tally.add(scores, 7)
    assert Tally().figures()["top1"] is None


def test_labels(tmp_path):
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    table = tmp_path / "labels.csv"
    table.write_text("class,filename,more\n4,b.png,x\n3,a.png,y\n")
    assert read_labels(table, files) == [3, 4]
    for text, message in (("filename,index\na.png,3\n", "no label for b.png"),
                          ("a.png,3\n", "a line of headings"), ("", "a line of headings"),
                          ("filename,index\na.png,dog\n", "line 2: no file name with a whole"),
                          ("filename,index\na.png\n", "line 2")):
        table.write_text(text)
        with pytest.raises(UserError, match=message):
            read_labels(table, files)
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a CSV file|headings"):
        read_labels(table, files)


def failed(capsys, status, *words):
    output = capsys.readouterr()
    assert status == 2 and not output.out
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    for word in words:
        assert word in output.err, output.err


def test_bad_input(folder, tmp_path, capsys):
    int8 = folder / "int8.onnx"
    images = str(folder / "images")
    failed(capsys, main([str(int8), "--images", str(tmp_path)]), str(tmp_path), "no images")
    failed(capsys, main([str(int8), "--images", str(tmp_path / "x")]), "no such folder")
    failed(capsys, main([str(tmp_path / "x.onnx"), "--images", images]), "no such file")
    failed(capsys, main([str(int8), "--images", images, "--labels", str(tmp_path / "l.csv")]),
           "l.csv", "cannot be read")
    failed(capsys, main([str(int8), "--images", images, "--config", "256-lanes"]),
           "for the backend rtl")
    failed(capsys, main([str(int8), "--images", images, "--preprocess", "grey"]), "grey",
           "takes 3")
    photographs_of(tmp_path, 1)
    failed(capsys, main([str(int8), "--images", str(tmp_path)]), "labels.csv", "cannot be read")
    (tmp_path / "broken.onnx").write_text("nothing")
    failed(capsys, main([str(tmp_path / "broken.onnx"), "--images", images]), "does not take")
    (tmp_path / "photo1.jpg").write_text("no image")
    (tmp_path / "labels.csv").write_text("filename,index\nphoto0.png,1\nphoto1.jpg,2\n")
    failed(capsys, main([str(int8), "--images", str(tmp_path)]), "photo1.jpg", "not an image")
    with pytest.raises(UserError, match="'gpu' is unknown"):
        open_backend("gpu", int8)
