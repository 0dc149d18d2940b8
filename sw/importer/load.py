"""Pass `load`: an ONNX file to a `RawGraph`, with the checks that concern the file as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper

from ..errors import UserError
from .external import load_external_data, reader_of, refuse_external_data
from .raw import RawGraph, RawNode

__all__ = ["MAX_OPSET", "MIN_OPSET", "load_file", "load_model"]

MIN_OPSET = 10  # the first with QuantizeLinear
MAX_OPSET = 28

_DOMAINS = ("", "ai.onnx")
_CONTRIBUTED = ("QuantizeLinear", "DequantizeLinear", "QGemm")  # and all of QLinear*
_INPUT_TYPES = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.INT8: np.int8,
                onnx.TensorProto.UINT8: np.uint8}


def load_file(path: str | Path) -> RawGraph:
    """Read an ONNX file; raises UserError (without the file's name) if it is not a sound model."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from None
    if not data:
        raise UserError("the file is empty")
    try:
        model = onnx.load_from_string(data)
    except DecodeError:
        raise UserError("not an ONNX model, or truncated") from None
    load_external_data(model, Path(path).parent)
    return load_model(model)


def load_model(model: onnx.ModelProto) -> RawGraph:
    """The same for a model in memory."""
    graph = model.graph
    if not graph.node:
        raise UserError("not an ONNX model: it has no nodes")
    _check_text(model)
    refuse_external_data(model)
    opset = _opset(model)
    if model.functions:
        raise UserError(f"model functions are not supported ('{model.functions[0].name}')")
    if graph.sparse_initializer:
        raise UserError("sparse initializers are not supported")
    constants = {tensor.name: _array(model, tensor) for tensor in graph.initializer}
    name, shape, dtype = _input(graph, constants)
    nodes = [_node(proto) for proto in graph.node]
    return RawGraph(
        nodes=_sorted(nodes, {name, *constants}),
        constants=constants,
        input=name,
        input_shape=shape,
        input_type=dtype,
        outputs=_outputs(graph, nodes, {name, *constants}),
        opset=opset,
        metadata={entry.key: entry.value for entry in model.metadata_props})


def _check_text(model: onnx.ModelProto) -> None:
    """Protobuf gives bytes for text that is not UTF-8."""
    graph = model.graph
    texts = [text for node in graph.node
             for text in (node.name, node.op_type, node.domain, *node.input, *node.output,
                          *(attribute.name for attribute in node.attribute))]
    texts += [value.name for value in (*graph.input, *graph.output, *graph.initializer)]
    texts += [text for entry in model.metadata_props for text in (entry.key, entry.value)]
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"a name is not text: {text!r}")


def _opset(model: onnx.ModelProto) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in _DOMAINS]
    if not versions:
        raise UserError("the model names no opset")
    if not MIN_OPSET <= versions[0] <= MAX_OPSET:
        raise UserError(f"opset {versions[0]} is not supported; {MIN_OPSET} to {MAX_OPSET} are")
    return versions[0]


def _array(model: onnx.ModelProto, tensor: onnx.TensorProto) -> np.ndarray:
    try:
        if any(size < 0 for size in tensor.dims):
            raise ValueError(f"dimensions {list(tensor.dims)}")
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{reader_of(model, tensor.name)}initializer '{tensor.name}' is damaged: "
                        f"{reason}") from None


def _input(graph: onnx.GraphProto,
           constants: dict) -> tuple[str, tuple[int, ...], np.dtype]:
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(f"'{value.name}'" for value in inputs)
        raise UserError(f"{len(inputs)} inputs ({names}); one image input is supported")
    value = inputs[0]
    kind = value.type.tensor_type.elem_type
    if kind not in _INPUT_TYPES:
        known = onnx.TensorProto.DataType.values()
        name = onnx.TensorProto.DataType.Name(kind).lower() if kind in known else f"type {kind}"
        raise UserError(f"input '{value.name}' is {name}; float, int8 and uint8 are supported")
    dims = value.type.tensor_type.shape.dim
    for dim in dims:
        if not dim.HasField("dim_value"):
            raise UserError(
                f"input '{value.name}' has the dynamic dimension '{dim.dim_param or '?'}'; "
                "fix all dimensions first")
    shape = tuple(dim.dim_value for dim in dims)
    if len(shape) != 4 or min(shape) < 1:
        raise UserError(f"input '{value.name}' has shape {list(shape)}; [1, C, H, W] is supported")
    if shape[0] != 1:
        raise UserError(f"input '{value.name}' has batch {shape[0]}; batch 1 is supported")
    return value.name, shape, np.dtype(_INPUT_TYPES[kind])


def _node(proto: onnx.NodeProto) -> RawNode:
    outputs = list(proto.output)
    name = proto.name or next(filter(None, outputs), "")
    where = f"{proto.op_type} '{name}'"
    contributed = proto.domain == "com.microsoft" and (
        proto.op_type in _CONTRIBUTED or proto.op_type.startswith("QLinear"))
    if proto.domain not in _DOMAINS and not contributed:
        raise UserError(f"{where}: operator domain '{proto.domain}' is not supported")
    if not any(outputs):
        raise UserError(f"{where}: it has no output")
    attributes = {}
    for attribute in proto.attribute:
        try:
            attributes[attribute.name] = helper.get_attribute_value(attribute)
        except ValueError:
            raise UserError(f"{where}: attribute '{attribute.name}' is damaged") from None
    return RawNode(proto.op_type, name, list(proto.input), outputs, attributes)


def _sorted(nodes: list[RawNode], known: set[str]) -> list[RawNode]:
    """Topological order, stable; refuses double, missing and cyclic definitions."""
    producers: dict[str, RawNode] = {}
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in producers or name in known:
                raise UserError(f"{node}: its output '{name}' is defined twice")
            producers[name] = node
    for node in nodes:
        for name in filter(None, node.inputs):
            if name not in producers and name not in known:
                raise UserError(
                    f"{node}: its input '{name}' is neither an initializer, the model's input nor "
                    "computed by a node")
    done, order, waiting = set(known) | {""}, [], nodes
    while waiting:
        blocked = []
        for node in waiting:
            if done.issuperset(node.inputs):
                order.append(node)
                done.update(node.outputs)
            else:
                blocked.append(node)
        if len(blocked) == len(waiting):
            raise UserError(f"{blocked[0]}: it is part of a cycle, or reads one")
        waiting = blocked
    return order


def _outputs(graph: onnx.GraphProto, nodes: list[RawNode], known: set[str]) -> list[str]:
    outputs = [value.name for value in graph.output]
    if not outputs:
        raise UserError("the model has no output")
    computed = known.union(*(node.outputs for node in nodes))
    for name in outputs:
        if name not in computed:
            raise UserError(f"output '{name}' is not computed by any node")
    return outputs
