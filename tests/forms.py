"""Quantized operators in every spelling: QDQ, QDQ of com.microsoft, and QOperator."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from sw.graph import Quant
from tests.models import ModelBuilder

FORMS = ("qdq", "contributed qdq", "operator")


class FormBuilder(ModelBuilder):
    """Methods take and give tensors of the form: dequantized floats, or integers."""

    def __init__(self, form: str, shape=(3, 12, 12), seed: int = 0, signed: bool = False,
                 opset: int = 21) -> None:
        super().__init__(shape, seed, signed, opset)
        self.form = form
        self.is_operator = form == "operator"

    def parameters(self, name: str, quant: Quant) -> list[str]:
        return [self.constant(f"{name}_scale", quant.scale),
                self.constant(f"{name}_zero", np.array(quant.zero_point, quant.dtype))]

    def _remember(self, name: str, quant: Quant, channels: int) -> str:
        self.quants[name], self.channels[name] = quant, channels
        return name

    def linear(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        """A QuantizeLinear or DequantizeLinear in the form's domain."""
        self.node(op, inputs, output, **attributes)
        if self.form == "contributed qdq":
            self.nodes[-1].domain = "com.microsoft"
        return output

    def quantized(self, tensor: str, quant: Quant, shape: tuple[int, ...] = ()) -> str:
        names = self.parameters(tensor, quant)
        self.linear("QuantizeLinear", [tensor, *names], f"{tensor}_q")
        result = f"{tensor}_q" if self.is_operator else f"{tensor}_dq"
        if not self.is_operator:
            self.linear("DequantizeLinear", [f"{tensor}_q", *names], result)
        return self._remember(result, quant, self.channels.get(tensor, 0))

    def own(self, tensor: str) -> list[str]:
        """Names of a tensor's scale and zero point."""
        base = tensor.removesuffix("_dq").removesuffix("_q")
        return [f"{base}_scale", f"{base}_zero"]

    def apply(self, op: str, inputs: list[str], quant: Quant, channels: int,
              limits: tuple | None = None, contributed: bool = True, **attributes) -> str:
        """A quantized operator without weights; `limits` of a Clip behind it (QDQ only)."""
        name = self.name(op.lower())
        if not self.is_operator:
            self.channels[name] = channels
            return self.quantized(
                self.limited(self.node(op, inputs, name, **attributes), limits), quant)
        parts = [[each, *self.own(each)] for each in inputs]
        result = self.parameters(name, quant)
        names = [*result, *sum(parts, [])] if op == "Concat" else [*sum(parts, []), *result]
        self.node(f"QLinear{op}", names, f"{name}_q", **attributes)
        self.nodes[-1].domain = "com.microsoft" if contributed else ""
        return self._remember(f"{name}_q", quant, channels)

    def limited(self, tensor: str, limits: tuple | None) -> str:
        """A Relu (limits (0, None)) or Clip behind a float tensor."""
        if limits is None:
            return tensor
        result = f"{tensor}_limited"
        self.channels[result] = self.channels[tensor]
        if limits == (0, None):
            return self.node("Relu", [tensor], result)
        if self.opset < 11:
            return self.node("Clip", [tensor], result, min=float(limits[0]), max=float(limits[1]))
        return self.node("Clip", [tensor, *(
            self.constant(f"{result}_{i}", np.float32(limits[i])) for i in range(2))], result)

    def weigh(self, op: str, source: str, weights: np.ndarray, axis: int, quant: Quant | None,
              zero_point: int = 0, per_channel: bool = True, bias: str = "int32",
              limits: tuple | None = None, fan_in: int = 1, contributed: bool = False,
              **attributes) -> str:
        """A Conv, Gemm or MatMul; scales keep most results in range."""
        name, count = self.name(op.lower()), weights.shape[axis]
        per_channel = per_channel and (self.opset >= 13 or self.form != "qdq")
        quant = quant or self.quant()
        spread = 40 * quant.scale / (self.quants[source].scale * 74 * 74 * np.sqrt(fan_in))
        factors = self.rng.uniform(0.5, 1.5, count) if per_channel else np.ones(())
        scale = (spread * factors).astype(np.float32)
        integers = self.rng.integers(-3000, 3000, count).astype(np.int32)
        unit = (self.quants[source].scale * scale).astype(np.float32)
        self.constant(f"{name}_wq", weights)
        self.constant(f"{name}_ws", scale)
        self.constant(f"{name}_wz", np.full(scale.shape, zero_point, weights.dtype))
        has_bias = bias != "none" and op != "MatMul"
        if has_bias and (bias == "int32" or self.is_operator):
            self.constant(f"{name}_bq", integers)
            self.constant(f"{name}_bs", unit)
        elif has_bias:
            values = (integers + self.rng.uniform(-0.5, 0.5, count)) * unit
            self.constant(f"{name}_b", values.astype(np.float32))
        self.channels[name] = count
        if self.is_operator:
            return self._weigh_integers(op, name, source, quant, has_bias, contributed, attributes)
        place = {"axis": axis} if per_channel else {}
        inputs = [source, self.linear("DequantizeLinear", [f"{name}_wq", f"{name}_ws",
                                                           f"{name}_wz"], f"{name}_w", **place)]
        if has_bias and bias == "int32":
            self.linear("DequantizeLinear", [f"{name}_bq", f"{name}_bs"], f"{name}_b",
                        **({"axis": 0} if per_channel else {}))
        if has_bias:
            inputs.append(f"{name}_b")
        self.node(op, inputs, name, **attributes)
        return self.quantized(self.limited(name, limits), quant)

    def _weigh_integers(self, op, name, source, quant, has_bias, contributed, attributes) -> str:
        inputs = [source, *self.own(source), f"{name}_wq", f"{name}_ws", f"{name}_wz"]
        result, last = self.parameters(name, quant), [f"{name}_bq"] if has_bias else []
        if op == "Gemm":
            self.node("QGemm", [*inputs, *(last or [""]), *result], f"{name}_q", **attributes)
            contributed = True
        else:
            self.node(f"QLinear{op}", [*inputs, *result, *last], f"{name}_q", **attributes)
        if contributed:
            self.nodes[-1].domain = "com.microsoft"
        return self._remember(f"{name}_q", quant, self.channels[name])

    def random_weights(self, shape: tuple[int, ...], unsigned: bool = False) -> np.ndarray:
        values = self.rng.integers(-128, 128, shape)
        return (values + 128).astype(np.uint8) if unsigned else values.astype(np.int8)

    def conv(self, source: str, channels: int, kernel=3, strides=(1, 1), pads=(0, 0, 0, 0),
             quant: Quant | None = None, unsigned: bool = False, group: int = 1,
             dilations=(1, 1), auto_pad: str = "", **options) -> str:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        shape = (channels, self.channels[source] // group, *kernel)
        place = {"auto_pad": auto_pad} if auto_pad else {"pads": list(pads)}
        return self.weigh(
            "Conv", source, self.random_weights(shape, unsigned), 0, quant,
            128 if unsigned else 0, fan_in=int(np.prod(shape[1:])), strides=list(strides),
            group=group, dilations=list(dilations), **place, **options)

    def flatten(self, source: str) -> str:
        """As quantizers write it: with its input's quantization behind it."""
        name = self.name("flatten")
        if self.is_operator:
            self.node("Flatten", [source], f"{name}_q")
            self.parameters(name, self.quants[source])
            return self._remember(f"{name}_q", self.quants[source], 0)
        return self.quantized(self.node("Flatten", [source], name), self.quants[source])

    def gemm(self, source: str, size: int, count: int, by_output: bool = True,
             unsigned: bool = False, **options) -> str:
        shape = (count, size) if by_output else (size, count)
        return self.weigh("Gemm", source, self.random_weights(shape, unsigned),
                          0 if by_output else 1, options.pop("quant", None),
                          128 if unsigned else 0, fan_in=size, transB=int(by_output), **options)

    def mat_mul(self, source: str, size: int, count: int, **options) -> str:
        return self.weigh("MatMul", source, self.random_weights((size, count)), 1,
                          options.pop("quant", None), fan_in=size, **options)

    def max_pool(self, source: str, kernel=(3, 3), strides=(2, 2), pads=(0, 0, 0, 0),
                 ceil_mode: int = 0) -> str:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        name = self.name("pool")
        attributes = dict(kernel_shape=list(kernel), strides=list(strides), pads=list(pads),
                          ceil_mode=ceil_mode)
        self.channels[name] = self.channels[source]
        if self.is_operator:
            self.node("MaxPool", [source], f"{name}_q", **attributes)
            self.parameters(name, self.quants[source])
            return self._remember(f"{name}_q", self.quants[source], self.channels[source])
        return self.quantized(self.node("MaxPool", [source], name, **attributes),
                              self.quants[source])

    def average_pool(self, source: str, quant: Quant | None = None, **attributes) -> str:
        return self.apply("AveragePool", [source], quant or self.quant(), self.channels[source],
                          **attributes)

    def average(self, source: str, quant: Quant | None = None, is_float: bool = False) -> str:
        return self.apply("GlobalAveragePool", [source], quant or self.quants[source],
                          self.channels[source])

    def concat(self, parts: list[str], quant: Quant | None = None) -> str:
        return self.apply("Concat", parts, quant or self.quant(),
                          sum(self.channels[part] for part in parts), axis=1)

    def add(self, a: str, b: str, quant: Quant | None = None, relu: bool = False,
            contributed: bool = True) -> str:
        return self.apply("Add", [a, b], quant or self.quant(), self.channels[a],
                          (0, None) if relu else None, contributed)

    def model(self, *outputs: str) -> onnx.ModelProto:
        model = super().model(*outputs)
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        if self.is_operator:
            for value in model.graph.output:
                kind = helper.np_dtype_to_tensor_dtype(self.quants[value.name].dtype)
                value.type.tensor_type.elem_type = kind
        return model

    def image(self) -> np.ndarray:
        key = "image_q" if self.is_operator else "image_dq"
        self.quants.setdefault("image_dq", self.quants[key])
        return super().image()
