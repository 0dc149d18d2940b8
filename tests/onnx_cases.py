"""onnx's own backend cases, each as quantized models of one image that the importer takes.

A case's float operator stands between QuantizeLinear and DequantizeLinear whose scales cover its
values. Where a case has other shapes than an image's, the same computation is asked for:
elementwise operators and Concat get axes of length 1; a Gemm or MatMul runs behind a Flatten, one
row of its first operand at a time. A second operand that is data, like the first, comes as channels
of the same image and is parted from it by convolutions with weights of 1.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPERATORS = ("Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gemm",
             "GlobalAveragePool", "MatMul", "MaxPool", "QLinearConv", "Relu")
SCALES_OF_TWO = ("AveragePool", "GlobalAveragePool")
"""Operators of which onnxruntime's float sums are exact with such scales."""


class Unsuitable(Exception):
    """Why a case is no quantized network of one image."""


@dataclass(frozen=True)
class Case:
    """An operator, its inputs and its output; `model` is the case's own."""

    name: str
    model: onnx.ModelProto
    inputs: list[np.ndarray]
    output: np.ndarray

    @property
    def node(self) -> onnx.NodeProto:
        return self.model.graph.node[0]


def cases() -> dict[str, Case]:
    """All of onnx's cases of one of the operators."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases overflow on purpose
        collected = collect_testcases(None)
    found = {}
    for each in collected:
        nodes = each.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in OPERATORS:
            inputs, outputs = each.data_sets[0]
            found[each.name] = Case(each.name, each.model, list(inputs), outputs[0])
    return found


def models(case: Case) -> Iterator[tuple[onnx.ModelProto, np.ndarray]]:
    """Models, each with its image (1, C, H, W). Raises Unsuitable."""
    if case.node.op_type == "QLinearConv":
        yield _with_constants(case), case.inputs[0]
        return
    if any(value.dtype != np.float32 for value in case.inputs):
        raise Unsuitable("no float case")
    if len(case.node.output) > 1:
        raise Unsuitable("a second output")
    match case.node.op_type:
        case "Gemm" | "MatMul":
            yield from _rows(case)
        case "Add" | "Concat":
            yield _two_operands(case)
        case "Relu" | "Clip":
            value = _as_map(case.inputs[0])
            yield _Model(case, value).elementwise(*case.inputs[1:]), value
        case _:
            value = case.inputs[0]
            if value.ndim != 4:
                raise Unsuitable(f"{value.ndim - 2} spatial axes")
            for image in value:
                yield _Model(case, image[None]).windowed(*case.inputs[1:]), image[None]


def _as_map(value: np.ndarray) -> np.ndarray:
    """(1, C, H, W) of up to three axes: axes of length 1 behind them."""
    if value.ndim > 3 or not value.ndim:
        raise Unsuitable(f"{value.ndim} axes")
    return value.reshape(1, *value.shape, *[1] * (3 - value.ndim))


def _two_operands(case: Case) -> tuple[onnx.ModelProto, np.ndarray]:
    a, b = case.inputs
    if case.node.op_type == "Add" and a.shape != b.shape:
        raise Unsuitable("operands of two shapes")
    parts = [_as_map(value) for value in (a, b)]
    attributes = {}
    if case.node.op_type == "Concat":
        axis = helper.get_attribute_value(case.node.attribute[0])
        if axis % a.ndim:
            raise Unsuitable("a Concat of rows or columns")
        attributes["axis"] = 1
    image = np.concatenate(parts, axis=1)
    model = _Model(case, image)
    return model.joined([part.shape[1] for part in parts], attributes), image


def _rows(case: Case) -> Iterator[tuple[onnx.ModelProto, np.ndarray]]:
    a, b, *bias = case.inputs
    if a.ndim != 2 or b.ndim != 2:
        raise Unsuitable(f"matrices of {a.ndim} and {b.ndim} axes")
    attributes = {each.name: helper.get_attribute_value(each) for each in case.node.attribute}
    if attributes.pop("transA", 0):
        a = a.T
    if bias and bias[0].ndim > 1 and bias[0].shape[0] > 1:
        raise Unsuitable("a bias of its own for every row")
    for row in a:
        yield _Model(case, row.reshape(1, -1, 1, 1)).matrix(b, bias, attributes), \
            row.reshape(1, -1, 1, 1)


def _with_constants(case: Case) -> onnx.ModelProto:
    """The first input remains; the others become constants."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    names = [value.name for value in model.graph.input]
    del model.graph.input[1:]
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in zip(names[1:], case.inputs[1:], strict=True))
    return model


