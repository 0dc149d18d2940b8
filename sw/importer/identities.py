"""Pass `identities`: remove operators that do nothing at inference (Identity, Dropout)."""

from __future__ import annotations

from ..errors import UserError
from .raw import RawGraph, RawNode

__all__ = ["remove_identities"]


def remove_identities(graph: RawGraph) -> None:
    """Readers of the output read the input; names of graph outputs stay."""
    for node in [node for node in graph.nodes if node.op in ("Identity", "Dropout")]:
        _check(graph, node)
        source, result = node.inputs[0], node.outputs[0]
        if result not in graph.outputs:
            graph.replace(result, source)
        elif source in graph.constants:
            raise UserError(f"{node}: output '{result}' is a constant")
        elif source in graph.outputs or source == graph.input:
            raise UserError(f"{node}: outputs '{result}' and '{source}' are the same tensor")
        else:
            producer = graph.producers()[source]
            producer.outputs = [result if name == source else name for name in producer.outputs]
            graph.replace(source, result)
        graph.nodes.remove(node)


def _check(graph: RawGraph, node: RawNode) -> None:
    if node.op == "Identity":
        return
    if any(node.outputs[1:]) and any(
            name in graph.outputs or any(graph.consumers(name)) for name in node.outputs[1:]):
        raise UserError(f"{node}: its mask output is used; that is not supported")
    training = graph.constants.get(node.input(2)) if node.input(2) else False
    if training is None or training:
        raise UserError(f"{node}: it is in training mode; export the model for inference")
