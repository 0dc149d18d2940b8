"""Files to the float input of a network: photographs, or ready tensors in .npy and .npz."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import UserError
from .graph import Graph

__all__ = ["FLOAT_KEY", "METADATA_KEY", "PREPROCESS", "Preprocess", "float_preprocess",
           "load_input", "preprocess_of", "preprocess_pixels"]

METADATA_KEY = "firecore.preprocess"
FLOAT_KEY = "firecore.float_preprocess"
"""What the float model took that a model was quantized from."""


@dataclass(frozen=True)
class Preprocess:
    """From pixels 0..255 to what a network was trained on: channels in `order` (`rgb`, `bgr` or
    `grey`), then (pixel - mean) / deviation for each channel in that order."""

    order: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def channels(self) -> int:
        return len(self.mean)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [H, W, C] (RGB or grey) to float32 (1, C, H, W)."""
        values = pixels[..., ::-1] if self.order == "bgr" else pixels
        values = (values.astype(np.float32) - np.float32(self.mean)) / np.float32(self.deviation)
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)


_IMAGENET = Preprocess("rgb", tuple(255 * mean for mean in (0.485, 0.456, 0.406)),
                       tuple(255 * deviation for deviation in (0.229, 0.224, 0.225)))
_ZERO, _ONE, _UNIT = (0.0,) * 3, (1.0,) * 3, (255.0,) * 3

PREPROCESS: dict[str, Preprocess] = {
    "bgr": Preprocess("bgr", _ZERO, _ONE),
    "bgr-mean": Preprocess("bgr", (104.0, 117.0, 123.0), _ONE),
    "rgb": Preprocess("rgb", _ZERO, _ONE),
    "rgb-mean": Preprocess("rgb", (123.0, 117.0, 104.0), _ONE),
    "rgb-unit": Preprocess("rgb", _ZERO, _UNIT),
    "rgb-imagenet": _IMAGENET,
    "rgb-normalised": _IMAGENET,
    "grey": Preprocess("grey", (0.0,), (1.0,)),
    "grey-unit": Preprocess("grey", (0.0,), (255.0,)),
}
"""What networks are usually trained on; `rgb-normalised` is another name of `rgb-imagenet`. Those
with the name of an order alone are raw pixels."""

ORDERS = ("rgb", "bgr", "grey")

_RESIZED = 256  # shorter side before the crop, for inputs of ImageNet's usual sizes
_IMAGENET_SIZES = range(193, _RESIZED + 1)


def load_input(path: str | Path, network: Graph | tuple[int, ...],
               preprocess: str = "auto") -> np.ndarray:
    """float32 (1, C, H, W) for a network, given as its graph or its input shape (C, H, W).

    A photograph that has not the input's size is resized with its shorter side to 256 (where the
    input is close below that; else just to cover the input), then cropped at its centre.
    `preprocess` is a name of `PREPROCESS`, or `auto`: see `preprocess_of`. Tensors in .npy, or the
    only array of an .npz (or the one with the input's name), are taken as they are. A graph that
    takes uint8 itself gets raw pixels as uint8.
    Raises UserError if the file is neither, or does not fit.
    """
    path = Path(path)
    shape = _shape(network)
    if path.suffix.lower() in (".npy", ".npz"):
        name = network.input if isinstance(network, Graph) else ""
        return _tensor(path, shape, name)
    if preprocess == "auto":
        try:
            preprocess = preprocess_of(network)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    if preprocess not in PREPROCESS:
        raise UserError(f"preprocessing '{preprocess}' is unknown; known are auto, "
                        f"{', '.join(PREPROCESS)}")
    channels = PREPROCESS[preprocess].channels
    if channels != shape[0]:
        raise UserError(f"preprocessing '{preprocess}' gives {channels} channels; the network "
                        f"takes {shape[0]}")
    values = preprocess_pixels(_pixels(path, shape), preprocess)
    return values.astype(np.uint8) if _takes_bytes(network) and preprocess in ORDERS else values


