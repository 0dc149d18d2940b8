"""Small QDQ models with random weights, made with onnx.helper as quantizers write them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sw.graph import Quant


class ModelBuilder:
    """Adds quantized operators one by one; methods take and give names of dequantized tensors.

    `signed` chooses int8 activations; every choice that is left open is drawn from `seed`.
    """

    def __init__(self, shape: tuple[int, int, int] = (3, 12, 12), seed: int = 0,
                 signed: bool = False, opset: int = 13) -> None:
        self.rng = np.random.default_rng(seed)
        self.signed = signed
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.quants: dict[str, Quant] = {}
        self.channels: dict[str, int] = {}
        self.shape = shape
        self.count = 0

    # Pieces

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}_{op}",
                                           **attributes))
        return output

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def quant(self, scale: float | None = None, zero_point: int | None = None,
              signed: bool | None = None) -> Quant:
        """A quantization; what is not given is random."""
        signed = self.signed if signed is None else signed
        limits = np.iinfo(np.int8 if signed else np.uint8)
        if scale is None:
            scale = self.rng.uniform(0.02, 0.06)
        if zero_point is None:
            zero_point = int(self.rng.integers(limits.min, limits.max + 1))
        return Quant(np.float32(scale), zero_point, signed)

    def low(self, scale: float | None = None) -> Quant:
        """A quantization with its zero point at the lower end: clipping is a Relu."""
        return self.quant(scale, -128 if self.signed else 0)

    def quantized(self, tensor: str, quant: Quant, shape: tuple[int, ...] = ()) -> str:
        """QuantizeLinear and DequantizeLinear behind a float tensor (scales scalar or [1])."""
        scale = self.constant(f"{tensor}_scale", np.full(shape, quant.scale, np.float32))
        zero = self.constant(f"{tensor}_zero", np.full(shape, quant.zero_point, quant.dtype))
        self.node("QuantizeLinear", [tensor, scale, zero], f"{tensor}_q")
        self.quants[f"{tensor}_dq"] = quant
        self.channels[f"{tensor}_dq"] = self.channels.get(tensor, 0)
        return self.node("DequantizeLinear", [f"{tensor}_q", scale, zero], f"{tensor}_dq")

    # Operators

    def input(self, quant: Quant | None = None) -> str:
        self.channels["image"] = self.shape[0]
        return self.quantized("image", quant or self.quant(), (1,))

    def conv(self, source: str, channels: int, kernel: int = 3, strides=(1, 1), pads=(0, 0, 0, 0),
             quant: Quant | None = None, relu: bool = False, per_channel: bool = True,
             bias: str = "int32") -> str:
        """`bias` is "int32", "float" or "none"; the weights keep most outputs in range."""
        name, count = self.name("conv"), self.channels[source]
        quant = quant or self.quant()
        weights = self.rng.integers(-128, 128, (channels, count, kernel, kernel)).astype(np.int8)
        spread = 40 * quant.scale / (self.quants[source].scale * 74 * 74
                                     * np.sqrt(count * kernel**2))
        factors = self.rng.uniform(0.5, 1.5, channels) if per_channel else np.ones(())
        scale = (spread * factors).astype(np.float32)
        self.constant(f"{name}_wq", weights)
        self.constant(f"{name}_ws", scale)
        self.constant(f"{name}_wz", np.zeros(scale.shape, np.int8))
        axis = {"axis": 0} if per_channel else {}
        inputs = [source, self.node("DequantizeLinear", [f"{name}_wq", f"{name}_ws", f"{name}_wz"],
                                    f"{name}_w", **axis)]
        integers = self.rng.integers(-3000, 3000, channels).astype(np.int32)
        unit = (self.quants[source].scale * scale).astype(np.float32)
        if bias == "int32":
            self.constant(f"{name}_bq", integers)
            self.constant(f"{name}_bs", unit)
            inputs.append(self.node("DequantizeLinear", [f"{name}_bq", f"{name}_bs"], f"{name}_b",
                                    **axis))
        elif bias == "float":
            values = (integers + self.rng.uniform(-0.5, 0.5, channels)) * unit
            inputs.append(self.constant(f"{name}_b", values.astype(np.float32)))
        self.node("Conv", inputs, name, kernel_shape=[kernel, kernel], strides=list(strides),
                  pads=list(pads))
        self.channels[name] = channels
        return self.quantized(self._relu(name, relu), quant)

    def fire(self, source: str, squeeze: int, expand: int, shared: bool = False) -> str:
        """Squeeze, two expands and their Concat, with one scale (`shared`) or three."""
        middle = self.conv(source, squeeze, 1, quant=self.low())
        quant = self.low()
        parts = [self.conv(middle, expand, kernel, pads=[kernel // 2] * 4,
                           quant=quant if shared else self.low()) for kernel in (1, 3)]
        return self.concat(parts, quant)

    def concat(self, parts: list[str], quant: Quant | None = None) -> str:
        name = self.node("Concat", parts, self.name("concat"), axis=1)
        self.channels[name] = sum(self.channels[part] for part in parts)
        return self.quantized(name, quant or self.quant())

    def max_pool(self, source: str, kernel: int = 3, strides=(2, 2), pads=(0, 0, 0, 0),
                 ceil_mode: int = 0) -> str:
        name = self.node("MaxPool", [source], self.name("pool"), kernel_shape=[kernel, kernel],
                         strides=list(strides), pads=list(pads), ceil_mode=ceil_mode)
        self.channels[name] = self.channels[source]
        return self.quantized(name, self.quants[source])

    def add(self, a: str, b: str, quant: Quant | None = None, relu: bool = False) -> str:
        name = self.node("Add", [a, b], self.name("add"))
        self.channels[name] = self.channels[a]
        return self.quantized(self._relu(name, relu), quant or self.quant())

    def average(self, source: str, quant: Quant | None = None, is_float: bool = False) -> str:
        name = self.node("GlobalAveragePool", [source], self.name("average"))
        self.channels[name] = self.channels[source]
        return name if is_float else self.quantized(name, quant or self.quants[source])

    def _relu(self, tensor: str, relu: bool) -> str:
        if relu:
            self.channels[f"{tensor}_relu"] = self.channels[tensor]
            return self.node("Relu", [tensor], f"{tensor}_relu")
        return tensor

    # Models

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The model with these float tensors as outputs."""
        graph = helper.make_graph(
            self.nodes, "test",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, *self.shape])],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
             for name in outputs],
            self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)],
                                 ir_version=8)

    def image(self) -> np.ndarray:
        """Random float32 (1, C, H, W) over the range of the input's integers."""
        quant = self.quants["image_dq"]
        low, high = quant.qmin - quant.zero_point, quant.qmax - quant.zero_point
        values = self.rng.uniform(low - 5, high + 5, (1, *self.shape)) * quant.scale
        return values.astype(np.float32)


