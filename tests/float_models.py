"""Small float models with random weights, as training tools export them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class FloatBuilder:
    """Adds float operators one by one; methods take and give names of tensors. Weights keep the
    size of activations about the same from layer to layer."""

    def __init__(self, shape: tuple[int, int, int] = (3, 16, 16), seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.channels = {"image": shape[0]}
        self.shape = shape
        self.metadata: dict[str, str] = {}

    def constant(self, value, name: str = "") -> str:
        name = name or f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value), name))
        return name

    def node(self, kind: str, inputs: list[str], channels: int | None = None, **attributes) -> str:
        """Any operator; `channels` of its output, if they are not those of its first input."""
        output = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"the_{output}",
                                           **attributes))
        self.channels[output] = channels or self.channels.get(inputs[0], 0)
        return output

    def conv(self, source: str, channels: int, kernel: int = 3, pad: int | None = None,
             stride: int = 1, group: int = 1, relu: bool = True, bias: bool = True) -> str:
        each = self.channels[source] // group
        spread = np.sqrt(2 / (each * kernel**2))
        weights = self.rng.normal(0, spread, (channels, each, kernel, kernel)).astype(np.float32)
        inputs = [source, self.constant(weights)]
        if bias:
            inputs.append(self.constant(self.rng.normal(0, 0.1, channels).astype(np.float32)))
        output = self.node("Conv", inputs, channels, kernel_shape=[kernel] * 2,
                           pads=[kernel // 2 if pad is None else pad] * 4, strides=[stride] * 2,
                           group=group)
        return self.node("Relu", [output]) if relu else output

    def fire(self, source: str, squeeze: int = 4, expand: int = 8) -> str:
        middle = self.conv(source, squeeze, 1)
        return self.concat([self.conv(middle, expand, 1), self.conv(middle, expand, 3)])

    def concat(self, parts: list[str]) -> str:
        return self.node("Concat", parts, sum(self.channels[part] for part in parts), axis=1)

    def pool(self, source: str, kind: str = "MaxPool", kernel: int = 3, stride: int = 2,
             **attributes) -> str:
        return self.node(kind, [source], kernel_shape=[kernel] * 2, strides=[stride] * 2,
                         **attributes)

    def batch_norm(self, source: str) -> str:
        count = self.channels[source]
        values = (self.rng.uniform(0.5, 2, count), self.rng.normal(0, 0.2, count),
                  self.rng.normal(0, 0.2, count), self.rng.uniform(0.5, 2, count))
        return self.node("BatchNormalization", [source, *(
            self.constant(value.astype(np.float32)) for value in values)])

    def linear(self, source: str, inputs: int, outputs: int) -> str:
        """Flatten and Gemm."""
        flat = self.node("Flatten", [source])
        weights = self.rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
        bias = self.rng.normal(0, 0.1, outputs).astype(np.float32)
        return self.node("Gemm", [flat, self.constant(weights), self.constant(bias)], outputs,
                         transB=1)

    def average(self, source: str) -> str:
        return self.node("GlobalAveragePool", [source])

    def model(self, *outputs: str, opset: int = 13, shape: tuple | None = None) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "float", [helper.make_tensor_value_info(
                "image", TensorProto.FLOAT, shape or (1, *self.shape))],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants)
        model = helper.make_model(graph, ir_version=8,
                                  opset_imports=[helper.make_opsetid("", opset)])
        helper.set_model_props(model, self.metadata)
        return model


def photographs_of(folder: Path, count: int = 6, size: tuple[int, int] = (16, 16), seed: int = 0,
                   channels: int = 3) -> list[Path]:
    """PNG files of random patches of colour, height and width as `size`."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (4, 4, channels)).astype(np.uint8)
        rows, columns = (np.arange(length) * 4 // length for length in size)
        pixels = np.clip(coarse[rows][:, columns] + rng.normal(0, 20, (*size, channels)), 0, 255)
        pixels = pixels.astype(np.uint8)
        paths.append(folder / f"photo{number}.png")
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(paths[-1])
    return paths


def fire_network(seed: int = 0, classes: int = 10) -> FloatBuilder:
    """Two Fire modules behind a convolution, a mean and a Softmax; `out` is its last tensor."""
    builder = FloatBuilder((3, 16, 16), seed)
    x = builder.pool(builder.conv("image", 8, 3, stride=1, pad=0))
    x = builder.fire(builder.fire(x))
    x = builder.average(builder.conv(x, classes, 1))
    builder.out = builder.node("Softmax", [x], axis=1)
    return builder
