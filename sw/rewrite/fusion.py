"""A convolution in front of what the core computes only behind one."""

from __future__ import annotations

import numpy as np

from hw.config import VECTOR, Config

from ..graph import Add, Concat, Conv, GlobalAveragePool, Graph, MaxPool, Node
from ..lower import joins_pair
from .edit import Editor

__all__ = ["insert_carriers"]

POOLED = ("convolved", "added")
"""States of a tensor whose layer can take in a pool or an average."""


def insert_carriers(graph: Graph, config: Config) -> Graph:
    """Add, MaxPool and GlobalAveragePool stand behind a convolution that has no other use: where
    they do not, a copy of their input does. A mean for which the activation memory would have to
    hold more than there is room for is taken of copies of some channels at a time."""
    return _Carriers(graph, config).run()


class _Carriers:
    def __init__(self, graph: Graph, config: Config):
        self.graph, self.config = graph, config
        self.editor = Editor(graph)
        self.state: dict[str, str] = {}
        """What the layer that computes a tensor has done for it so far."""
        self.order = {node.output: index for index, node in enumerate(graph.nodes)}

    def run(self) -> Graph:
        for node in self.graph.nodes:
            match node:
                case Add():
                    self._add(node)
                case GlobalAveragePool() if self._too_large(node):
                    self._average_parts(node)
                case MaxPool() | GlobalAveragePool():
                    source, = node.inputs
                    if not self._alone(source) or self.state.get(source) not in POOLED:
                        source = self.editor.copy(source, "carrier")
                    self.editor.keep(node, inputs=(source,))
                case _:
                    self.editor.keep(node)
                    self.state[node.output] = self._begun(node)
        return self.editor.finish()

    def _begun(self, node: Node) -> str:
        if isinstance(node, Conv):
            # Rows that go one by one close no window.
            return "convolved" if node.strides[0] == node.strides[1] else "by rows"
        return "convolved" if isinstance(node, Concat) and joins_pair(self.graph, node) else ""

    def _alone(self, tensor: str) -> bool:
        return len(self.graph.consumers(tensor)) == 1 and tensor not in self.graph.outputs

    def _too_large(self, node: GlobalAveragePool) -> bool:
        """Whether the layer before a quantized mean does not fit in one band."""
        if self.graph.tensors[node.output].quant is None:
            return False
        maker = self.graph.producer(node.inputs[0])
        if isinstance(maker, Add):
            later = max(maker.inputs, key=self.order.__getitem__)
            maker = self.graph.producer(later)
        if isinstance(maker, Concat):
            maker = self.graph.producer(maker.inputs[0])
        reads = maker.inputs[0] if isinstance(maker, Conv) else node.inputs[0]
        vectors = self._vectors(reads)
        before = self.graph.producer(reads)
        if isinstance(before, Conv):
            # Perhaps a squeeze, whose input and result are there together.
            vectors += self._vectors(before.inputs[0])
        return vectors > self.config.act_vectors

    def _vectors(self, tensor: str) -> int:
        channels, rows, columns = self.graph.tensors[tensor].shape
        return -(-channels // VECTOR) * rows * columns

    def _average_parts(self, node: GlobalAveragePool) -> None:
        editor, source = self.editor, node.inputs[0]
        channels, rows, columns = self.graph.tensors[source].shape
        step = max(1, self.config.act_vectors // (rows * columns)) * VECTOR
        if step >= channels:
            editor.keep(node, inputs=(editor.copy(source, "carrier"),))
            return
        parts = []
        for first in range(0, channels, step):
            weights = np.eye(channels, dtype=np.int8)[first:first + step, :, None, None]
            part = editor.copy(source, "part", weights=weights)
            parts.append(editor.fresh(node.output, "part", (len(weights), 1, 1),
                                      self.graph.tensors[node.output].quant))
            editor.keep(node, name=parts[-1], inputs=(part,), output=parts[-1])
        editor.nodes.append(Concat(f"{node.name}:parts", tuple(parts), node.output))

    def _add(self, node: Add) -> None:
        inputs = list(node.inputs)
        later = max(range(2), key=lambda i: self.order[inputs[i]])
        state = self.state.get(inputs[later])
        if inputs[0] == inputs[1] or not self._alone(inputs[later]) \
                or state not in ("convolved", "by rows"):
            inputs[later] = self.editor.copy(inputs[later], "carrier")
            state = "convolved"
        self.editor.keep(node, inputs=tuple(inputs))
        self.state[node.output] = "added" if state == "convolved" else ""