def small_squeezenet(seed: int = 0, signed: bool = False, shared: bool = False,
                     shape: tuple[int, int, int] = (3, 27, 27)) -> ModelBuilder:
    """Conv, pool, two Fires with a pool between, a classifier, average, Softmax: output
    `scores`."""
    builder = ModelBuilder(shape, seed, signed)
    x = builder.conv(builder.input(), 16, strides=(2, 2), quant=builder.low())
    x = builder.fire(builder.max_pool(x), 16, 16, shared)
    x = builder.fire(builder.max_pool(x, pads=(1, 1, 1, 1)), 16, 32, shared)
    x = builder.average(builder.conv(x, 20, 1, quant=builder.low()), is_float=True)
    builder.node("Softmax", [builder.node("Flatten", [x], "logits")], "scores", axis=1)
    return builder


def random_network(rng: np.random.Generator, seed: int) -> onnx.ModelProto:
    """Random shapes, kernels, strides, paddings, Fires, pools, adds and averages."""
    channels = int(rng.choice([1, 2, 3, 5, 16, 33]))
    builder = ModelBuilder((channels, int(rng.integers(9, 30)), int(rng.integers(9, 30))), seed,
                           signed=bool(rng.integers(2)))
    kernel = int(rng.integers(1, 4 if channels > 16 else 8))
    x = builder.conv(builder.input(), int(rng.integers(1, 50)), kernel,
                     (int(rng.integers(1, 3)),) * 2, tuple(rng.integers(0, kernel // 2 + 1, 4)))
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(4)
        if kind == 0:
            x = builder.fire(x, int(rng.integers(1, 40)), int(rng.choice([16, 32])),
                             bool(rng.integers(2)))
        elif kind == 1:
            x = builder.conv(x, int(rng.integers(1, 70)), 3, (int(rng.integers(1, 3)),) * 2,
                             (1, 1, 1, 1), relu=bool(rng.integers(2)))
        elif kind == 2:
            side = int(rng.integers(2, 4))
            stride = int(rng.integers(side - 1, side + 1))
            x = builder.conv(x, 30, 1)
            # One partial window at most, and none that begins where another ends.
            x = builder.max_pool(x, side, (stride,) * 2, ceil_mode=int(rng.integers(2)))
        else:
            y = builder.conv(x, builder.channels[x], 3, (1, 1), (1, 1, 1, 1))
            if y.startswith("conv") and builder.channels[x] != channels:
                x = builder.add(builder.conv(y, builder.channels[y], 1), y, builder.quant(0.0613))
            else:
                x = y
    x = builder.conv(x, int(rng.integers(1, 40)), 1)
    x = builder.average(x, is_float=bool(rng.integers(2))) if rng.integers(2) else x
    return builder.model(x)
