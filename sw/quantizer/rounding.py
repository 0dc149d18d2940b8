"""Rounding of weights that keeps what a convolution computes, not each weight for itself.

The error of one weight is made up for by the weights that are still to be rounded, as far as their
inputs move together over the calibration images (optimal brain quantization, one column at a time).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..graph import Quant
from .network import Op

__all__ = ["Moments", "input_moments", "round_weights"]

_PATCHES = 64
"""Windows that are looked at in each image."""
_LARGEST = 1536
"""Weights of a channel beyond which the covariance is not taken: they are rounded one by one."""
_DAMPING = 0.01
_CONSTANT = 1e-9
"""Less variance than this, beside the mean square, is only the rounding of the sums."""


@dataclass
class Moments:
    """Of the values under a convolution's window: the mean [n] before they are quantized and that
    behind it (`seen`; many small values become 0), then their covariance [n, n] (n = ci kh kw), or
    only its diagonal, the variance [n]."""

    mean: np.ndarray
    seen: np.ndarray
    variance: np.ndarray
    covariance: np.ndarray | None

    @cached_property
    def factor(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The order in which weights are rounded, what counts most first, and the upper Cholesky
        factor of the inverse covariance in that order. None where nothing is known to move."""
        if self.covariance is None \
                or self.variance.mean() <= _CONSTANT * (self.seen**2).mean():
            return None
        damped = self.covariance + np.eye(len(self.mean)) * (_DAMPING * self.variance.mean())
        order = np.argsort(-self.variance, kind="stable")
        inverse = np.linalg.inv(damped[np.ix_(order, order)])
        return order, np.linalg.cholesky((inverse + inverse.T) / 2).T


def input_moments(model: onnx.ModelProto, convs: Sequence[Op], quants: Mapping[str, Quant],
                  images: Iterable[np.ndarray]) -> dict[str, Moments]:
    """By the tensor that each convolution gives; of random windows of every image (seeded)."""
    import onnxruntime

    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    inputs = {value.name for value in augmented.graph.input}
    names = sorted({op.inputs[0] for op in convs})
    present = {value.name for value in augmented.graph.output}
    augmented.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
                                  for name in names if name not in present | inputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(augmented.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    fetched = [name for name in names if name not in inputs]
    rng = np.random.default_rng(1)
    sums: dict[str, list] = {}
    for image in images:
        values = {source: image}
        if fetched:  # an empty list would ask for all outputs
            values |= zip(fetched, session.run(fetched, {source: image}), strict=True)
        for op in convs:
            patches = _patches(op, values[op.inputs[0]][0], rng)
            full = op.attributes["group"] == 1 and patches.shape[1] <= _LARGEST
            seen = _quantized(patches, quants[op.inputs[0]])
            square = seen.T @ seen if full else (seen**2).sum(axis=0)
            new = (len(patches), patches.sum(axis=0), seen.sum(axis=0), square)
            sums[op.output] = [old + part for old, part in zip(
                sums.get(op.output, (0,) * 4), new, strict=True)]
    return {name: _moments(*its) for name, its in sums.items()}


def _patches(op: Op, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float64 [patches, ci kh kw]."""
    (kh, kw), (sh, sw) = op.weights.shape[2:], op.attributes["strides"]
    top, left, bottom, right = op.attributes["pads"]
    x = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    height, width = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    count = min(_PATCHES, height * width)
    y, c = np.divmod(rng.choice(height * width, count, replace=False), width)
    rows = (y * sh)[:, None, None] + np.arange(kh)[:, None]
    columns = (c * sw)[:, None, None] + np.arange(kw)
    return x[:, rows, columns].transpose(1, 0, 2, 3).reshape(count, -1).astype(np.float64)


def _quantized(values: np.ndarray, quant: Quant) -> np.ndarray:
    """The same values on the grid of their quantization."""
    low, high = quant.qmin - quant.zero_point, quant.qmax - quant.zero_point
    return np.clip(np.rint(values / quant.scale), low, high) * quant.scale


def _moments(count: float, total: np.ndarray, seen: np.ndarray, square: np.ndarray) -> Moments:
    mean, seen = total / count, seen / count
    if square.ndim == 1:
        return Moments(mean, seen, np.maximum(square / count - seen**2, 0), None)
    covariance = square / count - np.outer(seen, seen)
    return Moments(mean, seen, np.maximum(covariance.diagonal(), 0), covariance)


def round_weights(weights: np.ndarray, scale: np.ndarray, moments: Moments | None,
                  top: int) -> np.ndarray:
    """Integers float64 [co, n] of -top..top for float64 weights [co, n] and scales [co]."""
    scale = np.float64(scale)[:, None]
    if moments is None or moments.factor is None:
        return np.clip(np.rint(weights / scale), -top, top)
    order, upper = moments.factor
    left = weights[:, order].copy()
    integers = np.empty_like(left)
    for i in range(len(order)):
        column = np.clip(np.rint(left[:, i:i + 1] / scale), -top, top)
        integers[:, i:i + 1] = column
        error = (left[:, i:i + 1] - column * scale) / upper[i, i]
        left[:, i + 1:] -= error * upper[i, i + 1:]
    result = np.empty_like(integers)
    result[:, order] = integers
    return result
