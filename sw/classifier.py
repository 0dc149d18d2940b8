"""A model that gives scores for a file: on onnxruntime here, on other engines in `sim.backends`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
from onnx import numpy_helper

from .errors import UserError
from .image import FLOAT_KEY, METADATA_KEY, PREPROCESS, float_preprocess, load_input

__all__ = ["Classifier", "OnnxRuntime"]


class Classifier(Protocol):
    """Anything that scores a file."""

    def scores(self, file: Path) -> np.ndarray:
        """The model's first output for a photograph or tensor. Raises UserError."""
        ...

    def close(self) -> None: ...


class OnnxRuntime:
    """Any model, float or quantized, on onnxruntime with its default optimisations.

    `preprocess` is a name of `PREPROCESS`, or `auto`: what the metadata say, else raw pixels for a
    model with an input of scale 1 and zero point 0, else a guess for float models.
    """

    def __init__(self, path: str | Path, preprocess: str = "auto") -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UserError("onnxruntime is needed to run a model: install it with pip") from None
        if not Path(path).is_file():
            raise UserError(f"{path}: there is no such file")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 (onnxruntime's errors share no base)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path}: onnxruntime does not take the model: {reason}") from None
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise UserError(f"{path}: it has {len(inputs)} inputs; one of [1, C, H, W] is "
                            "supported")
        self.input = inputs[0]
        self.shape = tuple(inputs[0].shape[1:])
        if not all(isinstance(size, int) for size in self.shape):
            raise UserError(f"{path}: its input has the open shape {list(inputs[0].shape)}; fix "
                            "its dimensions first")
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        if preprocess not in ("auto", *PREPROCESS):
            raise UserError(f"preprocessing '{preprocess}' is unknown; known are auto, "
                            f"{', '.join(PREPROCESS)}")
        self.preprocess = self._preprocess(path) if preprocess == "auto" else preprocess

    def _preprocess(self, path: str | Path) -> str:
        """`auto` where nothing is known of a network without 1 or 3 channels: it takes tensors."""
        channels = self.shape[0]
        if METADATA_KEY in self.metadata or channels not in (1, 3):
            return float_preprocess(self.metadata, channels) if METADATA_KEY in self.metadata \
                else "auto"
        if _takes_pixels(str(path), self.input.name):
            return "bgr" if channels == 3 else "grey"
        return float_preprocess(self.metadata, channels)

    @property
    def float_preprocess(self) -> str | None:
        """What the model took that this one was quantized from, if it says so."""
        return self.metadata.get(FLOAT_KEY)

    def scores(self, file: Path) -> np.ndarray:
        values = load_input(file, self.shape, self.preprocess)
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16,
                 "tensor(double)": np.float64, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
        if self.input.type not in kinds:
            raise UserError(f"its input is {self.input.type}; float and 8-bit inputs are supported")
        values = values.astype(kinds[self.input.type])
        return self.session.run([self.session.get_outputs()[0].name], {self.input.name: values})[0]

    def close(self) -> None:
        """Nothing to end."""


def _takes_pixels(path: str, name: str) -> bool:
    """Whether the input is quantized with scale 1 and zero point 0."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == name:
            values = [numpy_helper.to_array(constants[part]) for part in node.input[1:]
                      if part in constants]
            return bool(values and (values[0] == 1).all()
                        and all((value == 0).all() for value in values[1:]))
    return False
