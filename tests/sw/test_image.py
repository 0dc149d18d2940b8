import numpy as np
import pytest

from sw.errors import UserError
from sw.graph import Quant
from sw.image import PREPROCESS, load_input, preprocess_of
from sw.importer import import_model, import_proto
from tests.data import data_file, photographs
from tests.models import ModelBuilder

Image = pytest.importorskip("PIL.Image")

RAW = Quant(np.float32(1), 0, False)


def network(channels=3, size=12, quant=RAW, metadata=None):
    builder = ModelBuilder((channels, size, size))
    graph = import_proto(builder.model(builder.conv(builder.input(quant), 4)))
    graph.metadata.update(metadata or {})
    return graph


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def pixels():
    return np.random.default_rng(1).integers(0, 256, (12, 12, 3)).astype(np.uint8)


def test_auto_for_raw_and_centred_inputs(tmp_path, pixels):
    path = save(tmp_path / "image.png", pixels)
    raw = load_input(path, network())
    assert raw.dtype == np.float32 and raw.shape == (1, 3, 12, 12) and raw.flags.c_contiguous
    np.testing.assert_array_equal(raw[0], pixels[..., ::-1].transpose(2, 0, 1))
    centred = load_input(path, network(quant=Quant(np.float32(1.07), 115, False)))
    np.testing.assert_array_equal(raw - centred,
                                  np.broadcast_to(np.float32([104, 117, 123])[:, None, None],
                                                  raw.shape))


def test_named_preprocessing(tmp_path, pixels):
    path = save(tmp_path / "image.png", pixels)
    rgb = load_input(path, network(), "rgb")
    np.testing.assert_array_equal(rgb[0], pixels.transpose(2, 0, 1))
    np.testing.assert_allclose(load_input(path, network(), "rgb-unit"), rgb / 255)
    mean, deviation = ([[[v]] for v in row] for row in ((.485, .456, .406), (.229, .224, .225)))
    np.testing.assert_allclose(load_input(path, network(), "rgb-normalised"),
                               (rgb / 255 - mean) / deviation, atol=1e-6)
    np.testing.assert_array_equal(load_input(path, (3, 12, 12), "rgb"), rgb)


def test_metadata_names_the_preprocessing(tmp_path, pixels):
    path = save(tmp_path / "image.png", pixels)
    graph = network(metadata={"firecore.preprocess": "rgb"})
    np.testing.assert_array_equal(load_input(path, graph), load_input(path, network(), "rgb"))
    graph.metadata["firecore.preprocess"] = "sepia"
    with pytest.raises(UserError, match="sepia.*known are bgr"):
        load_input(path, graph)


def test_grey(tmp_path, pixels):
    path = save(tmp_path / "image.png", pixels[..., 0])
    np.testing.assert_array_equal(load_input(path, network(1))[0, 0], pixels[..., 0])
    np.testing.assert_allclose(load_input(path, network(1), "grey-unit")[0, 0],
                               pixels[..., 0] / np.float32(255))
    colour = load_input(save(tmp_path / "colour.png", pixels), network(1))
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(colour[0, 0] - luma).max() <= 1


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_all_modes_of_images(tmp_path, pixels, mode):
    suffix = ".tif" if mode == "CMYK" else ".png"
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / f"image{suffix}")
    assert load_input(tmp_path / f"image{suffix}", network()).shape == (1, 3, 12, 12)


