"""Files that the tools write: refused before the work, complete or not there after it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import onnx

from .errors import UserError

__all__ = ["check_writable", "save_model", "write_json"]


def check_writable(path: str | Path | None) -> None:
    """Fails before the work, not after it. Raises `UserError`."""
    if path is None:
        return
    path = Path(path)
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}: not a file in a folder that can be written")


def write_json(path: str | Path, report: Any) -> None:
    """Replaces `path` at once. Raises `UserError`."""
    _replace(Path(path), (json.dumps(report, indent=2) + "\n").encode())


def save_model(model: onnx.ModelProto, path: str | Path) -> None:
    """Replaces `path` at once. Raises `UserError`."""
    _replace(Path(path), model.SerializeToString())


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from None