class _Model:
    """A quantized model around the operator of a case."""

    def __init__(self, case: Case, image: np.ndarray):
        self.case, self.image = case, image
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    # -- the ways an operator stands in a model

    def windowed(self, weights: np.ndarray | None = None) -> onnx.ModelProto:
        source, _ = self._quantized("x", self.image)
        inputs = [source] if weights is None else [source, self._weights("w", weights)]
        if self.case.node.op_type == "Flatten":
            inputs = [self._node("MaxPool", [source], "whole", kernel_shape=[1, 1])]
        return self._finished(self._operator(inputs))

    def elementwise(self, *limits: np.ndarray) -> onnx.ModelProto:
        source, scale = self._quantized("x", self.image)
        names = [self._constant(f"limit{i}", value) if value.size else ""
                 for i, value in enumerate(limits)]
        return self._finished(self._operator([self._moved("a", source, 0, scale), *names]))

    def joined(self, counts: list[int], attributes: dict) -> onnx.ModelProto:
        source, scale = self._quantized("x", self.image)
        firsts = np.cumsum([0, *counts])
        parts = []
        for name, first, count in zip("ab", firsts, counts, strict=False):
            part = self._moved(name, source, int(first), scale, count)
            parts.append(self._quantized(name, self.image[:, first:first + count], part)[0])
        return self._finished(self._operator(parts, **attributes))

    def matrix(self, b: np.ndarray, bias: list[np.ndarray], attributes: dict) -> onnx.ModelProto:
        source, scale = self._quantized("x", self.image)
        inputs = [self._node("Flatten", [source], "flat"), self._weights("b", b)]
        inputs += [self._constant("c", value) for value in bias]
        return self._finished(self._operator(inputs, **attributes))

    # -- its parts

    def _node(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}_{kind}",
                                           **attributes))
        return output

    def _operator(self, inputs: list[str], **attributes) -> str:
        node = onnx.NodeProto()
        node.CopyFrom(self.case.node)
        node.name = "the_case"
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.append("result")
        if attributes or self.case.node.op_type == "Gemm":
            del node.attribute[:]
            node.attribute.extend(helper.make_attribute(*each) for each in attributes.items())
        self.nodes.append(node)
        return "result"

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _quantized(self, name: str, values: np.ndarray,
                   source: str | None = None) -> tuple[str, np.float32]:
        """QuantizeLinear and DequantizeLinear for values that lie in the range of these."""
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        scale = max((high - low) / 255, 1e-3)
        if self.case.node.op_type in SCALES_OF_TWO:
            scale = 2.0 ** math.ceil(math.log2(scale))
        else:
            # A little room, so that no two scales have a ratio of small whole numbers.
            scale *= 1.01 + 0.03 * len(self.constants)
        scale = np.float32(scale)
        zero = np.uint8(np.clip(round(-low / scale), 0, 255))
        names = [self._constant(f"{name}_scale", scale), self._constant(f"{name}_zero", zero)]
        integers = self._node("QuantizeLinear", [source or name, *names], f"{name}_q")
        return self._node("DequantizeLinear", [integers, *names], f"{name}_dq"), scale

    def _weights(self, name: str, values: np.ndarray) -> str:
        scale = np.float32(max(np.abs(values).max() / 127, 1e-3))
        self._constant(f"{name}_q", np.rint(values / scale).astype(np.int8))
        names = [self._constant(f"{name}_scale", scale), self._constant(f"{name}_zero", np.int8(0))]
        return self._node("DequantizeLinear", [f"{name}_q", *names], f"{name}_dq")

    def _moved(self, name: str, source: str, first: int, scale: np.float32,
               count: int | None = None) -> str:
        """Channels from `first` on, by a convolution."""
        channels = self.image.shape[1]
        weights = np.eye(channels, dtype=np.float32)[first:][:count]
        return self._node("Conv", [source, self._weights(f"{name}_w", weights[:, :, None, None])],
                          name, kernel_shape=[1, 1])

    def _finished(self, result: str) -> onnx.ModelProto:
        values = self._float(result)
        if values.shape == self.case.output.shape:
            np.testing.assert_allclose(values, self.case.output, atol=0.05 * np.ptp(values) + 0.05)
        result, _ = self._quantized("result", values)
        return self._model(result, self.nodes)

    def _float(self, result: str) -> np.ndarray:
        """What the model gives before its last quantization."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            self._model(result, self.nodes).SerializeToString(), options,
            providers=["CPUExecutionProvider"])
        return session.run(None, {"x": self.image})[0]

    def _model(self, output: str, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
        graph = helper.make_graph(
            nodes, self.case.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.image.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], self.constants)
        return helper.make_model(graph, opset_imports=self.case.model.opset_import,
                                 ir_version=self.case.model.ir_version)
