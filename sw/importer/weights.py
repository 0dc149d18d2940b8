"""Weights and bias of a Conv: int8 with zero point 0, and int32 at input times weight scale."""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from ..graph import Quant
from .parameters import read_scale, read_zero_point, refuse_blocks
from .raw import RawGraph, RawNode

__all__ = ["read_bias", "read_weights"]

_BIAS_SCALE_TOLERANCE = 1e-4  # of half-precision exporters; onnxruntime does not look at all


def read_weights(graph: RawGraph, conv: RawNode) -> tuple[np.ndarray, np.ndarray]:
    """int8 [co, ci, kh, kw] and float32 [co]."""
    name = conv.input(1)
    if name in graph.constants:
        raise UserError(f"the model is not quantized: {conv} has float weights; firecore takes QDQ "
                        "models: quantize it first")
    node = _dequantize(graph, name)
    if node is None:
        raise UserError(f"{conv}: its weights '{name}' are not constant")
    refuse_blocks(node)
    values = graph.constants[node.inputs[0]]
    if values.dtype != np.int8:
        raise UserError(f"{conv}: its weights are {values.dtype}; int8 is supported")
    if values.ndim != 4:
        raise UserError(f"{conv}: its weights have {values.ndim} dimensions; two-dimensional "
                        "convolutions have 4")
    if read_zero_point(graph, node).any():
        raise UserError(f"{conv}: its weights have a zero point other than 0; not supported")
    scale = read_scale(graph, node)
    count = values.shape[0]
    if scale.size > 1:
        axis = node.attributes.get("axis", 1)
        if axis not in (0, -4) or scale.size != count:
            raise UserError(f"{conv}: {scale.size} weight scales on axis {axis} for weights "
                            f"{list(values.shape)}; one for all or one per output channel "
                            "(axis 0) are supported")
    return values, np.ascontiguousarray(np.broadcast_to(scale, (count,)))


def read_bias(graph: RawGraph, conv: RawNode, source: Quant,
              weight_scale: np.ndarray) -> np.ndarray:
    """int32 [co]; a float bias is rounded to units of input scale times weight scale, half to
    even, which is what onnxruntime does with it."""
    name = conv.input(2)
    if not name:
        return np.zeros(weight_scale.size, np.int32)
    with np.errstate(all="ignore"):  # the verifier refuses scales that give no usable unit
        return _bias_in_units(graph, conv, name, source.scale * weight_scale)


def _bias_in_units(graph: RawGraph, conv: RawNode, name: str, unit: np.ndarray) -> np.ndarray:
    count = unit.size
    node = _dequantize(graph, name)
    values = graph.constants.get(node.inputs[0] if node else name)
    if values is None:
        raise UserError(f"{conv}: its bias '{name}' is not constant")
    if values.shape != (count,):
        raise UserError(f"{conv}: its bias has shape {list(values.shape)}; [{count}] is needed")
    if node is None:
        if values.dtype != np.float32 or not np.isfinite(values).all():
            raise UserError(f"{conv}: its bias is {values.dtype}; int32 with DequantizeLinear or "
                            "finite float32 are supported")
        integers = np.rint(values / unit)
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
