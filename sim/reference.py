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
        source = model if isinstance(model, onnx.ModelProto) else onnx.load(str(model))
        model = onnx.ModelProto()
        model.CopyFrom(source)
        self.outputs = [output.name for output in model.graph.output]
        _expose(model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """All integer activations and the model's outputs by name, without the batch dimension."""
        source = self.session.get_inputs()[0]
        image = np.asarray(image)
        image = image.reshape(source.shape)
        names = [output.name for output in self.session.get_outputs()]
        values = self.session.run(names, {source.name: image})
        return {name: _unbatched(value) for name, value in zip(names, values, strict=True)}


def run(model: str | Path | onnx.ModelProto, image: np.ndarray) -> dict[str, np.ndarray]:
    """`Reference(model).run(image)`, for one image."""
    return Reference(model).run(image)


def _expose(model: onnx.ModelProto) -> None:
    """Make the output of every QuantizeLinear of an activation an output of the model."""
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


def _unbatched(value: np.ndarray) -> np.ndarray:
    return value[0] if value.ndim > 1 and value.shape[0] == 1 else value
