"""Deep Compression's container: the published file, and files that are damaged."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sw.decompress import ARCHITECTURE, decompress, main
from sw.deep_compression import decode
from sw.errors import UserError
from sw.models import parameter_shapes
from tests.data import data_file

SHAPES = {"first": (4, 3, 3, 3), "second": (5, 4, 1, 1), "third": (2, 900)}


def entries(weights):
    """Places and codes of all that a container stores, fillers included."""
    places, codes, at = [], [], -1
    for place in np.flatnonzero(weights):
        while place - at > 16:
            at += 16
            places.append(at)
            codes.append(0)
        at = place
        places.append(place)
        codes.append(weights[place])
    return np.array(places), np.array(codes, np.uint8)


def packed(layers):
    """The container of (codes of all weights, codebook, biases) of each layer."""
    counts, body = [], []
    for weights, codebook, biases in layers:
        places, codes = entries(weights.reshape(-1))
        gaps = np.diff(places, prepend=-1) - 1
        gaps = np.append(gaps, [0] * (len(gaps) % 2)).astype(np.uint8)
        counts.append(len(codes))
        body += [codebook.astype("<f4"), biases.astype("<f4"), codes, gaps[::2] | gaps[1::2] << 4]
    return b"".join(part.tobytes() for part in (np.array(counts, "<u4"), *body))


def random_layers(seed=0, density=0.1):
    rng = np.random.default_rng(seed)
    layers = []
    for shape in SHAPES.values():
        codes = rng.integers(1, 256, shape) * (rng.random(shape) < density)
        codes.reshape(-1)[-1] = 7
        codebook = rng.normal(0, 1, 256)
        codebook[0] = 0
        layers.append((codes, codebook, rng.normal(0, 1, shape[0])))
    return layers


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 1])
@pytest.mark.parametrize("seed", range(3))
def test_decoded_is_what_was_packed(seed, density):
    layers = random_layers(seed, density)
    found = decode(packed(layers), SHAPES)
    assert list(found) == list(SHAPES)
    for (codes, codebook, biases), (weights, offsets) in zip(layers, found.values(), strict=True):
        assert np.array_equal(weights, codebook.astype(np.float32)[codes])
        assert np.array_equal(offsets, biases.astype(np.float32))


def test_long_gaps_have_fillers():
    """The test's own container must have them, or nothing tests them."""
    codes = random_layers(0, 0.01)[2][0]
    assert (entries(codes.reshape(-1))[1] == 0).sum() > 10


# The published file


def test_published_container_gives_the_published_model():
    reference = onnx.load(data_file("squeezenet1.0_deepcompressed_fp32.onnx"))
    model = decompress(data_file("compressed_SqueezeNet.net"))
    pairs = zip(reference.graph.initializer, model.graph.initializer, strict=True)
    for expected, found in pairs:
        assert np.array_equal(numpy_helper.to_array(expected), numpy_helper.to_array(found))
    onnxruntime = pytest.importorskip("onnxruntime")
    image = np.random.default_rng(1).uniform(-128, 127, (1, 3, 227, 227)).astype(np.float32)
    outputs = [onnxruntime.InferenceSession(
        each.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"data": image})[0]
        for each in (reference, model)]
    assert outputs[0].shape == outputs[1].shape
    assert np.array_equal(*outputs)


def test_command(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    assert main([str(data_file("compressed_SqueezeNet.net")), "-o", str(path)]) == 0
    assert onnx.load(path) == decompress(data_file("compressed_SqueezeNet.net"))
    assert "1,244,448 weights in 26 layers, 415,921 are not zero" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


# Damaged files


def test_every_truncation_is_found():
    data = packed(random_layers())
    for size in range(len(data)):
        with pytest.raises(UserError, match="truncated"):
            decode(data[:size], SHAPES)


def _word(data, place, value):
    data[place:place + 4] = np.float32(value).tobytes()


def _damage(kind):
    """A container with one thing wrong. Sizes: 12 bytes of counts, then the first layer's codebook
    (1024), biases (16), codes and gaps."""
    layers = random_layers()
    data = bytearray(packed(layers))
    count = len(entries(layers[0][0].reshape(-1))[1])
    codes = 12 + 1024 + 16
    if kind == "trailing":
        data += b"\0"
    elif kind == "no entries":
        data[0:4] = bytes(4)
    elif kind == "too many entries":
        data[0:4] = np.uint32(109).tobytes()
    elif kind == "zero code":
        _word(data, 12, 0.5)
    elif kind == "codebook":
        _word(data, 12 + 4 * 9, np.nan)
    elif kind == "bias":
        _word(data, 12 + 1024, np.inf)
    elif kind == "filler":
        data[codes] = 0
    elif kind == "gaps":
        data[codes + count:codes + count + (count + 1) // 2] = b"\xFF" * (count // 2) + (
            b"\x0F" if count % 2 else b"")
    elif kind == "unused half":
        assert count % 2
        data[codes + count + count // 2] |= 0x10
    return bytes(data)


@pytest.mark.parametrize("kind, message", [
    ("trailing", "1 bytes follow the last layer"),
    ("no entries", "layer first has 108 weights and 0 stored entries"),
    ("too many entries", "layer first has 108 weights and 109 stored entries"),
    ("zero code", "layer first: entry 0 of its codebook is not 0"),
    ("codebook", "layer first: its codebook holds values that are not finite"),
    ("bias", "layer first: its biases hold values that are not finite"),
    ("filler", "layer first: a filler has not gap 15"),
    ("gaps", "layer first: its entries reach weight"),
    ("unused half", "layer first: the unused half of its last byte of gaps is not 0"),
])
def test_damage_is_named(kind, message):
    with pytest.raises(UserError, match=f"damaged: .*{message}"):
        decode(_damage(kind), SHAPES)


def _container():
    """A container of the real network's shapes with few weights."""
    rng = np.random.default_rng(4)
    layers = []
    for name, shape in parameter_shapes(ARCHITECTURE).items():
        if name.endswith(".weight"):
            codes = rng.integers(1, 256, shape) * (rng.random(shape) < 0.02)
            codes.reshape(-1)[0] = 3
            layers.append((codes, np.append(0, rng.normal(0, 1, 255)), np.zeros(shape[0])))
    return packed(layers)


@pytest.mark.parametrize("kind, message", [
    ("missing", "cannot be read: No such file"),
    ("folder", "cannot be read: Is a directory"),
    ("empty", "truncated: the table of entries takes 104 bytes"),
    ("truncated", "truncated: the gaps of conv10 takes"),
    ("text", "damaged: layer conv1 has 14112 weights"),
    ("output", "cannot write"),
])
def test_command_refuses(tmp_path, capsys, kind, message):
    path, target = tmp_path / "f.net", tmp_path / "model.onnx"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes({"empty": b"", "text": b"not a container\n" * 100,
                          "truncated": _container()[:-1]}.get(kind, b""))
    if kind == "output":
        target = tmp_path / "missing" / "model.onnx"
    assert main([str(path), "-o", str(target)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert {file.name for file in tmp_path.iterdir()} <= {"f.net"}


def test_a_failed_write_leaves_the_old_model(tmp_path, capsys, monkeypatch):
    (tmp_path / "f.net").write_bytes(_container())
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    assert main([str(tmp_path / "f.net"), "-o", str(target)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert target.read_bytes() == b"old"
    assert {file.name for file in tmp_path.iterdir()} == {"f.net", "model.onnx"}
