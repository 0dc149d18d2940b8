"""Pass `constants`: fold Constant nodes, and QuantizeLinear of constants (float weights)."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, numpy_helper

from ..errors import UserError
from .parameters import quantized_dtype, read_scale, read_zero_point, refuse_blocks
from .raw import RawGraph, RawNode

__all__ = ["fold_constants"]

_VALUES = {"value_float": np.float32, "value_floats": np.float32,
           "value_int": np.int64, "value_ints": np.int64}


def fold_constants(graph: RawGraph) -> None:
    kept = []
    for node in graph.nodes:
        if node.op == "Constant":
            graph.constants[node.outputs[0]] = _value(node)
        elif node.op == "Identity" and node.inputs[0] in graph.constants:
            graph.constants[node.outputs[0]] = graph.constants[node.inputs[0]]
        elif node.op == "QuantizeLinear" and node.input(0) in graph.constants:
            graph.constants[node.outputs[0]] = _quantized(graph, node)
        else:
            kept.append(node)
    graph.nodes = kept


def _value(node: RawNode) -> np.ndarray:
    if len(node.attributes) == 1:
        (name, value), = node.attributes.items()
        if isinstance(value, TensorProto):
            try:
                return numpy_helper.to_array(value)
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(f"{node}: its value is damaged: {error}") from None
        if name in _VALUES:
            return np.asarray(value, _VALUES[name])
    raise UserError(f"{node}: it has {len(node.attributes)} values; one is needed")


def _quantized(graph: RawGraph, node: RawNode) -> np.ndarray:
    """As onnxruntime: float32 division, half to even, zero point, saturation."""
    refuse_blocks(node)
    values = graph.constants[node.inputs[0]]
    if values.dtype != np.float32:
        raise UserError(f"{node}: its constant is {values.dtype}; float32 is supported")
    scale = read_scale(graph, node)
    dtype = quantized_dtype(graph, node)
    zero_point = read_zero_point(graph, node)
    if scale.size > 1:
        axis = node.attributes.get("axis", 1)
        if not -values.ndim <= axis < values.ndim or values.shape[axis] != scale.size:
            raise UserError(f"{node}: {scale.size} scales do not fit axis {axis} of "
                            f"{list(values.shape)}")
        shape = [1] * values.ndim
        shape[axis] = scale.size
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    limits = np.iinfo(dtype)
    integers = np.rint(values / scale) + zero_point
    return np.clip(integers, limits.min, limits.max).astype(dtype)