def preprocess_of(network: Graph | tuple[int, ...]) -> str:
    """The preprocessing that the model's metadata name (`firecore.preprocess`), else a guess.

    One channel: `grey`. Three: `bgr` where the input's integers are pixels (scale 1, zero point
    0), else `bgr-mean`.
    """
    channels = _shape(network)[0]
    if isinstance(network, Graph):
        named = network.metadata.get(METADATA_KEY)
        if named is not None and named not in PREPROCESS:
            raise UserError(f"the model asks for preprocessing '{named}'; known are "
                            f"{', '.join(PREPROCESS)}")
        if named is not None:
            return named
    if channels not in (1, 3):
        raise UserError(f"images have 1 or 3 channels, the network takes {channels}; give a .npy")
    if channels == 1:
        return "grey"
    if not isinstance(network, Graph):
        raise UserError("preprocessing cannot be guessed from a shape; name one")
    quant = network.tensors[network.input_node.output].quant
    return "bgr" if quant.scale == 1 and quant.zero_point == 0 else "bgr-mean"


def float_preprocess(metadata: Mapping[str, str], channels: int) -> str:
    """What the metadata of a float model name, else `grey-unit` or `bgr-mean` by its channels."""
    named = metadata.get(METADATA_KEY)
    if named is not None and named not in PREPROCESS:
        raise UserError(f"the model asks for preprocessing '{named}'; known are "
                        f"{', '.join(PREPROCESS)}")
    if named is None and channels not in (1, 3):
        raise UserError(f"images have 1 or 3 channels, the network takes {channels}; give a .npy")
    return named or ("grey-unit" if channels == 1 else "bgr-mean")


def preprocess_pixels(pixels: np.ndarray, preprocess: str) -> np.ndarray:
    """uint8 [H, W, C] (RGB or grey) to float32 (1, C, H, W)."""
    return PREPROCESS[preprocess](pixels)


def _shape(network: Graph | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(network, Graph):
        return network.tensors[network.input_node.output].shape
    return tuple(network)[-3:]


def _takes_bytes(network: Graph | tuple[int, ...]) -> bool:
    if not isinstance(network, Graph):
        return False
    source = network.input_node
    return source.float_name == source.output and not network.tensors[source.output].quant.signed


def _pixels(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 [H, W, C] of the input's size."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError(f"{path}: Pillow is needed to read images: install it with pip, or give a "
                        ".npy") from None
    channels, height, width = shape
    try:
        with Image.open(path) as image:
            image = image.convert("L" if channels == 1 else "RGB")
    except Image.DecompressionBombError:
        raise UserError(f"{path}: the image is too large") from None
    except (OSError, ValueError, SyntaxError) as error:
        reason = getattr(error, "strerror", None)
        raise UserError(f"{path}: {reason}" if reason else
                        f"{path}: not an image that can be read, or damaged; JPEG, PNG, .npy and "
                        ".npz are supported") from None
    if image.size != (width, height):
        image = _fitted(image, width, height, Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels)


def _fitted(image, width: int, height: int, resampling):
    """Resize by the shorter side, crop at the centre."""
    if width in _IMAGENET_SIZES and height in _IMAGENET_SIZES:
        factor = _RESIZED / min(image.size)
    else:
        factor = max(width / image.width, height / image.height)
    size = (max(round(image.width * factor), width), max(round(image.height * factor), height))
    if size != image.size:
        image = image.resize(size, resampling)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _tensor(path: Path, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                names = loaded.files
                if len(names) != 1 and name not in names:
                    raise UserError(f"{path}: holds {len(names)} arrays and none has the name "
                                    f"'{name}'")
                loaded = loaded[names[0] if len(names) == 1 else name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "not a NumPy file, or damaged"
        raise UserError(f"{path}: {reason}") from None
    if loaded.dtype.kind not in "fiu":
        raise UserError(f"{path}: its values are {loaded.dtype}; numbers are needed")
    if loaded.shape not in (shape, (1, *shape)):
        raise UserError(f"{path}: its shape is {list(loaded.shape)}; the network takes "
                        f"{[1, *shape]}")
    if not np.isfinite(loaded).all():
        raise UserError(f"{path}: it holds values that are not finite")
    return loaded.astype(np.float32).reshape(1, *shape)
