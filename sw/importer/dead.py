"""Pass `dead`: drop nodes that no output needs."""

from __future__ import annotations

from .raw import RawGraph

__all__ = ["drop_dead"]


def drop_dead(graph: RawGraph) -> None:
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]
