"""Files that the tools write: refused before the work, complete or not there after it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .errors import UserError

__all__ = ["check_folder", "check_writable", "write_bytes", "write_json"]


def check_writable(path: str | Path | None, *, new_folders: bool = False) -> None:
    """Fails before the work, not after it; with `new_folders` the folder need not exist yet.

    Raises `UserError`.
    """
    if path is None:
        return
    path = Path(path)
    if _is_device(path):
        writable = os.access(path, os.W_OK)
    else:
        folder = _nearest(path.parent) if new_folders else path.parent
        writable = not path.is_dir() and _is_writable_folder(folder)
    if not writable:
        raise UserError(f"cannot write {path}: not a file in a folder that can be written")


def check_folder(path: Path) -> None:
    """The same for a folder, which need not exist yet. Raises `UserError`."""
    if not _is_writable_folder(_nearest(path)):
        raise UserError(f"cannot write {path}: not a folder that can be written")


def write_json(path: str | Path, report: Any) -> None:
    """`write_bytes` of a report."""
    write_bytes(path, (json.dumps(report, indent=1) + "\n").encode())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replaces the file `path` at once, and makes its folder. Raises `UserError`."""
    path = Path(path)
    try:
        if _is_device(path):
            path.write_bytes(data)
        else:
            _replace(path.resolve(), data)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    """A pipe, a terminal or the like, `/dev/stdout` perhaps: written to, never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _nearest(path: Path) -> Path:
    """The path, or the first of its parents that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def _is_writable_folder(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK)
