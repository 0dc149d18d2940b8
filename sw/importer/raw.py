"""The ONNX graph as plain Python: what the importer's passes rewrite before it becomes typed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["RawGraph", "RawNode"]


@dataclass
class RawNode:
    """One ONNX operator; an optional input that is absent is an empty string.

    `low` and `high` limit its values (a Relu or Clip behind it was fused into it); `origin` is the
    operator that a pass made it from, for messages.
    """

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    low: float = -math.inf
    high: float = math.inf
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.origin or self.op} '{self.name}'"

    @property
    def is_operator_form(self) -> bool:
        """Whether it was written in QOperator form."""
        return self.origin.startswith(("QLinear", "QGemm"))

    def input(self, index: int) -> str:
        """Name of an input, empty where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass
class RawGraph:
    """Nodes in topological order, constants by tensor name, one input with a static shape.

    `input_type` is float32, int8 or uint8.
    """

    nodes: list[RawNode]
    constants: dict[str, np.ndarray]
    input: str
    input_shape: tuple[int, ...]
    input_type: np.dtype
    outputs: list[str]
    opset: int
    metadata: dict[str, str]

    def producers(self) -> dict[str, RawNode]:
        """The node behind each computed tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def consumers(self, tensor: str) -> Iterator[RawNode]:
        """The nodes that read a tensor."""
        return (node for node in self.nodes if tensor in node.inputs)

    def is_shared(self, tensor: str) -> bool:
        """Whether an output of the model or more than one node reads it."""
        return tensor in self.outputs or sum(
            node.inputs.count(tensor) for node in self.nodes) > 1

    def replace(self, old: str, new: str) -> None:
        """Make every reader of tensor `old` read `new`."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
