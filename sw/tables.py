"""ONNX Runtime's byte-to-byte results in the machine's uint8 domain, for every possible input."""

from __future__ import annotations

import numpy as np

from .exact import fused_multiply_add as fused
from .graph import Quant

__all__ = ["add_table", "rescale_table"]

_STORED = 128
"""What the machine adds to an int8."""


def _integers(quant: Quant) -> np.ndarray:
    """The integers that the stored bytes 0..255 stand for."""
    return np.arange(256) - (_STORED if quant.signed else 0)


def _stored(values: np.ndarray, quant: Quant) -> np.ndarray:
    return np.clip(values, quant.qmin, quant.qmax).astype(np.int64) \
        + (_STORED if quant.signed else 0)


def rescale_table(source: Quant, result: Quant) -> np.ndarray:
    """int64 [256]: DequantizeLinear, then QuantizeLinear (what QLinearConcat does)."""
    real = (_integers(source) - source.zero_point).astype(np.float32) * np.float32(source.scale)
    return _stored(np.rint(real / np.float32(result.scale)) + result.zero_point, result)


def add_table(a: Quant, b: Quant, result: Quant, in_float: bool = False) -> np.ndarray:
    """int64 [256, 256]: QLinearAdd of its first and second input, without Relu; or, if
    `in_float`, the sum of the dequantized values, quantized."""
    if in_float:
        real = [(_integers(each) - each.zero_point).astype(np.float32) * np.float32(each.scale)
                for each in (a, b)]
        scaled = (real[0][:, None] + real[1][None]) / np.float32(result.scale)
        return _stored(np.rint(scaled) + result.zero_point, result)
    ratio_a, ratio_b = (np.float32(each.scale) / np.float32(result.scale) for each in (a, b))
    moved = fused(ratio_a, np.float32(a.zero_point), ratio_b * np.float32(b.zero_point))
    fixed = np.float32(result.zero_point) - moved
    first = _integers(a).astype(np.float32)[:, None]
    second = _integers(b).astype(np.float32)[None]
    return _stored(np.rint(fused(first, ratio_a, fused(second, ratio_b, fixed))), result)
