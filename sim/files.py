"""Files that the tools write: refused before the work, complete or not there after it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sw.errors import UserError

__all__ = ["check_writable", "write_json"]


def check_writable(path: Path | None) -> None:
    """Fails before the work, not after it. Raises `UserError`."""
    if path is None:
        return
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}: not a file in a folder that can be written")


def write_json(path: Path, report: Any) -> None:
    """Replaces `path` at once. Raises `OSError`."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(report, indent=2) + "\n")
    part.replace(path)
