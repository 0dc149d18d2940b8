"""Scales and zero points of QuantizeLinear and DequantizeLinear, read and checked."""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from ..graph import Quant
from .raw import RawGraph, RawNode

__all__ = ["quantized_dtype", "read_quant", "read_scale", "read_zero_point", "refuse_blocks"]


def read_scale(graph: RawGraph, node: RawNode) -> np.ndarray:
    """Scales as float32 [n]; all are positive, finite and constant."""
    scale = graph.constants.get(node.input(1))
    if scale is None:
        raise UserError(f"{node}: its scale '{node.input(1)}' is not a constant")
    if scale.dtype != np.float32:
        raise UserError(f"{node}: its scale is {scale.dtype}; float32 is supported")
    if scale.size == 0 or scale.ndim > 1:
        raise UserError(f"{node}: its scale has shape {list(scale.shape)}; one scale per tensor "
                        "or per channel is supported")
    scale = scale.reshape(-1)
    bad = scale[~(np.isfinite(scale) & (scale > 0))]
    if bad.size:
        raise UserError(f"{node}: its scale is {bad[0]}; scales are positive and finite")
    return scale


def quantized_dtype(graph: RawGraph, node: RawNode, data: np.dtype | None = None) -> np.dtype:
    """Integer type: that of the zero point, else of the data, else uint8 (the default of ONNX)."""
    zero_point = graph.constants.get(node.input(2))
    if zero_point is not None:
        return zero_point.dtype
    if node.attributes.get("output_dtype") and node.op == "QuantizeLinear":
        from onnx import helper

        return np.dtype(helper.tensor_dtype_to_np_dtype(node.attributes["output_dtype"]))
    return np.dtype(np.uint8) if data is None else data


def read_zero_point(graph: RawGraph, node: RawNode) -> np.ndarray:
    """Zero points as int64 [n], n the number of scales; absent ones are 0."""
    count = read_scale(graph, node).size
    name = node.input(2)
    if not name:
        return np.zeros(count, np.int64)
    zero_point = graph.constants.get(name)
    if zero_point is None:
        raise UserError(f"{node}: its zero point '{name}' is not a constant")
    if zero_point.dtype not in (np.int8, np.uint8, np.int32):
        raise UserError(f"{node}: its integers are {zero_point.dtype}; int8 and uint8 are "
                        "supported, int32 for a bias")
    if zero_point.size != count:
        raise UserError(f"{node}: {zero_point.size} zero points and {count} scales")
    return zero_point.reshape(-1).astype(np.int64)


def refuse_blocks(node: RawNode) -> None:
    if node.attributes.get("block_size"):
        raise UserError(f"{node}: quantization in blocks is not supported")


def read_quant(graph: RawGraph, node: RawNode, data: np.dtype | None = None) -> Quant:
    """Quantization of an activation: 8 bits, one scale for the tensor."""
    refuse_blocks(node)
    scale = read_scale(graph, node)
    zero_point = read_zero_point(graph, node)
    dtype = quantized_dtype(graph, node, data)
    if dtype not in (np.int8, np.uint8):
        raise UserError(f"{node}: activations are {dtype}; int8 and uint8 are supported")
    if scale.size != 1:
        raise UserError(f"{node}: {scale.size} scales for an activation; one is supported")
    return Quant(np.float32(scale[0]), int(zero_point[0]), bool(dtype == np.int8))
