"""The ONNX graph as plain Python: what the importer's passes rewrite before it becomes typed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["RawGraph", "RawNode"]


@dataclass
class RawNode:
    """One ONNX operator; an optional input that is absent is an empty string."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    relu: bool = False  # a Relu behind it was fused into it

    def __str__(self) -> str:
        return f"{self.op} '{self.name}'"

    def input(self, index: int) -> str:
        """Name of an input, empty where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass
class RawGraph:
    """Nodes in topological order, constants by tensor name, one input with a static shape."""

    nodes: list[RawNode]
    constants: dict[str, np.ndarray]
    input: str
    input_shape: tuple[int, ...]
    outputs: list[str]
    opset: int
    metadata: dict[str, str]

    def producers(self) -> dict[str, RawNode]:
        """The node behind each computed tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def consumers(self, tensor: str) -> Iterator[RawNode]:
        """The nodes that read a tensor."""
        return (node for node in self.nodes if tensor in node.inputs)

    def replace(self, old: str, new: str) -> None:
        """Make every reader of tensor `old` read `new`."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
