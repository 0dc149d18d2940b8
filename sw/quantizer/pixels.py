"""Preprocessing folded into the first convolutions, so that the network takes raw pixels."""

from __future__ import annotations

import numpy as np

from ..image import Preprocess
from .network import FloatNetwork, Op
from .simplify import pointwise

__all__ = ["fold_preprocess"]


def fold_preprocess(network: FloatNetwork, preprocess: Preprocess) -> None:
    """The network's input becomes uint8 pixels 0..255 in the order of channels it was trained on.

    Padding stays the zero of the preprocessed input, a pixel of the mean's value. Where a padded
    convolution reads the input, its zero point becomes the mean over all channels and pixels stand
    for their distance from it: means that differ between channels are met but for the difference at
    the border, a few grey levels in the padding.
    """
    factor = 1 / np.asarray(preprocess.deviation, np.float64)
    offset = -np.asarray(preprocess.mean, np.float64) * factor
    first = network.only_reader(network.input)
    if first is not None and first.kind == "Affine":
        factor, offset = factor * first.weights, offset * first.weights + first.bias
        network.remove(first, network.input)
    network.raw_input = True
    if (factor == 1).all() and not offset.any():
        return
    readers = network.readers(network.input)
    if not all(op.kind == "Conv" for op in readers) or not factor.all():
        readers = [_insert(network, len(factor))]
    if any(any(op.attributes["pads"]) for op in readers):
        network.input_zero = int(np.clip(np.rint((-offset / factor).mean()), 0, 255))
    offset = offset + factor * network.input_zero
    for op in readers:
        _fold(op, factor, offset)


def _insert(network: FloatNetwork, channels: int) -> Op:
    """A pointwise convolution between the input and all that reads it."""
    name = f"{network.input}_preprocessed"
    for op in network.readers(network.input):
        op.inputs = [name if source == network.input else source for source in op.inputs]
    op = Op("Conv", name, [network.input], name)
    pointwise(op, np.ones(channels), None)
    network.ops.insert(0, op)
    network.shapes[name] = network.shapes[network.input]
    return op


def _fold(op: Op, factor: np.ndarray, offset: np.ndarray) -> None:
    """weights * (factor * x + offset): the offset goes into the bias."""
    count, each = op.weights.shape[:2]
    group = np.arange(count) // (count // op.attributes["group"])
    channels = group[:, None] * each + np.arange(each)
    op.bias = op.bias + (op.weights.sum(axis=(2, 3)) * offset[channels]).sum(axis=1)
    op.weights = op.weights * factor[channels][:, :, None, None]
