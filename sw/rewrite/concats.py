"""Concats whose inputs can write into one map: each by a layer of its own, from whole planes on."""

from __future__ import annotations

import dataclasses

import numpy as np

from hw.config import VECTOR

from ..graph import Add, Concat, Conv, Graph, HostOp, Input, MaxPool, Node
from ..lower import joins_pair
from .edit import Editor

__all__ = ["arrange_concats"]

Wide = tuple[str, np.ndarray]
"""A tensor with gaps between its channels, and the place of each channel in it."""


def arrange_concats(graph: Graph, config: object) -> Graph:
    """Nested Concats become one; what no layer can write into the map is copied; inputs that would
    not begin with a plane get channels without weights behind them, which nothing reads."""
    return _Arranger(_flattened(graph)).run()


def _flattened(graph: Graph) -> Graph:
    """A Concat read by one Concat of the same quantization is part of that."""
    editor = Editor(graph)
    inner: dict[str, Concat] = {}
    for node in graph.nodes:
        if isinstance(node, Concat):
            inputs = [part for name in node.inputs
                      for part in (inner[name].inputs if name in inner else (name,))]
            node = dataclasses.replace(node, inputs=tuple(inputs))
            users = graph.consumers(node.output)
            if len(users) == 1 and isinstance(users[0], Concat) \
                    and node.output not in graph.outputs and not joins_pair(graph, node) \
                    and users[0].inputs.count(node.output) == 1 \
                    and graph.tensors[users[0].output].quant == graph.tensors[node.output].quant:
                inner[node.output] = node
                continue
        editor.keep(node)
    return editor.finish()


class _Arranger:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.editor = Editor(graph)
        self.uses = {name: len(graph.consumers(name)) + graph.outputs.count(name)
                     for name in graph.tensors}
        self.pairs = {node.output for node in graph.nodes
                      if isinstance(node, Concat) and joins_pair(graph, node)}
        """Concats that the convolutions of one pass make."""
        self.taken: set[str] = set()
        """Tensors that are part of a map."""
        self.wide: dict[str, Wide] = {}

    def run(self) -> Graph:
        for node in self.graph.nodes:
            match node:
                case Concat():
                    self._concat(node)
                case Conv() if node.inputs[0] in self.wide:
                    self._conv(node)
                case MaxPool() if node.inputs[0] in self.wide:
                    self._through(node)
                case Add() if self._alike(node):
                    self._through(node)
                case _:
                    self._narrow(node)
                    self.editor.keep(node)
            if node.output in self.wide and node.output in self.graph.outputs:
                self._pack(node.output)
        return self.editor.finish()

    # -- maps with gaps

    def _alike(self, node: Add) -> bool:
        places = [self.wide[name][1] for name in node.inputs if name in self.wide]
        return len(places) == 2 and np.array_equal(*places)

    def _through(self, node: Node) -> None:
        """A node that treats all channels alike."""
        sources = [self.wide[name] for name in node.inputs]
        tensor = self.editor.tensors[node.output]
        channels = self.editor.tensors[sources[0][0]].shape[0]
        output = self.editor.fresh(node.output, "wide", (channels, *tensor.shape[1:]),
                                   tensor.quant)
        self.editor.keep(node, inputs=tuple(name for name, _ in sources), output=output)
        self.wide[node.output] = (output, sources[0][1])

    def _conv(self, node: Conv) -> None:
        source, places = self.wide[node.inputs[0]]
        weights = np.zeros((node.weights.shape[0], self.editor.tensors[source].shape[0],
                            *node.weights.shape[2:]), np.int8)
        weights[:, places] = node.weights
        self.editor.keep(node, inputs=(source,), weights=weights)

    def _narrow(self, node: Node) -> None:
        for name in node.inputs:
            if name in self.wide:
                self._pack(name)

    def _pack(self, name: str) -> None:
        """The tensor without gaps, by a copy of its channels."""
        source, places = self.wide.pop(name)
        weights = np.zeros((len(places), self.editor.tensors[source].shape[0], 1, 1), np.int8)
        weights[np.arange(len(places)), places] = 1
        self.editor.copy(source, "packed", weights=weights, output=name, name=f"{source}:packed")

    # -- Concats

    def _concat(self, node: Concat) -> None:
        self._narrow(node)
        editor, result = self.editor, self.editor.tensors[node.output]
        counts = [editor.tensors[name].shape[0] for name in node.inputs]
        pair = node.output in self.pairs
        inputs, places, channel = [], [], 0
        for index, (name, count) in enumerate(zip(node.inputs, counts, strict=True)):
            gap = -count % VECTOR if index < len(counts) - 1 else 0
            inputs.append(name if pair else self._part(node, name, gap))
            self.taken.add(inputs[-1])
            places.append(channel + np.arange(count))
            channel += count + gap
        if channel == result.shape[0]:
            editor.keep(node, inputs=tuple(inputs))
            return
        output = editor.fresh(node.output, "wide", (channel, *result.shape[1:]), result.quant)
        editor.keep(node, inputs=tuple(inputs), output=output)
        self.wide[node.output] = (output, np.concatenate(places))

    def _part(self, node: Concat, name: str, gap: int) -> str:
        """What writes the planes of an input, `gap` channels more than it has."""
        editor = self.editor
        maker = next(each for each in reversed(editor.nodes) if each.output == name)
        tensor = editor.tensors[name]
        alone = isinstance(maker, Conv) and self.uses[name] == 1
        same = tensor.quant == editor.tensors[node.output].quant
        writes = name not in self.taken and (alone or same and not (
            isinstance(maker, Input | HostOp)
            or isinstance(maker, Concat) and name not in self.pairs))
        if writes and not gap:
            return name
        channels = tensor.shape[0]
        if not (writes and alone):
            weights = np.eye(channels + gap, channels, dtype=np.int8)[:, :, None, None]
            return editor.copy(name, "part", weights=weights)
        wide = editor.fresh(name, "wide", (channels + gap, *tensor.shape[1:]), tensor.quant)

        def longer(values: np.ndarray, mode: str) -> np.ndarray:
            return np.pad(values, [(0, gap)] + [(0, 0)] * (values.ndim - 1), mode)

        editor.nodes[editor.nodes.index(maker)] = dataclasses.replace(
            maker, output=wide, weights=longer(maker.weights, "constant"),
            bias=longer(maker.bias, "constant"), weight_scale=longer(maker.weight_scale, "edge"))
        return wide
