"""Pass `integers`: MaxPool, Concat and reshapes of integers get a DequantizeLinear before and a
QuantizeLinear behind them, as in the QDQ form; they only move values, so that nothing changes."""

from __future__ import annotations

from ..errors import UserError
from .parameters import read_quant
from .raw import RawGraph, RawNode

__all__ = ["wrap_integers"]

_MOVES = ("MaxPool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Relu")

Parameters = list[str]
"""Names of a scale and a zero point."""


def wrap_integers(graph: RawGraph) -> None:
    known = _parameters(graph)
    nodes = []
    for node in graph.nodes:
        if _moved(node) and node.outputs[0] in known:
            nodes += _wrapped(graph, node, known)
        else:
            nodes.append(node)
    graph.nodes = nodes


def _moved(node: RawNode) -> list[str]:
    """The inputs that a node moves to its output."""
    if node.op == "Concat":
        return list(dict.fromkeys(node.inputs))
    return node.inputs[:1] if node.op in _MOVES else []


def _parameters(graph: RawGraph) -> dict[str, Parameters]:
    """What each integer tensor stands for, as its producer, reader or neighbour says."""
    known: dict[str, Parameters] = {}
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            known[node.outputs[0]] = [node.input(1), node.input(2)]
    for node in graph.nodes:
        if node.op == "DequantizeLinear" and node.input(0) not in graph.constants:
            known.setdefault(node.inputs[0], [node.input(1), node.input(2)])
    count = -1
    while count != len(known):
        count = len(known)
        for node in graph.nodes:
            if tensors := _moved(node):
                tensors.append(node.outputs[0])
                found = next((known[name] for name in tensors if name in known), None)
                if found:
                    for name in tensors:
                        known.setdefault(name, found)
    return known


def _wrapped(graph: RawGraph, node: RawNode, known: dict[str, Parameters]) -> list[RawNode]:
    result = node.outputs[0]
    sources = _moved(node)
    before = [_dequantize(node, source, f"{result}:input{i}", known[source])
              for i, source in enumerate(sources)]
    behind = RawNode("QuantizeLinear", node.name, [f"{result}:float", *known[result]], [result],
                     origin=node.op)
    quants = [read_quant(graph, each) for each in (*before, behind)]
    for source, quant in zip(sources, quants, strict=False):
        if quant != quants[-1]:
            raise UserError(f"{node}: its integers '{source}' are {quant}, its result {quants[-1]};"
                            " one quantization is supported")
    if node.op == "Relu" and quants[-1].zero_point:
        raise UserError(f"{node}: it clips integers at 0, but their zero point is "
                        f"{quants[-1].zero_point}")
    names = {each.inputs[0]: each.outputs[0] for each in before}
    node.inputs = [names.get(name, name) for name in node.inputs]
    node.outputs = [f"{result}:float", *node.outputs[1:]]
    return [*before, node, behind]


def _dequantize(node: RawNode, source: str, result: str, parameters: Parameters) -> RawNode:
    return RawNode("DequantizeLinear", node.name, [source, *parameters], [result], origin=node.op)
