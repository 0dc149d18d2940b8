"""Pass `constants`: fold Constant nodes and what reshapes, casts or quantizes constants."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, numpy_helper

from ..errors import UserError
from .parameters import quantized_dtype, read_scale, read_zero_point, refuse_blocks
from .raw import RawGraph, RawNode
from .shapes import reshaped

__all__ = ["fold_constants"]

_CASTS = {getattr(TensorProto, name.upper()): np.dtype(name) for name in (
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16")}
_CASTS |= {TensorProto.FLOAT: np.dtype(np.float32), TensorProto.DOUBLE: np.dtype(np.float64)}
_VALUES = {"value_float": np.float32, "value_floats": np.float32,
           "value_int": np.int64, "value_ints": np.int64}


_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def fold_constants(graph: RawGraph) -> None:
    kept = []
    for node in graph.nodes:
        value = _folded(graph, node)
        if value is None:
            kept.append(node)
        else:
            graph.constants[node.outputs[0]] = value
    graph.nodes = kept


def _folded(graph: RawGraph, node: RawNode) -> np.ndarray | None:
    """The constant that a node gives, or None if it computes something."""
    if node.op == "Constant":
        return _value(node)
    source = graph.constants.get(node.input(0))
    if source is None:
        return None
    if node.op == "Identity":
        return source
    if node.op == "QuantizeLinear":
        return _quantized(graph, node)
    if node.op in _RESHAPES:
        return source.reshape(reshaped(graph, node, source.shape))
    if node.op == "Transpose":
        return _transposed(node, source)
    if node.op == "Cast":
        return _cast(node, source)
    return None


def _transposed(node: RawNode, source: np.ndarray) -> np.ndarray:
    order = node.attributes.get("perm") or range(source.ndim)[::-1]
    if sorted(order) != list(range(source.ndim)):
        raise UserError(f"{node}: perm {list(order)} of a constant with {source.ndim} dimensions")
    return np.ascontiguousarray(source.transpose(order))


def _cast(node: RawNode, source: np.ndarray) -> np.ndarray:
    kind = _CASTS.get(node.attributes.get("to"))
    if kind is None or source.dtype not in _CASTS.values():
        raise UserError(f"{node}: it casts a constant of {source.dtype} to type "
                        f"{node.attributes.get('to')}; numbers of 8 to 64 bits are supported")
    with np.errstate(all="ignore"):
        result = source.astype(kind)
    if np.issubdtype(kind, np.integer) and not np.array_equal(result, np.trunc(source)):
        raise UserError(f"{node}: a value of its constant does not fit {result.dtype}")
    return result


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
    if not np.isfinite(values).all():
        raise UserError(f"{node}: its constant '{node.inputs[0]}' is not finite")
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
    if dtype not in (np.int8, np.uint8, np.int32):
        raise UserError(f"{node}: its integers are {dtype}; int8 and uint8 are supported")
    limits = np.iinfo(dtype)
    integers = np.rint(values / scale) + zero_point
    return np.clip(integers, limits.min, limits.max).astype(dtype)
