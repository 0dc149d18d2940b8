"""Pass `operator_form`: QLinearConv and its relatives become DequantizeLinear, the float operator
and QuantizeLinear, so that the later passes know one form only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UserError
from .attributes import read_float, read_integer
from .parameters import read_quant, read_scale
from .raw import RawGraph, RawNode

__all__ = ["expand_operator_form"]


def expand_operator_form(graph: RawGraph) -> None:
    nodes = []
    for node in graph.nodes:
        expand = _FORMS.get(node.op)
        nodes += expand(graph, node) if expand else [node]
    graph.nodes = nodes


def _conv(graph: RawGraph, node: RawNode) -> list[RawNode]:
    """x, its scale and zero point, w, ..., y's scale and zero point, bias."""
    return _with_weights(graph, node, "Conv", 0, node.input(8), node.inputs[6:8])


def _mat_mul(graph: RawGraph, node: RawNode) -> list[RawNode]:
    return _with_weights(graph, node, "MatMul", 1, "", node.inputs[6:8])


def _gemm(graph: RawGraph, node: RawNode) -> list[RawNode]:
    """As a QLinearMatMul, but the bias comes before y's scale and zero point."""
    if read_float(node, "alpha", 1.0) != 1.0:
        raise UserError(f"{node}: alpha {node.attributes['alpha']}; only 1 is supported")
    axis = 0 if read_integer(node, "transB", 0) else 1
    return _with_weights(graph, node, "Gemm", axis, node.input(6), [node.input(7), node.input(8)])


def _with_weights(graph: RawGraph, node: RawNode, op: str, axis: int, bias: str,
                  result: list[str]) -> list[RawNode]:
    x, w = (_dequantize(graph, node, index, *node.inputs[3 * index:3 * index + 3], axis)
            for index in range(2))
    parts = [x, w]
    if bias:
        scale = _name(node, "bias_scale")
        with np.errstate(all="ignore"):
            graph.constants[scale] = read_quant(graph, x).scale * read_scale(graph, w)
        parts.append(_dequantize(graph, node, 2, bias, scale, "", 0))
    return _around(graph, node, op, parts, result)


def _add(graph: RawGraph, node: RawNode) -> list[RawNode]:
    parts = [_dequantize(graph, node, i, *map(node.input, range(3 * i, 3 * i + 3)))
             for i in range(2)]
    return _around(graph, node, "Add", parts, [node.input(6), node.input(7)])


def _concat(graph: RawGraph, node: RawNode) -> list[RawNode]:
    """y's scale and zero point, then three inputs for each tensor."""
    if len(node.inputs) % 3 != 2:
        raise UserError(f"{node}: {len(node.inputs)} inputs; two, and three for each tensor, are "
                        "needed")
    parts = [_dequantize(graph, node, i, *node.inputs[i:i + 3])
             for i in range(2, len(node.inputs), 3)]
    return _around(graph, node, "Concat", parts, node.inputs[:2])


def _pool(graph: RawGraph, node: RawNode) -> list[RawNode]:
    """x, its scale and zero point, y's scale and zero point."""
    part = _dequantize(graph, node, 0, *map(node.input, range(3)))
    return _around(graph, node, node.op.removeprefix("QLinear"), [part],
                   [node.input(3), node.input(4)])


def _softmax(graph: RawGraph, node: RawNode) -> list[RawNode]:
    """It says itself which opset's Softmax it is: from 13 on it has one axis."""
    opset = read_integer(node, "opset", graph.opset)
    if (opset < 13) != (graph.opset < 13):
        raise UserError(f"{node}: its opset is {opset}, the model's {graph.opset}")
    node.attributes.pop("opset", None)
    return _pool(graph, node)


_FORMS: dict[str, Callable[[RawGraph, RawNode], list[RawNode]]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _mat_mul,
    "QGemm": _gemm,
    "QLinearAdd": _add,
    "QLinearConcat": _concat,
    "QLinearAveragePool": _pool,
    "QLinearGlobalAveragePool": _pool,
    "QLinearSoftmax": _softmax,
}


def _dequantize(graph: RawGraph, node: RawNode, index: int, tensor: str, scale: str,
                zero_point: str, axis: int = 1) -> RawNode:
    if not tensor or not scale:
        raise UserError(f"{node}: an input or its scale is missing")
    scale, zero_point = _of_one_length(graph, node, index, scale, zero_point)
    return RawNode("DequantizeLinear", node.name, [tensor, scale, zero_point],
                   [_name(node, f"input{index}")], {"axis": axis}, origin=node.op)


def _of_one_length(graph: RawGraph, node: RawNode, index: int, scale: str,
                   zero_point: str) -> tuple[str, str]:
    """Here one of them may be a single number and the other a list."""
    values = [graph.constants.get(name) for name in (scale, zero_point)]
    if any(value is None for value in values):
        return scale, zero_point
    count = max(value.size for value in values)
    names = [scale, zero_point]
    for i, value in enumerate(values):
        if value.size == 1 < count:
            names[i] = _name(node, f"{('scale', 'zero_point')[i]}{index}")
            graph.constants[names[i]] = np.full(count, value.reshape(-1)[0])
    return names[0], names[1]


def _around(graph: RawGraph, node: RawNode, op: str, parts: list[RawNode],
            result: list[str]) -> list[RawNode]:
    """The float operator behind its dequantized inputs and before its quantized output."""
    if read_integer(node, "channels_last", 0):
        raise UserError(f"{node}: channels_last is not supported; export it in NCHW")
    if len(node.outputs) != 1 or not (result[0] or op == "Gemm"):
        raise UserError(f"{node}: one output with a scale is supported")
    attributes = {key: value for key, value in node.attributes.items() if key != "channels_last"}
    inputs = [part.outputs[0] for part in parts]
    if not result[0]:  # of a QGemm, whose result is float then
        return [*parts, RawNode(op, node.name, inputs, node.outputs, attributes, origin=node.op)]
    value = _name(node, "float")
    scale, zero_point = result
    if not zero_point:  # of the type of the first input
        zero_point = _name(node, "zero")
        first = graph.constants.get(parts[0].input(2))
        graph.constants[zero_point] = np.zeros((), np.uint8 if first is None else first.dtype)
    return [
        *parts,
        RawNode(op, node.name, inputs, [value], attributes, origin=node.op),
        RawNode("QuantizeLinear", node.name, [value, scale, zero_point], node.outputs,
                origin=node.op)]


def _name(node: RawNode, part: str) -> str:
    return f"{node.outputs[0]}:{part}"
