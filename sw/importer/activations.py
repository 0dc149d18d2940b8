"""Pass `activations`: Relu and Clip become limits of the operator before them.

A Relu between two quantizations stays: it is computed on integers. One that the quantization
behind it implies vanishes.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import UserError
from ..graph import Quant
from .attributes import read_float
from .parameters import read_quant
from .raw import RawGraph, RawNode

__all__ = ["fuse_activations", "is_implied", "quantize"]

_OPERATORS = ("Relu", "Clip")
_TAKES_LIMITS = ("Conv", "Gemm", "MatMul", "Add")


def fuse_activations(graph: RawGraph) -> None:
    """Sets `low` and `high` of the operators, and of each Relu and Clip that stays."""
    for node in _activations(graph):
        node.low, node.high = _limits(graph, node)
        node.inputs = node.inputs[:1]
        producer = graph.producers().get(node.inputs[0])
        if producer is not None and producer.op in _OPERATORS \
                and not graph.is_shared(node.inputs[0]):
            _join(node, producer)
            _remove(graph, node, producer)
    for node in _activations(graph):
        producer = graph.producers().get(node.inputs[0])
        if producer is not None and producer.op == "DequantizeLinear":
            quant = read_quant(graph, producer)
            if is_implied(quant, node.low, node.high) and all(
                    reader.op == "QuantizeLinear" and read_quant(graph, reader) == quant
                    for reader in graph.consumers(node.outputs[0])):
                _remove(graph, node)
            continue
        _fuse(graph, node, producer)


def quantize(value: float, quant: Quant) -> int:
    """A real number in integers, as onnxruntime quantizes it."""
    with np.errstate(over="ignore"):
        scaled = np.float32(value) / quant.scale
    return int(np.clip(np.rint(scaled) + quant.zero_point, quant.qmin, quant.qmax))


def is_implied(quant: Quant, low: float, high: float) -> bool:
    """Whether limits change nothing before this quantization; onnxruntime then drops them."""
    return quantize(low, quant) == quant.qmin and quantize(high, quant) == quant.qmax


def _fuse(graph: RawGraph, node: RawNode, producer: RawNode | None) -> None:
    if producer is None or producer.op in ("QuantizeLinear", *_OPERATORS):
        raise UserError(f"{node}: a {node.op} behind an operator is supported, here it reads "
                        f"{producer or 'the input'}")
    if graph.is_shared(producer.outputs[0]):
        raise UserError(f"{node}: the value before it is used elsewhere too; not supported")
    _join(node, producer)
    if producer.op not in _TAKES_LIMITS:
        behind = [reader for reader in graph.consumers(node.outputs[0])]
        if not behind or any(reader.op != "QuantizeLinear" or not is_implied(
                read_quant(graph, reader), node.low, node.high) for reader in behind):
            raise UserError(f"{node}: a {node.op} directly behind a Conv, Gemm or Add is "
                            f"supported, here it reads {producer}; quantize before it")
    _remove(graph, node, producer)


def _activations(graph: RawGraph) -> list[RawNode]:
    return [node for node in graph.nodes if node.op in _OPERATORS]


def _join(node: RawNode, producer: RawNode) -> None:
    """Both limits, one behind the other."""
    producer.low, producer.high = max(producer.low, node.low), min(producer.high, node.high)
    if producer.low >= producer.high:
        raise UserError(f"{node}: it leaves no values between {producer.low:g} and "
                        f"{producer.high:g}")


def _remove(graph: RawGraph, node: RawNode, producer: RawNode | None = None) -> None:
    """Readers of a node's output read its input; the producer, if given, takes its name over."""
    source, result = node.inputs[0], node.outputs[0]
    if producer is not None:
        producer.outputs = [result if name == source else name for name in producer.outputs]
    elif result in graph.outputs:
        return  # a float output keeps its name: the host computes it
    else:
        graph.replace(result, source)
    graph.nodes.remove(node)


def _limits(graph: RawGraph, node: RawNode) -> tuple[float, float]:
    if node.op == "Relu":
        return 0.0, math.inf
    low, high = (_limit(graph, node, name, default)
                 for name, default in (("min", -math.inf), ("max", math.inf)))
    if not low < high:
        raise UserError(f"{node}: its limits are {low:g} and {high:g}; the first must be smaller")
    return low, high


def _limit(graph: RawGraph, node: RawNode, name: str, default: float) -> float:
    """One limit: an attribute before opset 11, then an input."""
    value: np.ndarray | float | None = read_float(node, name, default)
    source = node.input(1 if name == "min" else 2)
    if source:
        value = graph.constants.get(source)
        if value is None or value.size != 1 or value.dtype != np.float32:
            raise UserError(f"{node}: its {name} '{source}' is not a constant float")
    return float(np.float32(np.asarray(value).reshape(())))
