"""Quantized operators on NumPy integers, equal to onnxruntime's in every bit.

Arrays are (C, H, W) in the integer type of their `Quant`. Wherever onnxruntime rounds in float32,
so does this file, in the same order; everything else is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sw.graph import Quant

__all__ = [
    "add", "add_fixed_part", "average_pool", "concat", "conv_multiplier", "conv_sums", "dequantize",
    "gemm_float", "global_average", "global_average_float", "max_pool", "quantize", "requantize",
    "rescale_table", "softmax",
]

FLOAT32_EXACT = 2**24  # integers up to here, and their sums in any order, are exact in float32


def quantize(values: np.ndarray, quant: Quant) -> np.ndarray:
    """QuantizeLinear of float32: divide, round half to even, add the zero point, saturate."""
    with np.errstate(over="ignore"):  # infinite quotients saturate like large ones
        return _saturate(values.astype(np.float32) / quant.scale, quant)


def dequantize(integers: np.ndarray, quant: Quant) -> np.ndarray:
    """DequantizeLinear to float32."""
    return (integers.astype(np.int32) - quant.zero_point).astype(np.float32) * quant.scale


def conv_sums(x: np.ndarray, zero_point: int, weights: np.ndarray, bias: np.ndarray,
              strides: tuple[int, int], pads: tuple[int, int, int, int]) -> np.ndarray:
    """int32 [co, oh, ow]: sums of weight * (x - zero_point), plus bias.

    BLAS computes in float32 where the weights prove that every partial sum is an integer below
    2**24, else in float64 (always below 2**53); raises OverflowError beyond int32.
    """
    co, _, kh, kw = weights.shape
    top, left, bottom, right = pads
    centred = x.astype(np.int16) - np.int16(zero_point)
    reach = np.abs(weights.reshape(co, -1).astype(np.int64)).sum(axis=1).max()
    bound = int(reach) * int(np.abs(centred).max(initial=0))
    kind = np.float32 if bound < FLOAT32_EXACT else np.float64
    padded = np.pad(centred.astype(kind), ((0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(padded, (kh, kw), axis=(1, 2))[:, ::strides[0], ::strides[1]]
    oh, ow = windows.shape[1:3]
    columns = windows.transpose(0, 3, 4, 1, 2).reshape(-1, oh * ow)
    products = weights.reshape(co, -1).astype(kind) @ columns
    sums = products.astype(np.int64) + bias.astype(np.int64)[:, None]
    if np.abs(sums).max(initial=0) >= 2**31:
        raise OverflowError("a sum does not fit int32")
    return sums.astype(np.int32).reshape(co, oh, ow)


def conv_multiplier(source: Quant, weight_scale: np.ndarray, result: Quant) -> np.ndarray:
    """float32 [co]: (input scale * weight scale) / output scale, each step rounded."""
    return (source.scale * weight_scale.astype(np.float32)) / result.scale


def requantize(sums: np.ndarray, multiplier: np.ndarray, result: Quant,
               relu: bool = False, clip: int | None = None) -> np.ndarray:
    """int32 [c, h, w] and float32 [c] (or one): both in float32, half to even, saturate."""
    multiplier = np.asarray(multiplier, np.float32).reshape(-1, 1, 1)
    integers = _saturate(sums.astype(np.float32) * multiplier, result, relu)
    return integers if clip is None else np.minimum(integers, result.dtype.type(clip))


def max_pool(x: np.ndarray, kernel: tuple[int, int], strides: tuple[int, int],
             pads: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Maximum over windows to an output map of `size`; a last window may hang over the end."""
    lowest = np.iinfo(x.dtype).min
    ends = [max((size[i] - 1) * strides[i] + kernel[i] - x.shape[1 + i] - pads[i], 0)
            for i in range(2)]
    padded = np.pad(x, ((0, 0), (pads[0], ends[0]), (pads[1], ends[1])), constant_values=lowest)
    result = np.full((x.shape[0], *size), lowest, x.dtype)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            part = padded[:, row::strides[0], column::strides[1]]
            np.maximum(result, part[:, :size[0], :size[1]], out=result)
    return result


def average_pool(x: np.ndarray, source: Quant, result: Quant, kernel: tuple[int, int],
                 strides: tuple[int, int], pads: tuple[int, int, int, int],
                 size: tuple[int, int], count_include_pad: bool) -> np.ndarray:
    """QLinearAveragePool to an output map of `size`, in float32: dequantize, add a window's cells
    row by row, divide by their number and by the scale, add the zero point, then round."""
    cells = np.stack([dequantize(x, source), np.ones(x.shape, np.float32)])
    ends = [max((size[i] - 1) * strides[i] + kernel[i] - x.shape[1 + i] - pads[i], 0)
            for i in range(2)]
    padded = np.pad(cells, ((0, 0), (0, 0), (pads[0], ends[0]), (pads[1], ends[1])))
    sums = np.zeros((2, x.shape[0], *size), np.float32)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            part = padded[:, :, row::strides[0], column::strides[1]]
            sums += part[:, :, :size[0], :size[1]]
    count = np.float32(kernel[0] * kernel[1]) if count_include_pad else sums[1]
    with np.errstate(over="ignore"):
        scaled = sums[0] / count / result.scale + np.float32(result.zero_point)
    return _saturate_shifted(scaled, result)