def test_centre_crop_of_256():
    """A photograph whose shorter side is 256 is cropped without a resampled pixel."""
    path = photographs(1)[0]
    with Image.open(path) as image:
        whole = np.asarray(image.convert("RGB"))
    assert min(whole.shape[:2]) == 256
    got = load_input(path, (3, 224, 224), "rgb")[0]
    top, left = ((size - 224) // 2 for size in whole.shape[:2])
    np.testing.assert_array_equal(
        got.transpose(1, 2, 0), whole[top:top + 224, left:left + 224])


@pytest.mark.parametrize("size", [(600, 300), (300, 900), (40, 30), (226, 224)])
def test_resize_to_256_then_crop(tmp_path, size):
    """A linear ramp keeps its slope: 256 pixels over the shorter side, 224 of them kept."""
    width, height = size
    ramp = np.linspace(0, 255, width)[None, :].repeat(height, 0).round().astype(np.uint8)
    path = save(tmp_path / "ramp.png", ramp)
    got = load_input(path, (1, 224, 224), "grey")[0, 0]
    resized = round(width * 256 / min(size))
    slope = (got[:, 200].mean() - got[:, 24].mean()) / 176
    assert slope == pytest.approx(255 / resized, rel=0.03)
    assert got[:, 111:113].mean() == pytest.approx(127.5, abs=1.5)


def test_small_inputs_see_the_whole_image(tmp_path):
    """28 x 28 from 56 x 56: half the size, nothing cropped."""
    pixels = np.zeros((56, 56), np.uint8)
    pixels[:8] = pixels[:, :8] = 255
    got = load_input(save(tmp_path / "digit.png", pixels), network(1, 28))[0, 0]
    assert got[0, 27] == 255 and got[27, 0] == 255 and got[27, 27] == 0


def test_real_networks():
    path = photographs(1)[0]
    for net, size in (("1.1", 224), ("1.0_deepcompressed", 227)):
        raw, centred = (load_input(path, import_model(
            data_file(f"squeezenet{net}_int8_qdq_{kind}.onnx"))) for kind in ("hw", "ort"))
        assert raw.shape == (1, 3, size, size) and raw.min() >= 0
        np.testing.assert_array_equal((raw - centred)[0, :, 0, 0], [104, 117, 123])


def test_tensors(tmp_path):
    tensor = np.random.default_rng(0).normal(size=(3, 12, 12))
    graph = network()
    np.save(tmp_path / "a.npy", tensor)
    np.savez(tmp_path / "one.npz", anything=tensor)
    np.savez(tmp_path / "named.npz", other=tensor[:1], image=tensor[None])
    for name in ("a.npy", "one.npz", "named.npz"):
        got = load_input(tmp_path / name, graph)
        assert got.dtype == np.float32 and got.shape == (1, 3, 12, 12)
        np.testing.assert_array_equal(got[0], tensor.astype(np.float32))


def test_wrong_tensors(tmp_path):
    np.save(tmp_path / "shape.npy", np.zeros((3, 12, 13)))
    np.save(tmp_path / "nan.npy", np.full((3, 12, 12), np.nan))
    np.save(tmp_path / "text.npy", np.full((3, 12, 12), "a"))
    np.save(tmp_path / "object.npy", np.full((3, 12, 12), None), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, message in (
            ("shape.npy", r"shape is \[3, 12, 13\]; the network takes \[1, 3, 12, 12\]"),
            ("nan.npy", "not finite"), ("text.npy", "numbers"), ("object.npy", "damaged"),
            ("two.npz", "2 arrays"), ("damaged.npz", "damaged"), ("empty.npy", "damaged"),
            ("none.npy", "No such file")):
        with pytest.raises(UserError, match=message) as info:
            load_input(tmp_path / name, network())
        assert str(tmp_path / name) in str(info.value) and "\n" not in str(info.value)


def test_wrong_images(tmp_path, pixels):
    save(tmp_path / "image.jpg", np.tile(pixels, (40, 40, 1)))
    whole = (tmp_path / "image.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, message in (("cut.jpg", "not an image"), ("text.png", "not an image"),
                          ("empty.jpg", "not an image"), ("none.jpg", "No such file")):
        with pytest.raises(UserError, match=message) as info:
            load_input(tmp_path / name, network())
        assert str(tmp_path / name) in str(info.value)


def test_wrong_preprocessing(tmp_path, pixels):
    path = save(tmp_path / "image.png", pixels)
    with pytest.raises(UserError, match="'sepia' is unknown"):
        load_input(path, network(), "sepia")
    with pytest.raises(UserError, match="'grey' gives 1 channels; the network takes 3"):
        load_input(path, network(), "grey")
    with pytest.raises(UserError, match="the network takes 4"):
        load_input(path, network(4))
    with pytest.raises(UserError, match="name one"):
        load_input(path, (3, 12, 12))


def test_without_pillow(tmp_path, pixels, monkeypatch):
    path = save(tmp_path / "image.png", pixels)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(UserError, match="Pillow is needed"):
        load_input(path, network())


def test_preprocess_of():
    assert preprocess_of(network()) == "bgr" and preprocess_of(network(1)) == "grey"
    assert all(
        preprocess_of(network(each.channels, metadata={"firecore.preprocess": name})) == name
        for name, each in PREPROCESS.items())
