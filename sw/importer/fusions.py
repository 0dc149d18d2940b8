"""What onnxruntime computes in float, though it is quantized: it rounds such sums itself, and the
graph notes it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import UserError
from ..graph import Quant
from .activations import is_implied
from .builder import Builder
from .raw import RawNode
from .weights import read_weight_type

__all__ = ["note_unfused_weighted", "refuse_unfused"]


def refuse_unfused(builder: Builder, node: RawNode) -> None:
    """An average in float rounds too often otherwise to be called the same."""
    for reason in _reasons(builder, node):
        raise UserError(f"{node}: onnxruntime computes it in float, as {reason}; quantize its "
                        "input and output")


def note_unfused_weighted(builder: Builder, node: RawNode, source: Quant, result: Quant) -> None:
    """For a Conv, Gemm or MatMul."""
    reasons = list(_reasons(builder, node))
    if not is_implied(result, node.low, node.high):
        reasons.append("the quantization behind it does not imply its Relu or Clip")
    types = list(_types(builder, node, source, result))
    if types and node.is_operator_form:
        raise UserError(f"{node}: {types[0]}; onnxruntime does not support that")
    _note(builder, node, reasons + types)


def _reasons(builder: Builder, node: RawNode) -> Iterator[str]:
    for name in (*node.inputs, *node.outputs):
        if reason := builder.quantization.floating.get(name):
            yield reason


def _types(builder: Builder, node: RawNode, source: Quant, result: Quant) -> Iterator[str]:
    if source.signed != result.signed:
        yield f"its input is {source.dtype}, its output {result.dtype}"
    elif source.signed and read_weight_type(builder.raw, node) == np.uint8:
        yield "its input is int8, its weights are uint8"


def _note(builder: Builder, node: RawNode, reasons: list[str]) -> None:
    if reasons:
        builder.notes.append(f"{node}: onnxruntime computes it in float, as {reasons[0]}; rare "
                             "results differ by one")
