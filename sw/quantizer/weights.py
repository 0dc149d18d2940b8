"""Weights and biases of a convolution to integers: scales by least squares, exact multipliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..graph import Quant
from .network import Op
from .rounding import Moments, round_weights

__all__ = ["QuantizedConv", "quantize_conv", "snapped_scale"]

_TOP = 127
_BYTE = 255
_FACTORS = np.linspace(0.4, 1.0, 61)
"""Of the scale that makes the largest weight 127: what is tried."""
_BITS = 11
_PLACES = 16
_FEWEST = 128
"""A multiplier is M * 2**-16 with M of up to 11 bits; more places where M were below this."""
_ATTEMPTS = 4
_ASIDE = sorted(range(-8, 9), key=abs)


@dataclass(frozen=True)
class QuantizedConv:
    """weights int8 [co, ci, kh, kw], scale float32 [co], bias int32 [co] in units of the input's
    scale times that of the weights."""

    weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


def quantize_conv(op: Op, source: Quant, result: Quant, acc_width: int,
                  moments: Moments | None = None) -> QuantizedConv:
    """`moments` of the input make the error of the result count instead of that of the weights;
    the bias then takes up its mean. Sums are kept within `acc_width` bits for every possible
    input. Raises UserError if no scale does it."""
    weights = op.weights.reshape(len(op.weights), -1)
    unit = np.float64(result.scale) / np.float64(source.scale)  # weight scale of a multiplier of 1
    largest = np.abs(weights).max(axis=1, initial=0)
    # Nothing but a bias: its integer may have 16 bits.
    start = np.where(largest > 0, largest / _TOP,
                     np.maximum(np.abs(op.bias) / source.scale * 2.0**-16, unit * 2.0**-8))
    start = np.maximum(start, unit * 2.0**-24)  # a multiplier below is 0 in the hardware
    # A grouped convolution's windows differ between groups: each weight counts alike.
    moments = moments if op.attributes["group"] == 1 else None
    count = np.ones(1) if moments is None or not moments.variance.any() else moments.variance
    errors, scales = [], []
    for factor in _FACTORS:
        scale = snapped_scale(start * factor, source.scale, result.scale)
        nearest = round_weights(weights, scale, None, _TOP)
        errors.append(((nearest * np.float64(scale)[:, None] - weights)**2 * count).sum(axis=1))
        scales.append(scale)
    best = np.argmin(errors, axis=0)
    scale = np.stack(scales)[best, np.arange(len(best))]
    return _within(op, weights, scale, source, result, acc_width, moments)


def snapped_scale(scale: np.ndarray, source: np.float32, result: np.float32) -> np.ndarray:
    """float32 scales near `scale` whose multiplier source * scale / result, as float32 arithmetic
    gives it, is exactly M * 2**-n. Not every M can be met: then one nearby is taken, and `scale`
    itself in the rare case that none of them can."""
    ratio = np.float64(source) / np.float64(result)
    multiplier = np.asarray(scale, np.float64) * ratio
    size = np.floor(np.log2(multiplier)).astype(int) + 1  # multiplier is below 2**size
    places = np.maximum(np.minimum(_PLACES, _BITS - size), int(np.log2(_FEWEST)) + 1 - size)
    mantissa = np.rint(np.ldexp(multiplier, places))
    found = np.zeros(np.shape(scale), np.float32)
    for aside in _ASIDE:
        wanted = np.float32(np.ldexp(mantissa + aside, -places))
        nearest = np.float32(wanted / ratio)
        below, above = (np.nextafter(nearest, np.float32(end)) for end in (0, np.inf))
        for candidate in (nearest, below, above):
            exact = (source * candidate) / result == wanted
            found = np.where((found == 0) & exact, candidate, found)
    return np.where(found == 0, scale, found).astype(np.float32)


def _within(op: Op, weights: np.ndarray, scale: np.ndarray, source: Quant, result: Quant,
            acc_width: int, moments: Moments | None) -> QuantizedConv:
    limit = 1 << (acc_width - 1)
    over = np.ones(len(weights), bool)
    integers = np.zeros_like(weights)
    for attempt in range(100):
        # Inputs that all move alike let the rounding spread weights that cancel: without it then.
        known = moments if attempt < _ATTEMPTS else None
        integers[over] = round_weights(weights[over], scale[over], known, _TOP)
        unit = source.scale * scale  # float32, as onnxruntime has it
        real = op.bias
        if moments is not None:
            real = real + weights @ moments.mean \
                - (integers * np.float64(scale)[:, None]) @ moments.seen
        bias = np.rint(real / np.float64(unit))
        # As in sw.bounds: over raw bytes, the zero point in the bias.
        folded = bias - source.zero_point * integers.sum(axis=1)
        low = _BYTE * np.minimum(integers, 0).sum(axis=1)
        high = _BYTE * np.maximum(integers, 0).sum(axis=1)
        reach = np.maximum(np.maximum(-low, -(low + folded)), np.maximum(high, high + folded) + 1)
        over = reach > limit
        if not over.any():
            return QuantizedConv(integers.reshape(op.weights.shape).astype(np.int8), scale,
                                 bias.astype(np.int32))
        larger = np.float64(scale) * np.maximum(reach / limit, 1) * (1 + 2.0**-7)
        scale = np.where(over, snapped_scale(larger, source.scale, result.scale), scale)
    raise UserError(f"{op}: no scale keeps its sums within {acc_width} bits of accumulator")
