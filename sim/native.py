"""Objects of the C++ side: a pointer that a library gives, and the functions that take it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Native"]


class Native:
    """What `<prefix>_create` of a library makes; calls go to `<prefix>_<name>`.

    `interface` has result and arguments of each function in the types of `ctypes`, `create` and
    `destroy` among them; all but `create` take the object first.
    """

    def __init__(self, library: Path, prefix: str, interface: Mapping[str, tuple[Any, list]],
                 *arguments: int) -> None:
        loaded = ctypes.CDLL(str(library))
        self._functions = {name: getattr(loaded, f"{prefix}_{name}") for name in interface}
        for name, (result, types) in interface.items():
            self._functions[name].restype, self._functions[name].argtypes = result, types
        self._handle = self._functions["create"](*arguments)

    def __call__(self, name: str, *arguments):
        if self._handle is None:
            raise RuntimeError("the simulation has been closed")
        return self._functions[name](self._handle, *arguments)

    def close(self) -> None:
        """Destroys the object, once."""
        if self._handle is not None:
            self("destroy")
            self._handle = None
