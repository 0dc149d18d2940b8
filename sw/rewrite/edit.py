"""A graph under construction, and the exact convolutions that rewrites put into it."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..graph import Conv, Graph, Node, Quant, Tensor, window_outputs

__all__ = ["Editor", "raw_quant"]

Pads = tuple[int, int, int, int]


def raw_quant(quant: Quant) -> Quant:
    """The same integers with the lowest as zero point: what pads with it never wins a maximum."""
    return Quant(quant.scale, quant.qmin, quant.signed)


class Editor:
    """Takes the nodes of a graph over one after the other, with others in between.

    New tensors are named `TENSOR:WHAT`, with a number if that is taken; so are their nodes.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.nodes: list[Node] = []
        self.tensors = dict(graph.tensors)

    def keep(self, node: Node, **changes) -> None:
        """The node, with other fields."""
        self.nodes.append(dataclasses.replace(node, **changes) if changes else node)

    def finish(self) -> Graph:
        """The graph of what was taken over, without tensors that nothing computes any more."""
        made = {node.output for node in self.nodes}
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in made}
        return dataclasses.replace(self.graph, nodes=self.nodes, tensors=tensors)

    def fresh(self, source: str, what: str, shape: tuple[int, int, int], quant: Quant) -> str:
        """A new tensor, named after another."""
        name = base = f"{source}:{what}"
        number = 1
        while name in self.tensors:
            number += 1
            name = f"{base}{number}"
        self.tensors[name] = Tensor(name, shape, quant)
        return name

    def conv(self, source: str, what: str, weights: np.ndarray, quant: Quant, *,
             scale: np.ndarray | None = None, bias: np.ndarray | int = 0,
             strides: tuple[int, int] = (1, 1), pads: Pads = (0, 0, 0, 0),
             output: str | None = None, name: str = "") -> str:
        """A convolution with int8 weights [co, ci, kh, kw]; gives the name of its result.

        By default the weight scale is that with which a sum of 1 is a step of the result.
        """
        tensor = self.tensors[source]
        co = weights.shape[0]
        if scale is None:
            scale = _unit_scale(tensor.quant, quant)
        shape = (co, *(window_outputs(tensor.shape[1 + i], weights.shape[2 + i], strides[i],
                                      pads[i], pads[2 + i]) for i in range(2)))
        output = output or self.fresh(source, what, shape, quant)
        self.nodes.append(Conv(
            name or output, (source,), output, weights.astype(np.int8),
            np.broadcast_to(np.float32(scale), (co,)).copy(),
            np.broadcast_to(np.int32(bias), (co,)).copy(), strides, pads, False))
        return output

    def copy(self, source: str, what: str = "copy", quant: Quant | None = None, **options) -> str:
        """The same integers, under another zero point if `quant` has one.

        With pads the cells outside have the value of the source's zero point.
        """
        tensor = self.tensors[source]
        quant = quant or tensor.quant
        weights = options.pop("weights", None)
        if weights is None:
            weights = np.eye(tensor.shape[0], dtype=np.int8)[:, :, None, None]
        return self.conv(source, what, weights, quant,
                         bias=int(tensor.quant.zero_point) - int(quant.zero_point), **options)


def _unit_scale(source: Quant, result: Quant) -> np.float32:
    """A weight scale with which (source scale * it) / result scale is 1 in float32."""
    if source.scale == result.scale:
        return np.float32(1)
    raise ValueError(f"scales {source.scale} and {result.scale} differ")
