"""Average pooling as a depthwise convolution of ones, where that is proven to be exact.

ONNX Runtime adds dequantized values in float32, divides by the number of cells and by the output's
scale, and rounds; the core multiplies the integer sum by one factor. Both are compared for every
sum that a window can have. If the input's scale is a power of two, all of ONNX Runtime's sums are
exact, and its result follows from the integer sum alone. Else it is known up to the errors of its
roundings, and a sum that these take across a rounding tie is refused.

Windows at the edge that count fewer cells have divisors of their own: each number of cells is a
convolution, masked by the number of cells that a convolution of ones over ones finds; masks are
added with 255 less, so what is masked saturates at 0, and the sum of all is the result.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from ..errors import UserError
from ..graph import Add, AveragePool, Concat, Graph, Quant
from .edit import Editor, Pads

__all__ = ["replace_averages"]

ROUNDING = 2.0**-24
"""Relative error of a float32 operation."""
FACTORS = 4
"""Neighbours of 1 / cells in float32 that are tried."""
STEP, TIMES = 51, 5
"""Their product is 255: a difference of one cell opens or closes a mask."""


def replace_averages(graph: Graph, config: object) -> Graph:
    """Raises UserError for scales with which the results cannot be proven equal."""
    editor = Editor(graph)
    for node in graph.nodes:
        if isinstance(node, AveragePool):
            _Means(editor, node).run()
        else:
            editor.keep(node)
    return editor.finish()


class _Means:
    def __init__(self, editor: Editor, node: AveragePool):
        self.editor, self.node = editor, node
        self.source = editor.tensors[node.inputs[0]]
        self.result = editor.tensors[node.output]
        size, count = self.source.shape[1:], self.result.shape[1:]
        ends = [max(0, (count[i] - 1) * node.strides[i] + node.kernel[i] - size[i] - node.pads[i])
                for i in range(2)]
        self.pads: Pads = (*node.pads[:2], *ends)

    def run(self) -> None:
        counts = self._counts()
        if len(counts) == 1:
            self._mean(counts[0], self.node.output)
            return
        here = self._cells()
        parts = [self._masked(number, here) for number in counts]
        self._sum(parts)

    def _counts(self) -> list[int]:
        """The numbers of cells over which windows take their mean."""
        node = self.node
        if node.count_include_pad:
            return [math.prod(node.kernel)]
        sides = []
        for axis in range(2):
            first = np.arange(self.result.shape[1 + axis]) * node.strides[axis] - node.pads[axis]
            end = np.minimum(first + node.kernel[axis], self.source.shape[1 + axis])
            sides.append(end - np.maximum(first, 0))
        return np.unique(np.outer(*sides)).tolist()

    def _ones(self, rows: int, columns: int) -> np.ndarray:
        eye = np.eye(rows, columns, dtype=np.int8)[:, :, None, None]
        return np.tile(eye, (1, 1, *self.node.kernel))

    def _mean(self, cells: int, output: str | None = None) -> str:
        """The sum of every window as a mean of so many cells."""
        node, editor, quant = self.node, self.editor, self.result.quant
        weight, scale, bias, moved = _factor(node, self.source.quant, quant, cells)
        channels = self.source.shape[0]
        here = Quant(quant.scale, int(quant.zero_point) - moved, quant.signed)
        name = editor.conv(node.inputs[0], "sum", weight * self._ones(channels, channels), here,
                           scale=scale, bias=bias, strides=node.strides, pads=self.pads,
                           output=None if moved else output)
        return editor.copy(name, "mean", quant, output=output) if moved else name

    def _cells(self) -> str:
        """The number of cells of each window inside the map, as a map of one channel."""
        editor, quant = self.editor, self.source.quant
        count = Quant(quant.scale, quant.qmin, quant.signed)
        ones = editor.conv(self.node.inputs[0], "ones",
                           np.zeros((1, self.source.shape[0], 1, 1), np.int8), count, bias=1)
        return editor.conv(ones, "cells", self._ones(1, 1), count, strides=self.node.strides,
                           pads=self.pads)

    def _masked(self, cells: int, here: str) -> str:
        """The means of the windows with so many cells, and bytes of 0 elsewhere."""
        editor, node, channels = self.editor, self.node, self.result.shape[0]
        quant = self.result.quant
        # Masks have the highest integer as zero point: what they are added to loses as much.
        mask = Quant(quant.scale, quant.qmax, quant.signed)
        scale = np.float32(TIMES * np.float64(quant.scale) / np.float64(self.source.quant.scale))
        sides = [editor.conv(here, what, np.full((channels, 1, 1, 1), sign * STEP, np.int8), mask,
                             scale=scale, bias=-sign * STEP * cells)
                 for what, sign in (("fewer", 1), ("more", -1))]
        both = editor.fresh(node.output, "mask", self.result.shape, mask)
        editor.nodes.append(Add(both, tuple(sides), both, False))
        part = editor.fresh(node.output, "masked", self.result.shape, quant)
        editor.nodes.append(Add(part, (self._mean(cells), both), part, False))
        return part

    def _sum(self, parts: list[str]) -> None:
        """Of the bytes of all parts."""
        editor, node, quant = self.editor, self.node, self.result.quant
        channels = self.result.shape[0]
        joined = editor.fresh(node.output, "masked",
                              (len(parts) * channels, *self.result.shape[1:]), quant)
        editor.nodes.append(Concat(joined, tuple(parts), joined))
        weights = np.tile(np.eye(channels, dtype=np.int8), len(parts))[:, :, None, None]
        editor.conv(joined, "joined", weights, quant, output=node.output, name=node.name,
                    bias=(len(parts) - 1) * (int(quant.zero_point) - quant.qmin))


def _factor(node: AveragePool, source: Quant, result: Quant,
            cells: int) -> tuple[int, np.float32, int, int]:
    """(weight, its scale, bias, how much less the zero point is) of a convolution that gives
    onnxruntime's mean of every integer sum of so many cells."""
    sums = np.arange(cells * (source.qmin - int(source.zero_point)),
                     cells * (source.qmax - int(source.zero_point)) + 1)
    low, high = _means(source, result, cells, sums)
    where = f"{node}: the mean of {cells} cells from scale {source.scale:.9g} to {result.scale:.9g}"
    if (low != high).any():
        first = int(sums[low != high][np.abs(sums[low != high]).argmin()])
        raise UserError(f"{where} has sums, like {first}, on a rounding tie, which onnxruntime's "
                        "float sums take either way; supported: no ties, or an input scale that "
                        "is a power of two")
    one_more = cells * np.float64(result.scale) / np.float64(source.scale)
    # A rounding tie goes to the even integer with the zero point in it; a larger weight gives
    # other factors, of which one may hit the ties.
    for weight, moved in product(range(1, 128), (0, 1, -1)):
        bias = round(moved * one_more)
        zero = int(result.zero_point) - moved
        if bias != moved * one_more or not result.qmin <= zero <= result.qmax:
            continue
        for step in sorted(range(-FACTORS, FACTORS + 1), key=abs):
            scale = np.float32(1 / (cells * weight)).view(np.int32) + np.int32(step)
            factor = source.scale * scale.view(np.float32) / result.scale
            found = np.rint((weight * (sums + bias)).astype(np.float32) * factor) + zero
            if np.array_equal(np.clip(found, result.qmin, result.qmax), low):
                return weight, scale.view(np.float32), weight * bias, moved
    raise UserError(f"{where}: no single factor gives onnxruntime's results; supported: ratios "
                    "without rounding ties")


def _means(source: Quant, result: Quant, cells: int,
           sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest integer that onnxruntime may give for integer sums."""
    def rounded(values: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(values), result.qmin, result.qmax)

    zero = np.float32(result.zero_point)
    if np.frexp(source.scale)[0] == 0.5:
        exact = rounded(sums.astype(np.float32) * source.scale / np.float32(cells) / result.scale
                        + zero)
        return exact, exact
    step = np.float64(source.scale) / (cells * np.float64(result.scale))
    values = sums * step
    # Of the products and partial sums, all at most that of the largest bytes; of both divisions
    # and of the zero point.
    largest = 256 * cells * step
    error = 1.01 * ROUNDING * ((cells + 1) * largest + 3 * np.abs(values) + 256)
    return rounded(values - error + zero), rounded(values + error + zero)
