"""Weights and bias of a Conv or Gemm: without zero point, and int32 at input times weight scale."""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from ..graph import Quant
from .attributes import read_integer
from .parameters import read_scale, read_zero_point, refuse_blocks
from .raw import RawGraph, RawNode

__all__ = ["read_bias", "read_float_bias", "read_weight_type", "read_weights"]

_BIAS_SCALE_TOLERANCE = 1e-4  # of half-precision exporters; onnxruntime does not look at all


def read_weights(graph: RawGraph, node: RawNode, axis: int,
                 rank: int) -> tuple[np.ndarray, np.ndarray]:
    """int16 of `rank` dimensions, -255 to 255, and float32 scales, one for each index of `axis`.
    """
    name = node.input(1)
    if name in graph.constants:
        dtype = graph.constants[name].dtype
        kind = "float" if np.issubdtype(dtype, np.floating) else f"plain {dtype}"
        raise UserError(f"the model is not quantized: {node} has {kind} weights; firecore takes "
                        "QDQ models: quantize it first")
    source = _dequantize(graph, name)
    if source is None:
        raise UserError(f"{node}: its weights '{name}' are not constant")
    refuse_blocks(source)
    values = graph.constants[source.inputs[0]]
    if values.dtype not in (np.int8, np.uint8):
        raise UserError(f"{node}: its weights are {values.dtype}; int8 and uint8 are supported")
    if values.ndim != rank or 0 in values.shape:
        raise UserError(f"{node}: its weights have the shape {list(values.shape)}, of "
                        f"{values.ndim} dimensions; {rank} are needed")
    scale, zero_point = read_scale(graph, source), read_zero_point(graph, source)
    _check_zero_type(graph, node, source, values.dtype)
    count = values.shape[axis]
    if scale.size > 1:
        given = read_integer(source, "axis", 1)
        if given not in (axis, axis - rank) or scale.size != count:
            raise UserError(f"{node}: {scale.size} weight scales on axis {given} for weights "
                            f"{list(values.shape)}; one for all or one per output channel "
                            f"(axis {axis}) are supported")
    shape = [1] * rank
    shape[axis] = zero_point.size
    return (values.astype(np.int16) - zero_point.astype(np.int16).reshape(shape),
            np.ascontiguousarray(np.broadcast_to(scale, (count,))))


def read_weight_type(graph: RawGraph, node: RawNode) -> np.dtype | None:
    source = _dequantize(graph, node.input(1))
    return source and graph.constants[source.inputs[0]].dtype


def _check_zero_type(graph: RawGraph, node: RawNode, source: RawNode, dtype: np.dtype) -> None:
    zero_point = graph.constants.get(source.input(2))
    if zero_point is not None and zero_point.dtype != dtype:
        raise UserError(f"{node}: its weights are {dtype}, their zero point {zero_point.dtype}")


def read_bias(graph: RawGraph, conv: RawNode, source: Quant,
              weight_scale: np.ndarray) -> np.ndarray:
    """int32 [co] from input 2; a float bias is rounded to units of input scale times weight
    scale, half to even, which is what onnxruntime does with it."""
    name = conv.input(2)
    if not name:
        return np.zeros(weight_scale.size, np.int32)
    with np.errstate(all="ignore"):  # the verifier refuses scales that give no usable unit
        return _bias_in_units(graph, conv, name, source.scale * weight_scale)


def read_float_bias(graph: RawGraph, conv: RawNode, count: int) -> np.ndarray:
    """float32 [count] of a bias that is a float constant."""
    values = _of_length(conv, graph.constants[conv.inputs[2]], count)
    if values.dtype != np.float32:
        raise UserError(f"{conv}: its bias is {values.dtype}; int32 with DequantizeLinear or "
                        "float32 are supported")
    if not np.isfinite(values).all():
        raise UserError(f"{conv}: its bias is not finite")
    return values


def _of_length(conv: RawNode, values: np.ndarray, count: int) -> np.ndarray:
    if values.shape != (count,) and not (conv.op == "Gemm" and values.shape == (1, count)):
        raise UserError(f"{conv}: its bias has shape {list(values.shape)}; [{count}] is needed")
    return values.reshape(-1)


def _bias_in_units(graph: RawGraph, conv: RawNode, name: str, unit: np.ndarray) -> np.ndarray:
    count = unit.size
    node = _dequantize(graph, name)
    values = graph.constants.get(node.inputs[0] if node else name)
    if values is None:
        raise UserError(f"{conv}: its bias '{name}' is not constant")
    values = _of_length(conv, values, count)
    if node is None:
        integers = np.rint(read_float_bias(graph, conv, count) / unit)
        if not np.abs(integers).max(initial=0) < 2**31:
            raise UserError(f"{conv}: its float bias does not fit int32 at the scale of its sums")
        return integers.astype(np.int32)
    if values.dtype != np.int32:
        raise UserError(f"{conv}: its bias is {values.dtype}; int32 is supported")
    if read_zero_point(graph, node).any():
        raise UserError(f"{conv}: its bias has a zero point other than 0; not supported")
    scale = read_scale(graph, node)
    if scale.size not in (1, count):
        raise UserError(f"{conv}: {scale.size} bias scales for {count} channels")
    matters = values != 0
    ratio = np.abs(np.broadcast_to(scale, (count,))[matters] / unit[matters] - 1)
    if ratio.max(initial=0) > _BIAS_SCALE_TOLERANCE:
        raise UserError(f"{conv}: its bias scale is not input scale times weight scale")
    return values


def _dequantize(graph: RawGraph, name: str) -> RawNode | None:
    """The DequantizeLinear of a constant that gives `name`, if there is one."""
    for node in graph.nodes:
        if name in node.outputs and node.op == "DequantizeLinear" \
                and node.input(0) in graph.constants:
            return node
    return None
