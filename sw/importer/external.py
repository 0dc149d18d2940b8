"""External data of an ONNX file: tensors whose bytes are in other files of the model's folder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import onnx

from ..errors import UserError

__all__ = ["load_external_data", "reader_of", "refuse_external_data"]

_ITEM_BITS = {onnx.TensorProto.INT8: 8, onnx.TensorProto.UINT8: 8, onnx.TensorProto.INT32: 32,
              onnx.TensorProto.INT64: 64, onnx.TensorProto.FLOAT: 32}


def load_external_data(model: onnx.ModelProto, folder: Path) -> None:
    """Read all external tensors into `model`; raises UserError naming the first that cannot be.

    A path must be relative and stay inside `folder`, symbolic links included.
    """
    for tensor in _external(model):
        _check(tensor, folder, f"{reader_of(model, tensor.name)}external data of '{tensor.name}'")
    try:
        onnx.load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise UserError(f"external data cannot be read: {str(error).splitlines()[0]}") from None


def refuse_external_data(model: onnx.ModelProto) -> None:
    """A model in memory has no folder that its external data could be in."""
    for tensor in _external(model):
        raise UserError(f"{reader_of(model, tensor.name)}'{tensor.name}' is external data, but the "
                        "model is not a file")


def reader_of(model: onnx.ModelProto, tensor: str) -> str:
    """`Conv 'name': ` of the first node that reads a constant, or nothing."""
    for node in model.graph.node:
        if tensor in node.input:
            return f"{node.op_type} '{node.name or next(iter(node.output), '')}': "
    return ""


def _external(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    attributes = (attribute for node in model.graph.node for attribute in node.attribute)
    tensors = [*model.graph.initializer, *(attribute.t for attribute in attributes
                                           if attribute.HasField("t"))]
    return (tensor for tensor in tensors
            if tensor.data_location == onnx.TensorProto.EXTERNAL)


def _check(tensor: onnx.TensorProto, folder: Path, where: str) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if not location or "\0" in location:
        raise UserError(f"{where}: it names no file")
    if Path(location).is_absolute() or PureWindowsPath(location).is_absolute():
        raise UserError(f"{where}: '{location}' is an absolute path; files in the model's folder "
                        "are supported")
    try:
        path = (folder / location).resolve()
        inside = path.is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        raise UserError(f"{where}: '{location}' cannot be read") from None
    if not inside:
        raise UserError(f"{where}: '{location}' is outside the model's folder")
    if not path.is_file():
        raise UserError(f"{where}: there is no file '{location}' in the model's folder")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except ValueError:
        raise UserError(f"{where}: its offset or length is not a number") from None
    size = path.stat().st_size
    length = length or math.prod(tensor.dims) * _ITEM_BITS.get(tensor.data_type, 0) // 8
    if offset < 0 or length < 0 or offset + length > size:
        raise UserError(f"{where}: '{location}' has {size} bytes; {length} from {offset} on are "
                        "needed")
