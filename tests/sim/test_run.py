"""The whole way from a model file to a report, and the command line."""

import json

import numpy as np
import onnx
import pytest

import sim.run
from hw.config import Config
from hw.profile import UNITS, UnitState
from sim.harness import Memory
from sim.run import describe, main, run, simulate
from sw.errors import UserError
from tests.data import data_file, photographs
from tests.models import small_squeezenet

CONFIG = Config()


@pytest.fixture(scope="module")
def builder():
    return small_squeezenet(1, shared=True)


@pytest.fixture(scope="module")
def model(builder, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    proto = builder.model("scores")
    proto.metadata_props.add(key="firecore.labels", value=",".join(f"kind{i}" for i in range(20)))
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="module")
def images(builder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{i}.npy" for i in range(2)]
    for path in paths:
        np.save(path, builder.image())
    return [str(path) for path in paths]


def test_report_layout(model, images):
    report = run(model, images, config=CONFIG)
    assert set(report) == {"total", "layers", "checked_values", "mismatches", "images",
                           "sim_seconds", "fps", "clock_hz", "profile"}
    assert set(report["total"]) == {"cycles", "predicted", "macs", "lanes", "efficiency"}
    total = report["total"]
    assert total["lanes"] == CONFIG.lanes == 256
    assert total["efficiency"] == pytest.approx(
        total["macs"] / (total["cycles"] * total["lanes"]), abs=1e-4)
    assert report["fps"] == pytest.approx(report["clock_hz"] / total["cycles"], abs=1e-2)
    for layer in report["layers"]:
        assert set(layer) == {"name", "cycles", "predicted", "macs", "efficiency", "states"}
        assert set(layer["states"]) == {state.name for state in UnitState}
        assert sum(layer["states"].values()) == layer["cycles"]
    assert sum(layer["macs"] for layer in report["layers"]) == total["macs"]
    # the mean of two runs, rounded layer by layer and state by state
    assert abs(sum(layer["cycles"] for layer in report["layers"]) - total["cycles"]) <= 16
    assert list(report["profile"]) == list(UNITS)
    for states in report["profile"].values():
        assert set(states) == {state.name for state in UnitState}
        assert abs(sum(states.values()) - total["cycles"]) <= 4
    assert [image["file"] for image in report["images"]] == images
    assert all(len(image["top5"]) == 5 for image in report["images"])
    assert report["mismatches"] == 0 and report["checked_values"] > 15_000
    json.dumps(report)


def test_top_five_are_those_of_onnxruntime(model, builder):
    ort = pytest.importorskip("onnxruntime")
    image = builder.image()
    report = run(model, [image], config=CONFIG, check="onnxruntime")
    assert report["mismatches"] == 0 and report["checked_values"] > 7_500
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    scores = session.run(None, {"image": image})[0].reshape(-1)
    top5 = report["images"][0]["top5"]
    assert [index for index, _ in top5] == list(np.argsort(-scores, kind="stable")[:5])
    np.testing.assert_allclose([score for _, score in top5], np.sort(scores)[::-1][:5], rtol=1e-4)


def test_memory_changes_cycles_and_no_value(model, images):
    fast = run(model, images[:1], config=CONFIG)
    slow = run(model, images[:1], config=CONFIG,
               memory=Memory(latency=200, width=4, stalls=30, seed=3))
    assert slow["mismatches"] == 0 and slow["checked_values"] == fast["checked_values"]
    assert slow["total"]["cycles"] > fast["total"]["cycles"]


def test_batch(model, images):
    """Two images in a row: each is exact, and the pair takes less than two runs."""
    single = run(model, images, config=CONFIG)
    report = run(model, images, config=CONFIG, batch=2)
    assert report["mismatches"] == 0 and report["checked_values"] == single["checked_values"]
    assert [each["top5"] for each in report["images"]] == [
        each["top5"] for each in single["images"]]
    stream = report["stream"]
    assert stream["batch"] == 2 and stream["latency"] == report["images"][0]["cycles"]
    assert stream["interval"] == report["images"][1]["cycles"] < stream["latency"]
    assert report["total"]["cycles"] < single["total"]["cycles"]
    # An odd number of images: the first one once more.
    report = run(model, images[:1], config=CONFIG, batch=2)
    assert [each["file"] for each in report["images"]] == [images[0]] * 2
    assert report["images"][0]["top5"] == report["images"][1]["top5"]


def test_command_line(model, images, tmp_path, capsys):
    path = tmp_path / "report.json"
    assert main([str(model), "--image", *images, "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "% of peak" in out and "0 mismatches" in out and "kind" in out
    report = json.loads(path.read_text())
    assert len(report["images"]) == 2 and report["checked_values"] > 0
    assert main([str(model), "--image", images[0], "--check", "none"]) == 0
    assert "nothing was compared" in capsys.readouterr().out


@pytest.mark.parametrize("check", ["none", "golden"])
def test_notes_are_shown(model, images, check):
    outcome = simulate(model, images[:1], check=check)
    outcome.notes.append("what the importer says")
    assert "note: what the importer says" in describe(outcome, check).splitlines()


def test_a_wrong_value_ends_with_status_1(model, images, monkeypatch, capsys):
    real = sim.run.golden.run

    def wrong(graph, image):
        values = real(graph, image)
        conv = next(node for node in graph.nodes if type(node).__name__ == "Conv")
        values[conv.output] = values[conv.output].copy()
        values[conv.output][3, 2, 1] ^= 1
        return values

    monkeypatch.setattr(sim.run.golden, "run", wrong)
    assert main([str(model), "--image", images[0]]) == 1
    out = capsys.readouterr().out
    assert "MISMATCH" in out and "channel 3, y 2, x 1" in out


def test_profile_and_timeline(model, images, tmp_path, capsys):
    path = tmp_path / "run.trace"
    assert main([str(model), "--image", *images, "--profile", "--timeline", str(path)]) == 0
    out = capsys.readouterr().out
    assert "cycles of each unit for one image" in out and "cycles of the array by layer" in out
    trace = json.loads(path.read_text())
    tracks = {event["cat"] for event in trace["traceEvents"] if event["ph"] == "X"}
    assert tracks >= set(UNITS) - {"load", "residual"}


@pytest.mark.parametrize("arguments, words", [
    (["--board", "nonesuch"], "there are: arty_a7"),
    (["--board", "arty_a7", "--variant", "7"], "there are: 35, 100"),
    (["--variant", "35"], "--variant needs --board"),
    (["--board", "arty_a7", "--config", "256-lanes"], "one of them"),
    (["--config", "nonesuch"], "presets are 128-lanes"),
    (["--config", "{\"pixels\": 3}"], "pixels is 3, supported: 1, 2 or 4"),
    (["--config", "{\"colour\": 3}"], "'colour' is unknown"),
    (["--config", "{\"pixels\": \"2\"}"], "pixels is '2', needed: int"),
    (["--config", "{"], "not JSON"),
    (["--batch", "0"], "a batch of 0 images; 1 or more are supported"),
    (["--batch", "70000"], "a batch of at most"),
    (["--memory-width", "0"], "memory width is 0, supported: 1 to 32"),
    (["--stalls", "100"], "memory stalls is 100"),
    (["--config", "{\"profile\": 1}"], "profile is 1, needed: bool"),
    (["--json", "/nonesuch/report.json"], "cannot write"),
    (["--timeline", "/nonesuch/run.trace"], "cannot write"),
    (["--preprocess", "sepia"], "sepia"),
])
def test_bad_options_are_one_line_and_status_2(model, images, arguments, words, capsys, tmp_path):
    photograph = tmp_path / "grey.png"
    pytest.importorskip("PIL.Image").new("RGB", (40, 30)).save(photograph)
    assert main([str(model), "--image", str(photograph), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error


def test_bad_files(model, images, tmp_path, capsys):
    assert main([str(tmp_path / "none.onnx"), "--image", images[0]]) == 2
    assert main([str(model), "--image", str(tmp_path / "none.npy")]) == 2
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 not a photograph")
    assert main([str(model), "--image", str(broken)]) == 2
    assert capsys.readouterr().err.count("error: ") == 3
    assert not list(tmp_path.glob("*.json"))


def test_bad_calls(model):
    with pytest.raises(UserError, match="no image"):
        simulate(model, [])
    with pytest.raises(UserError, match="check 'eyes'"):
        simulate(model, [np.zeros((3, 27, 27), np.float32)], check="eyes")
    with pytest.raises(UserError, match="shape"):
        simulate(model, [np.zeros((3, 9, 9), np.float32)])


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as status:
        main(["--help"])
    assert status.value.code == 0
    assert "example: python -m sim.run" in capsys.readouterr().out


def test_squeezenet_is_exact_and_busy():
    """SqueezeNet v1.1 on one photograph: every value equal, over 97 % of the peak."""
    report = run(data_file("squeezenet1.1_int8_qdq_hw.onnx"), photographs(1), config=CONFIG)
    assert report["mismatches"] == 0 and report["checked_values"] > 3_900_000
    assert report["total"]["macs"] == 349_151_936
    assert report["total"]["efficiency"] > 0.97
