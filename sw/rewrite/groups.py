"""Grouped and depthwise convolutions: parts that read no more planes than they have weights for."""

from __future__ import annotations

import dataclasses
from itertools import groupby

from hw.config import VECTOR

from ..branches import MAX_GROUPS
from ..graph import Concat, Conv, Graph
from .edit import Editor

__all__ = ["split_groups"]

Part = tuple[int, int]
"""Groups of 16 output channels, first and end."""


def split_groups(graph: Graph, config: object) -> Graph:
    """A convolution most of whose planes have no weights for most of its output channels becomes
    several that a Concat joins; so does one with more output channels than a pass takes."""
    editor = Editor(graph)
    for node in graph.nodes:
        parts = _parts(node) if isinstance(node, Conv) else []
        if len(parts) < 2:
            editor.keep(node)
            continue
        result, outputs = editor.tensors[node.output], []
        for first, end in parts:
            rows = slice(first * VECTOR, min(end * VECTOR, result.shape[0]))
            shape = (rows.stop - rows.start, *result.shape[1:])
            outputs.append(editor.fresh(node.output, "part", shape, result.quant))
            editor.nodes.append(dataclasses.replace(
                node, name=outputs[-1], output=outputs[-1], weights=node.weights[rows],
                weight_scale=node.weight_scale[rows], bias=node.bias[rows]))
        editor.nodes.append(Concat(f"{node.name}:parts", tuple(outputs), node.output))
    return editor.finish()


def _parts(conv: Conv) -> list[Part]:
    co, ci = conv.weights.shape[:2]
    groups, planes = -(-co // VECTOR), -(-ci // VECTOR)
    used = [_planes_used(conv, group) for group in range(groups)]
    runs = [list(run) for _, run in groupby(range(groups), used.__getitem__)]
    work = sum(end - first for first, end in used)
    if 2 * work > groups * planes:
        runs = [list(range(groups))]
    return [(first, min(first + MAX_GROUPS, run[-1] + 1))
            for run in runs for first in range(run[0], run[-1] + 1, MAX_GROUPS)]


def _planes_used(conv: Conv, group: int) -> tuple[int, int]:
    """The planes for which a group of output channels has weights, first and end."""
    weights = conv.weights[group * VECTOR:(group + 1) * VECTOR]
    channels = weights.any(axis=(0, 2, 3)).nonzero()[0]
    if not len(channels):
        return (0, 1)
    return (int(channels[0]) // VECTOR, int(channels[-1]) // VECTOR + 1)
