"""Convolutions in the shape that the array computes: square kernels, little padding, no upper
limit."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..branches import MAX_PAD
from ..graph import Conv, Graph, Quant
from .edit import Editor

__all__ = ["shape_convolutions"]


def shape_convolutions(graph: Graph, config: object) -> Graph:
    """Square kernels by zero weights, padding beyond the field of an instruction by a copy, and an
    upper limit by results that saturate there, moved back by a copy."""
    editor = Editor(graph)
    for node in graph.nodes:
        if isinstance(node, Conv):
            _shape(editor, node)
        else:
            editor.keep(node)
    return editor.finish()


def _shape(editor: Editor, conv: Conv) -> None:
    source, pads, weights = conv.inputs[0], conv.pads, conv.weights
    beyond = tuple(max(0, pad - MAX_PAD) for pad in pads[:2])
    while any(beyond):
        outer = tuple(min(MAX_PAD, pad) for pad in beyond)
        source = editor.copy(source, "padded", pads=(*outer, 0, 0))
        pads = (pads[0] - outer[0], pads[1] - outer[1], *pads[2:])
        beyond = tuple(max(0, pad - MAX_PAD) for pad in pads[:2])
    kernel = weights.shape[2:]
    if kernel[0] != kernel[1]:
        more = [max(kernel) - size for size in kernel]
        weights = np.pad(weights, ((0, 0), (0, 0), (0, more[0]), (0, more[1])))
        pads = (*pads[:2], pads[2] + more[0], pads[3] + more[1])
    conv = dataclasses.replace(conv, inputs=(source,), pads=pads, weights=weights)
    if conv.clip is None:
        editor.nodes.append(conv)
        return
    # Moved up so far that the limit is the highest integer, and back: both ends saturate.
    result = editor.tensors[conv.output]
    quant, zero = result.quant, int(result.quant.zero_point)
    above = quant.qmax - conv.clip
    weights = np.eye(result.shape[0], dtype=np.int8)[:, :, None, None]
    if zero <= conv.clip:
        moved = Quant(quant.scale, zero + above, quant.signed)
        limited = editor.fresh(conv.output, "limited", result.shape, moved)
        editor.nodes.append(dataclasses.replace(conv, output=limited, clip=None))
        back = 0
    else:
        whole = editor.fresh(conv.output, "whole", result.shape, quant)
        editor.nodes.append(dataclasses.replace(conv, output=whole, clip=None))
        limited = editor.conv(whole, "limited", weights, quant, bias=above)
        back = -above
    editor.conv(limited, "limit", weights, quant, bias=back, output=conv.output,
                name=f"{conv.name}:limit")
