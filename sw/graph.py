"""The typed quantized graph: what the importer gives and what every later pass reads.

Activations are 8-bit integers with one scale and zero point per tensor; weights are int8 with
zero point 0 and one scale per output channel; biases are int32 in units of input scale times
weight scale. A tensor without `quant` is float and belongs to the tail that the host computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

__all__ = [
    "Add", "AveragePool", "Concat", "Conv", "GlobalAveragePool", "Graph", "HostOp", "Input",
    "MaxPool", "Node", "Quant", "Tensor", "window_outputs",
]


@dataclass(frozen=True)
class Quant:
    """real value = scale * (integer - zero_point); integers are int8 if `signed`, else uint8."""

    scale: np.float32
    zero_point: int
    signed: bool

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.int8 if self.signed else np.uint8)

    @property
    def qmin(self) -> int:
        return -128 if self.signed else 0

    @property
    def qmax(self) -> int:
        return 127 if self.signed else 255

    def __str__(self) -> str:
        return f"{self.dtype} scale {self.scale:.9g} zero point {self.zero_point}"


@dataclass(frozen=True)
class Tensor:
    """One tensor of one image.

    `name` is the ONNX name of the quantized tensor (the output of its QuantizeLinear); where the
    model has none (a MaxPool or Concat takes over its neighbour's) `<float name>_quantized`.
    `shape` is (C, H, W); in the host tail it is the ONNX shape without the batch dimension.
    `quant` is None for a float tensor of the host tail.
    """

    name: str
    shape: tuple[int, ...]
    quant: Quant | None

    def __str__(self) -> str:
        return f"{self.name} {'x'.join(map(str, self.shape))} {self.quant or 'float32'}"


@dataclass(frozen=True, eq=False)
class Node:
    """`name`: the ONNX node name of the float operator, or its output name where it has none."""

    name: str
    inputs: tuple[str, ...]
    output: str

    def __str__(self) -> str:
        """`Conv 'fire2/squeeze'`, as in messages."""
        return f"{type(self).__name__} '{self.name}'"

    def describe(self) -> str:
        """Parameters on one line, arrays by type and shape."""
        return " ".join(
            f"{f.name}={_brief(getattr(self, f.name))}"
            for f in fields(self) if f.name not in ("name", "inputs", "output"))


@dataclass(frozen=True, eq=False)
class Input(Node):
    """The image. `float_name` is the ONNX graph input that is quantized into `output`; it equals
    `output` where the model takes integers."""

    float_name: str


@dataclass(frozen=True, eq=False)
class Conv(Node):
    """Two-dimensional convolution; padding has the value of the input's zero point.

    Weights are dense: grouped and depthwise ones hold zeros, and a fully connected layer has a
    kernel of the size of its map. `relu` is an explicit Relu before quantization: results are
    clipped at the output's zero point. `clip` is an upper limit in the output's integers (ReLU6),
    given only where it lies inside their range.
    """

    weights: np.ndarray             # int8 [co, ci, kh, kw]
    weight_scale: np.ndarray        # float32 [co]
    bias: np.ndarray                # int32 [co]
    strides: tuple[int, int]        # (vertical, horizontal)
    pads: tuple[int, int, int, int]  # (top, left, bottom, right)
    relu: bool
    clip: int | None = None


@dataclass(frozen=True, eq=False)
class MaxPool(Node):
    """Maximum over windows; padding never wins. Input and output have the same quantization."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    ceil_mode: bool


@dataclass(frozen=True, eq=False)
class AveragePool(Node):
    """Mean over windows, from the input's quantization to the output's.

    The sum of the window's cells inside the map is divided by their number or, with
    `count_include_pad`, by that of the whole window, also where it hangs over the end.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    ceil_mode: bool
    count_include_pad: bool


@dataclass(frozen=True, eq=False)
class Concat(Node):
    """Concatenation of channels; each input is requantized from its own scale to the output's.

    With one input it is a requantization.
    """


@dataclass(frozen=True, eq=False)
class Add(Node):
    """Sum of two tensors of one shape, each with its own scale.

    `in_float`: onnxruntime does not fuse it (a Relu that the output's zero point does not imply)
    and rounds the sum of the dequantized values instead; the integers differ where rounding ties.
    """

    relu: bool
    in_float: bool = False


@dataclass(frozen=True, eq=False)
class GlobalAveragePool(Node):
    """Mean of each channel. If the output is float it starts the host tail."""


@dataclass(frozen=True, eq=False)
class HostOp(Node):
    """An operator of the tail, computed by the host.

    Kinds and their attributes: `Dequantize` and `Quantize` (none); `Flatten`, `Reshape`, `Squeeze`
    and `Unsqueeze` (none: the output's shape says it all); `Softmax` (`axes`: tuple of ONNX axes,
    batch counted as 0); `Gemm`, from integers to float: `weights` [n, k], `scale` float32 [n] of
    its sums, `bias` int32 [n] that they start from, `offset` float32 [n] that is added behind.
    Each also has `shape`: the full ONNX shape of its output.
    """

    kind: str
    attributes: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"


@dataclass
class Graph:
    """Nodes in topological order, tensors by name.

    `input` is the name of the ONNX graph input, `outputs` those of the ONNX graph outputs (each is
    a tensor of the graph), `metadata` the model's own key-value pairs, `source` its file. `notes`
    are lines on nodes that onnxruntime computes in float, where it rounds sums itself: there rare
    results differ from the graph's by one.
    """

    nodes: list[Node]
    tensors: dict[str, Tensor]
    input: str
    outputs: tuple[str, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    source: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def input_node(self) -> Input:
        return next(node for node in self.nodes if isinstance(node, Input))

    def producer(self, tensor: str) -> Node:
        """The node that computes `tensor`."""
        return next(node for node in self.nodes if node.output == tensor)

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that read `tensor`."""
        return [node for node in self.nodes if tensor in node.inputs]

    def __str__(self) -> str:
        lines = [f"graph {self.source}: input {self.input}, outputs {', '.join(self.outputs)}"]
        for node in self.nodes:
            lines.append(f"{node} {node.describe()}".rstrip())
            lines += [f"    <- {self.tensors[name]}" for name in node.inputs]
            lines.append(f"    -> {self.tensors[node.output]}")
        return "\n".join(lines) + "\n"


def window_outputs(size: int, kernel: int, stride: int, before: int, after: int,
                   ceil_mode: bool = False) -> int:
    """Positions of a window along one axis; with `ceil_mode` a last window may hang over the end,
    but it starts inside the input or the padding before it. Not positive if nothing fits."""
    room = size + before + after - kernel
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_brief(each)}" for key, each in value.items()) + "}"
    return str(value).replace(" ", "")
