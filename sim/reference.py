"""onnxruntime as the reference: a model run with every quantized activation exposed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

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
        values = self.session.run(names, {source.name: image})
        return {name: _unbatched(value) for name, value in zip(names, values, strict=True)}


def run(model: str | Path | onnx.ModelProto, image: np.ndarray) -> dict[str, np.ndarray]:
    """`Reference(model).run(image)`, for one image."""
    return Reference(model).run(image)


def _exposed(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the output of every QuantizeLinear of an activation is an output."""
    model = onnx.ModelProto()
    model.CopyFrom(source if isinstance(source, onnx.ModelProto) else onnx.load(str(source)))
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    present = {output.name for output in graph.output}
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants \
                or node.output[0] in present:
            continue
        zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
        dtype = np.uint8 if zero_point is None else numpy_helper.to_array(zero_point).dtype
        graph.output.append(helper.make_tensor_value_info(
            node.output[0], helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None))
    return model


def _unbatched(value: np.ndarray) -> np.ndarray:
    return value[0] if value.ndim > 1 and value.shape[0] == 1 else value
