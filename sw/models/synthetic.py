"""A QDQ model of a float one without calibration images: for measurements and tests.

Scales are plausible, not good: `python -m sw.quantize` is the quantizer that keeps the accuracy.
Takes the operators that `float_model` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import UserError

__all__ = ["constant_ranges", "measured_ranges", "quantized"]

Ranges = Mapping[str, tuple[float, float]]

ACC_WIDTH = 24
"""Worst-case sums of the quantized weights fit an accumulator of so many bits."""
_KEPT = ("MaxPool", "Concat", "Add")
_FLOAT = ("GlobalAveragePool", "Softmax")
"""Operators of the tail, which stays in float."""


def quantized(model: onnx.ModelProto, seed: int = 0, *, ranges: Ranges | None = None,
              shared: bool = True) -> onnx.ModelProto:
    """The QDQ form: uint8 activations, int8 weights per output channel, int32 biases, batch
    normalisation folded, what follows the global average in float.

    `ranges` are the least and greatest value of every activation by name; by default
    `measured_ranges(model, seed)`. With `shared` the inputs of a Concat take its scale. Raises
    UserError for an operator that the family does not have.
    """
    model = _folded(model)
    return _Quantizer(model, measured_ranges(model, seed) if ranges is None else ranges,
                      shared).run()


def constant_ranges(model: onnx.ModelProto, low: float = 0.0, high: float = 6.0) -> Ranges:
    """One range for all activations: enough to compile a model and count its cycles."""
    names = [model.graph.input[0].name, *(name for node in model.graph.node
                                          for name in node.output)]
    return dict.fromkeys(names, (low, high))


def measured_ranges(model: onnx.ModelProto, seed: int = 0, count: int = 2) -> Ranges:
    """Ranges over a float run of onnxruntime on `count` random images of -128 to 127."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError("onnxruntime is needed to find the scales: install it with pip") from None
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    names = [name for node in exposed.graph.node for name in node.output]
    present = {output.name for output in exposed.graph.output}
    exposed.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in names if name not in present)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(exposed.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    rng = np.random.default_rng(seed)
    ranges: dict[str, tuple[float, float]] = {}
    for _ in range(count):
        image = rng.uniform(-128, 127, source.shape).astype(np.float32)
        values = session.run(names, {source.name: image})
        for name, value in zip([source.name, *names], [image, *values], strict=True):
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return ranges


@dataclass(frozen=True)
class _Scale:
    scale: np.float32
    zero_point: int


class _Quantizer:
    def __init__(self, model: onnx.ModelProto, ranges: Ranges, shared: bool) -> None:
        self.source = model.graph
        self.opset = model.opset_import
        self.ir_version = model.ir_version
        self.constants = {tensor.name: numpy_helper.to_array(tensor)
                          for tensor in model.graph.initializer}
        self.ranges = dict(ranges)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.scales: dict[str, _Scale] = {}
        if shared:
            for node in self.source.node:
                if node.op_type == "Concat":
                    self.ranges.update(dict.fromkeys(node.input, self.ranges[node.output[0]]))

    def run(self) -> onnx.ModelProto:
        relus = {node.input[0]: node for node in self.source.node if node.op_type == "Relu"}
        self._quantize(self.source.input[0].name)
        for node in self.source.node:
            result = node.output[0]
            if node.op_type == "Conv":
                inputs = [self._read(node.input[0]), *self._constants(node)]
            elif node.op_type in (*_KEPT, *_FLOAT):
                inputs = [self._read(name) for name in node.input]
            elif node.op_type == "Relu":
                inputs = list(node.input)
            else:
                raise UserError(f"{node.op_type} '{node.name}': the synthetic quantization does "
                                "not know this operator")
            copy = self._node(node.op_type, inputs, result, node.name)
            copy.attribute.extend(node.attribute)
            if node.op_type == "MaxPool":
                self._quantize(result, self.scales[node.input[0]])
            elif node.op_type not in _FLOAT and result not in relus:
                self._quantize(result)
        graph = helper.make_graph(self.nodes, self.source.name, self.source.input,
                                  self.source.output, self.initializers)
        return helper.make_model(graph, opset_imports=self.opset, ir_version=self.ir_version,
                                 producer_name="firecore")

    def _node(self, op: str, inputs: list[str], output: str, name: str, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return self.nodes[-1]

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def _read(self, name: str) -> str:
        return f"{name}_dq" if name in self.scales else name

    def _quantize(self, name: str, scale: _Scale | None = None) -> None:
        """QuantizeLinear and DequantizeLinear behind a float tensor."""
        scale = self.scales[name] = scale or _scale(*self.ranges[name])
        parameters = [self._constant(f"{name}_scale", np.float32(scale.scale)),
                      self._constant(f"{name}_zero", np.uint8(scale.zero_point))]
        self._node("QuantizeLinear", [name, *parameters], f"{name}_q", f"{name}_Q")
        self._node("DequantizeLinear", [f"{name}_q", *parameters], f"{name}_dq", f"{name}_DQ")

    def _constants(self, node: onnx.NodeProto) -> list[str]:
        """Dequantized weights and biases of a Conv."""
        weights = self.constants[node.input[1]]
        biases = self.constants[node.input[2]]
        source = self.scales[node.input[0]]
        scale = _weight_scale(weights, biases, source)
        integers = np.rint(weights / scale[:, None, None, None]).astype(np.int8)
        unit = (source.scale * scale).astype(np.float32)
        return [
            self._dequantized(node.input[1], integers, scale),
            self._dequantized(node.input[2], np.rint(biases / unit).astype(np.int32), unit)]

    def _dequantized(self, name: str, integers: np.ndarray, scale: np.ndarray) -> str:
        parts = [self._constant(f"{name}_q", integers), self._constant(f"{name}_scale", scale),
                 self._constant(f"{name}_zero", np.zeros(scale.shape, integers.dtype))]
        return self._node("DequantizeLinear", parts, f"{name}_dq", f"{name}_DQ",
                          axis=0).output[0]


def _scale(low: float, high: float) -> _Scale:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255) or np.float32(1)
    return _Scale(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def _weight_scale(weights: np.ndarray, biases: np.ndarray, source: _Scale) -> np.ndarray:
    """float32 [co]: 127 stands for the greatest weight, or less where sums could overflow."""
    axes = (1, 2, 3)
    sums = np.stack([np.maximum(weights, 0).sum(axes), -np.minimum(weights, 0).sum(axes)])
    offset = np.abs(biases) / source.scale + source.zero_point * np.abs(weights.sum(axes))
    reach = (255 * sums.max(0) + offset) * 1.05 / (1 << (ACC_WIDTH - 1))
    scale = np.maximum(np.abs(weights).max(axes) / 127, reach)
    return np.where(scale > 0, scale, 1).astype(np.float32)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose batch normalisations are part of the convolutions before them; every Conv has
    a bias."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    norms = {node.input[0]: node for node in graph.node if node.op_type == "BatchNormalization"}
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        name = node.input[1]
        weights = constants[name].astype(np.float64)
        biases = constants[node.input[2]].astype(np.float64) if len(node.input) > 2 else \
            np.zeros(len(weights))
        norm = norms.get(node.output[0])
        if norm is not None:
            epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
            scale, offset, mean, variance = (
                constants.pop(constant).astype(np.float64) for constant in norm.input[1:5])
            factor = scale / np.sqrt(variance + epsilon)
            weights *= factor[:, None, None, None]
            biases = offset + (biases - mean) * factor
            node.output[0] = norm.output[0]
            graph.node.remove(norm)
        if len(node.input) < 3:
            node.input.append(f"{name.removesuffix('.weight')}.bias")
        constants[name] = weights.astype(np.float32)
        constants[node.input[2]] = biases.astype(np.float32)
    del graph.initializer[:]
    graph.initializer.extend(numpy_helper.from_array(value, key)
                             for key, value in constants.items())
    return result
