"""onnxruntime as the reference: a model run with every quantized activation exposed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from sw.errors import UserError

__all__ = ["Reference", "run"]


class Reference:
    """An onnxruntime session of one model; its optimisations are the default ones, with int8
    activations kept in integers on x86 too."""

    def __init__(self, model: str | Path | onnx.ModelProto) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UserError("onnxruntime is needed for the reference: install it with pip") \
                from None
        exposed = _exposed(model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        try:
            self.session = onnxruntime.InferenceSession(
                exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 (onnxruntime's errors share no base)
            reason = str(error).splitlines()[0]
            raise UserError(f"onnxruntime does not take the model: {reason}") from None

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """All integer activations and the model's outputs by name, without the batch dimension.

        `image` is the model's input, with or without its batch dimension.
        """
        source = self.session.get_inputs()[0]
        shape = tuple(source.shape)
        if np.shape(image) not in (shape, shape[1:]):
            raise UserError(f"an input of shape {list(np.shape(image))} for {list(shape)}")
        image = np.asarray(image).reshape(shape)
        if source.type == "tensor(float)":
            image = image.astype(np.float32)
        names = [output.name for output in self.session.get_outputs()]
        try:
            values = self.session.run(names, {source.name: image})
        except Exception as error:  # noqa: BLE001
            reason = str(error).splitlines()[0]
            raise UserError(f"onnxruntime does not run the model: {reason}") from None
        return {name: _unbatched(value) for name, value in zip(names, values, strict=True)}


def run(model: str | Path | onnx.ModelProto, image: np.ndarray) -> dict[str, np.ndarray]:
    """`Reference(model).run(image)`, for one image."""
    return Reference(model).run(image)


_MOVES = ("MaxPool", "Concat", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Relu")
"""Operators that, given integers, give integers."""


def _exposed(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every integer activation is an output: those of each QuantizeLinear, of the
    operators in QOperator form, and what only moves them."""
    model = onnx.ModelProto()
    model.CopyFrom(source if isinstance(source, onnx.ModelProto) else onnx.load(str(source)))
    graph = model.graph
    constants = {"", *(tensor.name for tensor in graph.initializer)}
    present = {output.name for output in graph.output}
    integers = {value.name for value in graph.input
                if value.type.tensor_type.elem_type in (TensorProto.INT8, TensorProto.UINT8)}
    integers -= constants
    for node in _ordered(graph, constants):
        if constants.issuperset(node.input):
            constants.update(node.output)
        elif node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear") \
                or (node.op_type == "QGemm" and len(node.input) > 7) \
                or (node.op_type in _MOVES and node.input[0] in integers):
            name = node.output[0]
            integers.add(name)
            if name not in present:
                graph.output.append(onnx.ValueInfoProto(name=name))  # onnxruntime knows the type
    return model


def _ordered(graph: onnx.GraphProto, constants: set[str]) -> Iterator[onnx.NodeProto]:
    """Nodes in topological order."""
    done = {*constants, *(value.name for value in graph.input)}
    waiting = list(graph.node)
    while waiting:
        ready = [node for node in waiting if done.issuperset(node.input)]
        if not ready:
            raise UserError(f"{waiting[0].op_type} '{waiting[0].name}': its inputs are not "
                            "computed")
        yield from ready
        done.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not done.issuperset(node.output)]


def _unbatched(value: np.ndarray) -> np.ndarray:
    return value[0] if value.ndim > 1 and value.shape[0] == 1 else value
