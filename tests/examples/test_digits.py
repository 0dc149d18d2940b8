"""The committed digits model and the files around it."""

import csv
import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
MODEL = DIGITS / "digits.onnx"

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DIGITS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # demo imports digits by its name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    pytest.importorskip("sklearn", reason="scikit-learn, which has the digits, is not installed")
    return load("digits")


@pytest.fixture(scope="module")
def demo(digits: ModuleType) -> ModuleType:
    return load("demo")


@pytest.fixture(scope="module")
def graph() -> "onnx.GraphProto":
    model = onnx.load(MODEL)
    onnx.checker.check_model(model, full_check=True)
    return model.graph


def test_model_is_small_and_has_its_properties():
    assert MODEL.stat().st_size < 200_000
    properties = {entry.key: entry.value for entry in onnx.load(MODEL).metadata_props}
    assert properties["firecore.preprocess"] == "grey"
    assert properties["firecore.labels"].split(",") == [str(digit) for digit in range(10)]


def test_model_is_a_squeezenet_with_a_bypass(graph):
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["Concat"] >= 3
    assert kinds["Add"] == 1
    assert kinds["Conv"] == 2 + 3 * kinds["Concat"]
    assert kinds["GlobalAveragePool"] == 1


def test_every_layer_is_quantized(graph):
    """Each operator up to the mean takes and gives 8-bit tensors, zero points are 0, and the
    input's scale is 1."""
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    quantizers = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    checked = 0
    for node in graph.node:
        if node.op_type not in ("Conv", "Concat", "Add", "MaxPool"):
            continue
        checked += 1
        assert all(made_by[name].op_type == "DequantizeLinear" for name in node.input), node.name
        assert node.output[0] in quantizers, node.name
    assert checked == 11 + 3 + 1 + 2
    for name, node in quantizers.items():
        zero = values[node.input[2]]
        assert zero.dtype == np.uint8 and zero == 0, name
    assert values[quantizers[graph.input[0].name].input[1]] == 1


def test_concat_copies(graph):
    """Both branches of a Concat and its result have one scale."""
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    quantizers = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    for node in graph.node:
        if node.op_type == "Concat":
            scales = {float(values[made_by[name].input[1]]) for name in node.input}
            scales.add(float(values[quantizers[node.output[0]].input[1]]))
            assert len(scales) == 1, node.name


def test_onnxruntime_recognises_the_test_digits(digits):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    images, labels = digits.test_set()
    name = session.get_inputs()[0].name
    scores = np.stack([session.run(None, {name: image[np.newaxis]})[0] for image in images])
    assert scores.shape == (len(labels), 1, 10, 1, 1)
    assert np.mean(scores.reshape(len(labels), 10).argmax(axis=1) == labels) >= 0.97


def test_sets_do_not_overlap_and_inputs_are_grey_bytes(digits):
    (train, train_labels), (test, test_labels) = digits.training_set(), digits.test_set()
    assert train.shape == (1437, 1, 32, 32) and train_labels.shape == (1437,)
    assert test.shape == (360, 1, 32, 32) and test_labels.shape == (360,)
    assert test.dtype == np.float32
    assert np.array_equal(test, test.astype(np.uint8))
    assert test.min() == 0 and test.max() == 255
    seen = {image.tobytes() for image in train}
    assert not any(image.tobytes() in seen for image in test)


def test_to_input_interpolates_between_pixel_centres(digits):
    ramp = np.broadcast_to(np.arange(8) * 2.0, (1, 8, 8))
    centres = ((np.arange(32) + 0.5) / 4 - 0.5).clip(0, 7)
    image = digits.to_input(ramp)
    assert image.shape == (1, 1, 32, 32) and image.dtype == np.float32
    assert np.array_equal(image[0, 0], np.tile(np.rint(centres * 2 * 255 / 16), (32, 1)))
    assert np.array_equal(digits.to_input(ramp.swapaxes(1, 2))[0, 0], image[0, 0].T)


def test_as_text_draws_each_pixel_two_wide(digits):
    digit = np.zeros((1, 8, 8))
    digit[0, 2, 5] = 16
    lines = digits.as_text(digits.to_input(digit)[0]).split("\n")
    assert [len(line) for line in lines] == [16] * 8
    assert lines[2] == " " * 10 + "@@" + " " * 4
    assert "".join(lines[:2] + lines[3:]).strip() == ""


def test_digits_tool_writes_inputs_and_labels(digits, tmp_path):
    command = [sys.executable, DIGITS / "digits.py", "-o", tmp_path / "out", "--count", "3"]
    subprocess.run(command, check=True, capture_output=True)
    images, labels = digits.test_set()
    with open(tmp_path / "out" / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == list(labels[:3])
    for row, image in zip(rows, images[:3], strict=True):
        assert np.array_equal(np.load(tmp_path / "out" / row["file"]), image[np.newaxis])


@pytest.mark.parametrize("tool", ["digits", "demo"])
def test_tools_refuse_a_count_outside_the_test_set(digits, tool, tmp_path):
    output = ["-o", tmp_path / "out"] if tool == "digits" else []
    command = [sys.executable, DIGITS / f"{tool}.py", *output, "--count", "361"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "361" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def report(classes: list[int], mismatches: int = 0) -> dict:
    """A report as `sim.run.run` gives it, of a run that recognised these classes."""
    return {
        "total": {"cycles": 5000 * len(classes), "macs": 1, "lanes": 256, "efficiency": 0.5},
        "layers": [],
        "checked_values": 1000,
        "mismatches": mismatches,
        "images": [
            {"file": "", "cycles": 5000, "top5": [[best, 2.0], [(best + 1) % 10, 1.0]]}
            for best in classes
        ],
        "sim_seconds": 1.0,
        "fps": 20000.0,
        "clock_hz": 100e6,
    }


@pytest.mark.parametrize("mismatches, wrong, status", [(0, 0, 0), (1, 0, 1), (0, 1, 1)])
def test_demo_status(demo, digits, monkeypatch, capsys, mismatches, wrong, status):
    """A differing value or a wrong digit of eight fails; a perfect run passes."""
    labels = digits.test_set()[1][:8]
    classes = [int(label) for label in labels]
    classes[0] = (classes[0] + wrong) % 10
    simulator = ModuleType("sim.run")
    simulator.run = lambda model, inputs, **options: report(classes[: len(inputs)], mismatches)
    monkeypatch.setitem(sys.modules, "sim.run", simulator)
    assert demo.main(["--count", "8"]) == status
    shown = capsys.readouterr().out
    assert shown.count(", right") == 8 - wrong
    assert f"digits right     {8 - wrong} of 8" in shown


def test_gallery_fits_the_width(demo, digits):
    images, labels = (part[:7] for part in digits.test_set())
    text = demo.gallery(images, labels, [int(label) for label in labels], 80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("right") == 7
    assert digits.as_text(images[0]).splitlines()[0].rstrip() in text
