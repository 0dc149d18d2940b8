"""The float ONNX graph of an architecture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .architecture import INPUT, OUTPUT, Architecture, Layer
from .parameters import NORM, check_parameters

__all__ = ["IR_VERSION", "OPSET", "float_model"]

OPSET = 13
IR_VERSION = 8


def float_model(architecture: Architecture, parameters: Mapping[str, np.ndarray],
                name: str = "squeezenet") -> onnx.ModelProto:
    """Standard ONNX: float32 `data` [1, C, S, S] to `scores` [1, classes, 1, 1].

    `parameters` are those of `parameter_shapes`; raises UserError if they do not fit.
    """
    parameters = check_parameters(architecture, parameters)
    nodes = [node for layer in architecture.layers() for node in _nodes(layer)]
    side = architecture.input_size
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info(
            INPUT, TensorProto.FLOAT, [1, architecture.input_channels, side, side])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT,
                                       [1, architecture.classes, 1, 1])],
        [numpy_helper.from_array(values, key) for key, values in parameters.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                             ir_version=IR_VERSION, producer_name="firecore")


def _nodes(layer: Layer) -> list[onnx.NodeProto]:
    """The nodes of a layer; the last one gives the tensor of its name."""
    if layer.op == "Conv":
        return _conv(layer)
    attributes = {"Concat": {"axis": 1}, "Softmax": {"axis": 1}, "MaxPool": {
        "kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2, "ceil_mode": 1}}
    return [helper.make_node(layer.op, layer.inputs, [layer.name], name=layer.name,
                             **attributes.get(layer.op, {}))]


def _conv(layer: Layer) -> list[onnx.NodeProto]:
    """Conv, then BatchNormalization and Relu where the layer has them."""
    steps = [("Conv", "conv", [f"{layer.name}.weight"] + (
        [] if layer.norm else [f"{layer.name}.bias"]), {
            "kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2,
            "pads": [layer.pad] * 4})]
    if layer.norm:
        steps.append(("BatchNormalization", "norm",
                      [f"{layer.name}.{suffix}" for suffix in NORM], {}))
    if layer.relu:
        steps.append(("Relu", "relu", [], {}))
    nodes, source = [], layer.inputs[0]
    for index, (op, suffix, constants, attributes) in enumerate(steps):
        last = index == len(steps) - 1
        result = layer.name if last else f"{layer.name}/{suffix}"
        nodes.append(helper.make_node(op, [source, *constants], [result], **attributes, name=(
            layer.name if op == "Conv" else f"{layer.name}/{suffix}")))
        source = result
    return nodes
