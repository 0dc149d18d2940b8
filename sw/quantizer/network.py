"""A float network as the quantizer sees it: few kinds of operators, shapes known, no spellings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["WINDOWS", "FloatNetwork", "Op", "Output"]

WINDOWS = ("MaxPool", "AveragePool")


@dataclass(eq=False)
class Op:
    """One operator with one output.

    `kind` is one of

    * Conv: `weights` float64 [co, ci / group, kh, kw], `bias` float64 [co]; `attributes` strides,
      pads, group
    * MaxPool, AveragePool: kernel_shape, strides, pads, ceil_mode, count_include_pad
    * GlobalAveragePool, Add, Concat (of channels)
    * Relu: with an upper `limit` it is a Clip
    * Affine: `weights` and `bias` float64 [c], a factor and an offset for each channel
    * Softmax (axis), Reshape (shape): only behind the quantized part

    `relu` and `limit` of any other kind: a Relu or Clip was fused into it.
    """

    kind: str
    name: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any] = field(default_factory=dict)
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    relu: bool = False
    limit: float | None = None

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"


@dataclass
class Output:
    """`name` of the ONNX output, the tensor behind it, and the ONNX shape that users see."""

    name: str
    tensor: str
    shape: tuple[int, ...]


@dataclass
class FloatNetwork:
    """Operators in topological order. `shapes`: the ONNX shape of each tensor without the batch
    dimension, (C, H, W) for maps. `raw_input`: the input is uint8 pixels, each standing for itself
    minus `input_zero`."""

    ops: list[Op]
    shapes: dict[str, tuple[int, ...]]
    input: str
    outputs: list[Output]
    metadata: dict[str, str]
    raw_input: bool = False
    input_zero: int = 0

    def producer(self, tensor: str) -> Op | None:
        """The operator behind a tensor; None for the input."""
        return next((op for op in self.ops if op.output == tensor), None)

    def readers(self, tensor: str) -> list[Op]:
        return [op for op in self.ops if tensor in op.inputs]

    def is_output(self, tensor: str) -> bool:
        return any(output.tensor == tensor for output in self.outputs)

    def only_reader(self, tensor: str) -> Op | None:
        """The operator that reads a tensor, if nothing else does."""
        readers = self.readers(tensor)
        return readers[0] if len(readers) == 1 and not self.is_output(tensor) else None

    def absorb(self, op: Op, reader: Op) -> None:
        """Takes out the only reader of an operator, which then gives the reader's output."""
        self.ops.remove(reader)
        op.output = reader.output
        self.shapes[op.output] = self.shapes[reader.output]

    def rename(self, old: str, new: str) -> None:
        """Gives a tensor another name, not that of an output."""
        for op in self.ops:
            op.output = new if op.output == old else op.output
            op.inputs = [new if name == old else name for name in op.inputs]
        for output in self.outputs:
            output.tensor = new if output.tensor == old else output.tensor
        self.shapes[new] = self.shapes.pop(old)

    def remove(self, op: Op, instead: str) -> None:
        """Takes an operator out; its readers read `instead`."""
        self.ops.remove(op)
        for other in self.ops:
            other.inputs = [instead if name == op.output else name for name in other.inputs]
        for output in self.outputs:
            if output.tensor == op.output:
                output.tensor = instead
