"""Float ONNX models to quantized (QDQ) ones that the accelerator and onnxruntime run alike.

In order: `load` and `build` read the model, `simplify` and `pixels` fold what can be folded,
`equalise` balances channels, `calibrate` finds ranges, `scales`, `weights` and `rounding` choose
integers, `export` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from hw.config import Config

from ..errors import UserError
from ..image import FLOAT_KEY, METADATA_KEY, PREPROCESS, float_preprocess, load_input
from ..importer import import_proto
from .build import build
from .calibrate import PERCENTILE, channel_magnitudes, tensor_ranges
from .equalise import equalise, scalable
from .export import float_model, qdq_model
from .load import load_raw, read_proto
from .network import FloatNetwork
from .pixels import fold_preprocess
from .rounding import input_moments
from .scales import Scales
from .simplify import simplify
from .weights import QuantizedConv, quantize_conv

__all__ = ["NO_PREPROCESS", "PERCENTILE", "Quantized", "quantize", "quantize_file"]

NO_PREPROCESS = "none"
"""Calibration by ready tensors: the input gets a scale from their range."""
ACC_WIDTH = Config().acc_width


@dataclass(frozen=True)
class Quantized:
    """`preprocess` is what the float model took."""

    model: onnx.ModelProto
    preprocess: str


def quantize_file(path: str | Path, images: Sequence[Path], **options) -> Quantized:
    """`quantize` of a file; messages begin with its name."""
    model = read_proto(path)
    try:
        return quantize(model, images, **options)
    except UserError as error:
        message = str(error)
        named = any(message.startswith(str(image)) for image in images)
        raise UserError(message if named else f"{path}: {message}") from None


def quantize(model: onnx.ModelProto, images: Sequence[Path], *, preprocess: str = "auto",
             percentile: float = PERCENTILE, acc_width: int = ACC_WIDTH,
             progress: Callable[[str, float], None] = lambda what, fraction: None) -> Quantized:
    """`images` are files that `sw.image` reads; `preprocess` is a name of `PREPROCESS`,
    `NO_PREPROCESS`, or `auto`: what the model's metadata name, else a guess by its channels.

    Every weight scale keeps the sums within `acc_width` bits. Raises UserError.
    """
    if not images:
        raise UserError("no image to calibrate with")
    network = build(load_raw(model))
    simplify(network)
    if network.shapes[network.input][0] not in (1, 3) and preprocess == "auto":
        preprocess = NO_PREPROCESS
    if preprocess == "auto":
        preprocess = float_preprocess(network.metadata, network.shapes[network.input][0])
    if not any(op.kind == "Conv" for op in network.ops):
        raise UserError("the model has no convolution or fully connected layer")
    raw = _fold_input(network, preprocess)
    scales = Scales(network)
    convs = [op for op in scales.ops if op.kind == "Conv"]

    def through(first: float, last: float) -> Iterator[np.ndarray]:
        for number, file in enumerate(images):
            progress("calibrate", first + (last - first) * number / len(images))
            yield _pixels(file, network, raw)

    if tensors := list(scalable(network)):
        equalise(network, channel_magnitudes(float_model(network), tensors, through(0.0, 0.2)))
    exported = float_model(network)
    scales.set_ranges(tensor_ranges(exported, scales.asked, through(0.2, 0.5), network.shapes,
                                    percentile))
    moments = input_moments(exported, convs, scales.quants, through(0.5, 0.8))
    integers: dict[str, QuantizedConv] = {}
    for number, op in enumerate(convs):
        progress("quantize the weights", 0.8 + 0.2 * number / len(convs))
        integers[op.output] = quantize_conv(op, scales.quants[op.inputs[0]],
                                            scales.quants[op.output], acc_width,
                                            moments[op.output])
    metadata = dict(network.metadata)
    if raw != NO_PREPROCESS:
        metadata |= {METADATA_KEY: raw, FLOAT_KEY: preprocess}
    result = qdq_model(network, scales.quants, integers, metadata)
    import_proto(result, "the quantized model")  # refuses what the accelerator's compiler would
    return Quantized(result, preprocess)


def _fold_input(network: FloatNetwork, preprocess: str) -> str:
    """The preprocessing that is left to whoever runs the quantized model."""
    if preprocess == NO_PREPROCESS:
        return preprocess
    if preprocess not in PREPROCESS:
        raise UserError(f"preprocessing '{preprocess}' is unknown; known are auto, "
                        f"{NO_PREPROCESS}, {', '.join(PREPROCESS)}")
    each, channels = PREPROCESS[preprocess], network.shapes[network.input][0]
    if each.channels != channels:
        raise UserError(f"preprocessing '{preprocess}' gives {each.channels} channels; the network "
                        f"takes {channels}")
    fold_preprocess(network, each)
    return each.order


def _pixels(file: Path, network: FloatNetwork, raw: str) -> np.ndarray:
    if raw == NO_PREPROCESS and file.suffix.lower() not in (".npy", ".npz"):
        raise UserError(f"{file}: without preprocessing .npy and .npz are supported")
    values = load_input(file, network.shapes[network.input], raw)
    return values - np.float32(network.input_zero)
