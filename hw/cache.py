"""Where built and generated files are kept between runs."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cache_folder", "locked"]


def cache_folder() -> Path:
    """`FIRECORE_CACHE`, else `firecore` in the user's cache folder."""
    if folder := os.environ.get("FIRECORE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "firecore"


@contextlib.contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Two processes never make the entry `name` at once: the second one waits and finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
