"""Max pooling of any window, from the windows that the hardware pools itself.

A KxK window is a chain of 2x2 windows that move by one, and one of the hardware's with the stride;
padding is convolved in before them, with bytes of 0, which never win. A longer side is reached by
`max(a, b) = b + relu(a - b)` of the map and itself, moved. Other strides pick from the result.
"""

from __future__ import annotations

import numpy as np

from hw.config import VECTOR, Config

from ..branches import MAX_POOL, pools
from ..errors import UserError
from ..graph import Add, Concat, Graph, MaxPool, Quant
from .edit import Editor, raw_quant

__all__ = ["replace_pools"]


def replace_pools(graph: Graph, config: Config) -> Graph:
    """Every MaxPool as one, or several, of the hardware's; many channels in parts, as the line
    buffer holds them."""
    editor = Editor(graph)
    for node in graph.nodes:
        if not isinstance(node, MaxPool):
            editor.keep(node)
        elif pools(node, graph.tensors):
            _pool(editor, node, config)
        else:
            _Windows(editor, node, config).run()
    return editor.finish()


class _Windows:
    """A MaxPool in steps: `here` is the map so far, whose elements are maxima over `reached` rows
    and columns."""

    def __init__(self, editor: Editor, node: MaxPool, config: Config):
        self.editor, self.node, self.config = editor, node, config
        self.here = node.inputs[0]
        self.reached = [1, 1]

    def run(self) -> None:
        node, kernel, strides = self.node, self.node.kernel, self.node.strides
        self._pad()
        stride = strides[0]
        last = stride if kernel[0] == stride else stride + 1
        if kernel[0] == kernel[1] >= last > 1 and strides[1] == stride and last <= MAX_POOL:
            for _ in range(kernel[0] - last):
                self._grow()
            self._last_pool(last, stride)
            return
        for _ in range(min(kernel) - 1):
            self._grow()
        for axis in range(2):
            while self.reached[axis] < kernel[axis]:
                self._lengthen(axis, min(self.reached[axis], kernel[axis] - self.reached[axis]))
        self._pick(node.output)

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.editor.tensors[self.here].shape

    @property
    def _quant(self) -> Quant:
        return self.editor.tensors[self.here].quant

    def _pad(self) -> None:
        """The cells outside, as far as a window reaches; the lowest byte stands in them."""
        node, (_, *size), (_, *count) = (
            self.node, self._shape, self.editor.tensors[self.node.output].shape)
        ends = [max(0, (count[i] - 1) * node.strides[i] + node.kernel[i] - size[i] - node.pads[i])
                for i in range(2)]
        pads = (*node.pads[:2], *ends)
        if not any(pads):
            return
        quant = self._quant
        if quant.zero_point != quant.qmin:
            self.here = self.editor.copy(self.here, "raw", raw_quant(quant))
        self.here = self.editor.copy(self.here, "padded", quant, pads=pads)

    def _grow(self) -> None:
        """Windows of one more row and column."""
        channels, rows, columns = self._shape
        output = self.editor.fresh(self.node.output, "window", (channels, rows - 1, columns - 1),
                                   self._quant)
        _pool(self.editor, MaxPool(output, (self.here,), output, (2, 2), (1, 1), (0, 0, 0, 0),
                                   False), self.config)
        self.here = output
        self.reached = [size + 1 for size in self.reached]

    def _last_pool(self, kernel: int, stride: int) -> None:
        node = self.node
        _pool(self.editor, MaxPool(node.name, (self.here,), node.output, (kernel, kernel),
                                   (stride, stride), (0, 0, 0, 0), False), self.config)

    def _lengthen(self, axis: int, by: int) -> None:
        """Windows longer along an axis: the maximum of each and the one `by` further on. Those of
        the last positions, which reach beyond the map, are of no use."""
        channels = self._shape[0]
        size = [1, 1]
        size[axis] += by
        weights = np.zeros((channels, channels, *size), np.int8)
        weights[:, :, -1, -1] += np.eye(channels, dtype=np.int8)
        weights[:, :, 0, 0] -= np.eye(channels, dtype=np.int8)
        pads = (0, 0, by, 0) if axis == 0 else (0, 0, 0, by)
        more = self.editor.conv(self.here, "more", weights, raw_quant(self._quant), pads=pads)
        output = self.editor.fresh(self.node.output, "window", self._shape, self._quant)
        self.editor.nodes.append(Add(output, (more, self.here), output, False))
        self.here = output
        self.reached[axis] += by

    def _pick(self, output: str) -> None:
        """Every stride-th window."""
        channels, *size = self._shape
        count = self.editor.tensors[output].shape[1:]
        strides = self.node.strides
        kernel = [max(1, size[i] - count[i] * strides[i] + 1) for i in range(2)]
        weights = np.zeros((channels, channels, *kernel), np.int8)
        weights[:, :, 0, 0] = np.eye(channels, dtype=np.int8)
        self.editor.copy(self.here, "picked", weights=weights, strides=strides, output=output,
                         name=self.node.name)


def _pool(editor: Editor, node: MaxPool, config: Config) -> None:
    """One pool of the hardware, or one for each part of the channels."""
    channels, _, columns = editor.tensors[node.output].shape
    groups = -(-channels // VECTOR)
    fitting = config.line_vectors // columns
    if groups <= fitting:
        editor.keep(node)
        return
    if not fitting:
        raise UserError(f"{node}: {columns} columns of results; the line buffer of this "
                        f"configuration holds {config.line_vectors}")
    source = node.inputs[0]
    parts = []
    for first in range(0, channels, fitting * VECTOR):
        weights = np.eye(channels, dtype=np.int8)[first:first + fitting * VECTOR, :, None, None]
        part = editor.copy(source, "part", weights=weights)
        output = editor.fresh(node.output, "part",
                              (len(weights), *editor.tensors[node.output].shape[1:]),
                              editor.tensors[node.output].quant)
        editor.keep(node, name=output, inputs=(part,), output=output)
        parts.append(output)
    editor.nodes.append(Concat(f"{node.name}:parts", tuple(parts), node.output))
