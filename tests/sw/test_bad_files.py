"""Files that are no models, damaged ones, and external data that is not where it may be."""

import numpy as np
import pytest
from onnx import helper

from sw.errors import UserError
from sw.importer import import_model
from tests.broken import Broken
from tests.models import small_squeezenet


@pytest.mark.parametrize("content, pattern", [
    (b"", "the file is empty"), (b"\x00garbage" * 20, "not an ONNX model"),
    (b"hello", "not an ONNX model"), (None, "No such file")])
def test_files(tmp_path, content, pattern):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: .*{pattern}"):
        import_model(path)


def test_folder(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        import_model(tmp_path)


def test_truncated_files(tmp_path):
    """Cut anywhere, a model is refused with one line (or it is still whole)."""
    data = small_squeezenet().model("scores").SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(1, len(data) - 1, max(len(data) // 150, 1)):
        path.write_bytes(data[:length])
        with pytest.raises(UserError) as info:
            import_model(path)
        assert str(info.value).startswith(str(path)) and "\n" not in str(info.value)


def test_flipped_bytes(tmp_path):
    """A damaged byte gives a graph or one line, nothing else."""
    data = bytearray(small_squeezenet().model("scores").SerializeToString())
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 250):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        try:
            import_model(tmp_path / "damaged.onnx")
        except UserError as error:
            assert "\n" not in str(error)


EXTERNAL = {
    "missing": ({"location": "weights.bin"}, "there is no file 'weights.bin'"),
    "outside": ({"location": "../secret.bin"}, "'../secret.bin' is outside"),
    "outside by a detour": ({"location": "inner/../../secret.bin"}, "is outside"),
    "absolute": ({"location": "/etc/hostname"}, "'/etc/hostname' is an absolute path"),
    "absolute elsewhere": ({"location": "C:\\\\secret.bin"}, "is an absolute path"),
    "link to the outside": ({"location": "link.bin"}, "'link.bin' is outside"),
    "link to itself": ({"location": "loop.bin"}, "'loop.bin'"),
    "folder": ({"location": "inner"}, "there is no file 'inner'"),
    "no location": ({"location": ""}, "names no file"),
    "too short": ({"location": "short.bin"}, "external data"),
    "offset beyond": ({"location": "short.bin", "offset": 99, "length": 432}, "has 5 bytes"),
    "negative offset": ({"location": "short.bin", "offset": -4, "length": 4}, "has 5 bytes"),
    "offset is no number": ({"location": "short.bin", "offset": "here"}, "is not a number"),
}


@pytest.mark.parametrize("case", EXTERNAL)
def test_external_data(tmp_path, case):
    """None of these files is read, and the message names tensor and node."""
    entries, pattern = EXTERNAL[case]
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(432))
    (folder / "short.bin").write_bytes(b"short")
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "loop.bin").symlink_to(folder / "loop.bin")
    broken = Broken()
    broken.external(**entries)
    (folder / "model.onnx").write_bytes(broken.model.SerializeToString())
    with pytest.raises(UserError, match=pattern) as info:
        import_model(folder / "model.onnx")
    assert "'conv1_wq'" in str(info.value) and "\n" not in str(info.value)


def test_external_data_of_a_constant(tmp_path):
    broken = Broken()
    broken.external("../secret.bin")
    node = helper.make_node("Constant", [], ["conv1_wq"], value=broken.initializer("conv1_wq"))
    broken.remove(broken.graph.initializer, "conv1_wq")
    broken.graph.node.insert(0, node)
    (tmp_path / "model.onnx").write_bytes(broken.model.SerializeToString())
    with pytest.raises(UserError, match="'../secret.bin' is outside"):
        import_model(tmp_path / "model.onnx")