def rescale_table(source: Quant, result: Quant) -> np.ndarray:
    """The 256 results of changing the quantization, for inputs from `source.qmin` up.

    Equal quantization gives the identity, as QLinearConcat copies such branches.
    """
    integers = np.arange(source.qmin, source.qmax + 1).astype(source.dtype)
    if source == result:
        return integers
    return quantize(dequantize(integers, source), result)


def concat(parts: list[np.ndarray], sources: list[Quant], result: Quant) -> np.ndarray:
    """QLinearConcat on channels: each branch through its table."""
    return np.concatenate([
        rescale_table(source, result)[part.astype(np.int16) - source.qmin]
        for part, source in zip(parts, sources, strict=True)])


def add(a: np.ndarray, b: np.ndarray, quant_a: Quant, quant_b: Quant, result: Quant,
        relu: bool = False, in_float: bool = False) -> np.ndarray:
    """QLinearAdd: ratio_a * a + (ratio_b * b + fixed), two fused multiply-adds in float32; or the
    sum of the dequantized values, quantized, if `in_float`."""
    if in_float:
        total = dequantize(a, quant_a) + dequantize(b, quant_b)
        integers = quantize(total, result)
        return np.maximum(integers, result.dtype.type(result.zero_point)) if relu else integers
    ratio_a, ratio_b = quant_a.scale / result.scale, quant_b.scale / result.scale
    inner = _fused(b, ratio_b, add_fixed_part(quant_a, quant_b, result))
    return _saturate_shifted(_fused(a, ratio_a, inner), result, relu)


def add_fixed_part(quant_a: Quant, quant_b: Quant, result: Quant) -> np.float32:
    """What the zero points contribute to a QLinearAdd, rounded as onnxruntime rounds it."""
    ratio_a, ratio_b = quant_a.scale / result.scale, quant_b.scale / result.scale
    moved = _fused(ratio_a, np.float32(quant_a.zero_point),
                   ratio_b * np.float32(quant_b.zero_point))
    return np.float32(result.zero_point) - np.float32(moved)


def global_average(x: np.ndarray, source: Quant, result: Quant) -> np.ndarray:
    """QLinearGlobalAveragePool: integer sums, one float32 multiplier."""
    count = np.float32(x.shape[1] * x.shape[2])
    return requantize(_channel_sums(x, source), source.scale / (result.scale * count), result)


def global_average_float(x: np.ndarray, source: Quant) -> np.ndarray:
    """float32 [c, 1, 1]: the mean from exact integer sums (onnxruntime sums rounded floats)."""
    sums = _channel_sums(x, source).astype(np.float64)
    return (sums * np.float64(source.scale) / (x.shape[1] * x.shape[2])).astype(np.float32)


def gemm_float(x: np.ndarray, source: Quant, weights: np.ndarray, scale: np.ndarray,
               bias: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """float32 [n]: integer sums over the flattened input, scaled once (QGemm without output scale);
    where there is an offset onnxruntime sums in float."""
    sums = weights.astype(np.int64) @ (x.reshape(-1).astype(np.int64) - source.zero_point) + bias
    return sums.astype(np.float32) * scale + offset


def softmax(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """float32, computed in float64; the only operator that is not onnxruntime's to the bit."""
    exponents = np.exp(values.astype(np.float64) - values.max(axis=axes, keepdims=True))
    return (exponents / exponents.sum(axis=axes, keepdims=True)).astype(np.float32)


def _channel_sums(x: np.ndarray, source: Quant) -> np.ndarray:
    count = x.shape[1] * x.shape[2]
    sums = x.astype(np.int64).sum(axis=(1, 2), keepdims=True) - source.zero_point * count
    return sums.astype(np.int32)


def _saturate(scaled: np.ndarray, quant: Quant, relu: bool = False) -> np.ndarray:
    """Round before the zero point is added: ties depend on it."""
    low = quant.zero_point if relu else quant.qmin
    # limits first, in float32: a conversion of huge values to integers is undefined
    limited = np.clip(scaled, np.float32(low - quant.zero_point),
                      np.float32(quant.qmax - quant.zero_point))
    return (np.rint(limited).astype(np.int32) + quant.zero_point).astype(quant.dtype)


def _saturate_shifted(values: np.ndarray, quant: Quant, relu: bool = False) -> np.ndarray:
    """The same for values that have their zero point already."""
    low = quant.zero_point if relu else quant.qmin
    return np.rint(np.clip(values, np.float32(low), np.float32(quant.qmax))).astype(quant.dtype)


def _fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """float32(a * b + c) with one rounding.

    The product of two float32 is exact in float64. The sum is rounded to odd there, so that the
    second rounding, to float32, cannot meet a false tie.
    """
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    addend = np.asarray(c, np.float64)
    total = np.asarray(product + addend)
    rest = total - product
    error = (product - (total - rest)) + (addend - rest)
    is_even = (total.view(np.int64) & 1) == 0
    towards = np.where(error > 0, np.inf, -np.inf)
    odd = np.where((error != 0) & is_even, np.nextafter(total, towards), total)
    return odd.astype(np.float32)
