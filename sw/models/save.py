"""Writes an ONNX model: refused before the work where it cannot be, complete or not there after."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from ..errors import UserError

__all__ = ["check_output", "save_model"]


def check_output(path: str | Path) -> None:
    """Raises UserError if no file can be written there."""
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: not a file in a folder that can be written")


def save_model(model: onnx.ModelProto, path: str | Path) -> None:
    """Replaces `path` at once. Raises UserError."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(model.SerializeToString())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from None
