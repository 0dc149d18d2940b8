"""A float ONNX file to a `FloatNetwork`'s raw material: one opset family, float32, one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, version_converter
from onnx.reference import ReferenceEvaluator

from ..errors import UserError
from ..importer.load import load_model
from ..importer.raw import RawGraph, RawNode

__all__ = ["constant_value", "load_raw", "read_proto"]

_OPSET = 13
"""Older models are converted to it; from there on few spellings differ."""
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger",
              "DynamicQuantize")


def read_proto(path: str | Path) -> onnx.ModelProto:
    """An ONNX file with its external data. Raises UserError with the file's name."""
    try:
        model = onnx.load(str(path))
    except DecodeError:
        raise UserError(f"{path}: not an ONNX model, or truncated") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, onnx.checker.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: external data cannot be read: {reason}") from None
    if not model.graph.node:
        raise UserError(f"{path}: not an ONNX model: it has no nodes")
    return model


def load_raw(model: onnx.ModelProto) -> RawGraph:
    """Nodes in order, all constants float32 or integers, batch 1. Raises UserError."""
    model = _modern(model)
    for node in model.graph.node:
        if node.op_type.startswith(_QUANTIZED):
            raise UserError(f"{node.op_type} '{node.name or node.output[0]}': the model is "
                            "quantized already; a float model is needed")
    _fix_input(model.graph)
    raw = load_model(model)
    raw.constants = {name: _widened(value) for name, value in raw.constants.items()}
    return raw


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions or versions[0] >= _OPSET:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        return version_converter.convert_version(model, _OPSET)
    except Exception as error:  # noqa: BLE001 (the converter's errors share no base)
        raise UserError(f"opset {versions[0]} cannot be converted to {_OPSET}: "
                        f"{str(error).splitlines()[0]}") from None


def _fix_input(graph: onnx.GraphProto) -> None:
    """A batch that is left open becomes 1, half precision float32."""
    constants = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        tensor = value.type.tensor_type
        if tensor.elem_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE):
            tensor.elem_type = TensorProto.FLOAT
        dims = tensor.shape.dim
        if value.name not in constants and len(dims) == 4 and dims[0].dim_value <= 0:
            dims[0].Clear()
            dims[0].dim_value = 1


def _widened(value: np.ndarray) -> np.ndarray:
    """float32 for any kind of float: fp16 and bfloat16 are widened exactly."""
    is_float = value.dtype.kind == "f" or value.dtype.name == "bfloat16"
    return value.astype(np.float32) if is_float else value


def constant_value(node: RawNode, constants: dict[str, np.ndarray], opset: int) -> np.ndarray:
    """The output of a node whose inputs are all constants. Raises UserError."""
    inputs = {name: constants[name] for name in node.inputs if name}
    attributes = {name: value for name, value in node.attributes.items() if value is not None}
    proto = helper.make_node(node.op, node.inputs, node.outputs[:1], **attributes)
    graph = helper.make_graph(
        [proto], "constant",
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype),
                                       value.shape) for name, value in inputs.items()],
        [helper.make_empty_tensor_value_info(node.outputs[0])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        return _widened(np.asarray(ReferenceEvaluator(model).run(None, inputs)[0]))
    except Exception as error:  # noqa: BLE001 (operators of the reference raise anything)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{node}: a constant that cannot be computed: {reason}") from None
