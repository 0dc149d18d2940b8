"""The data folder of models and photographs: `FIRECORE_DATA`, or `../shared/data` beside the
repository. It is no part of the repository; tests that need it skip where it is absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("FIRECORE_DATA", ROOT.parent / "shared" / "data"))


def data_file(name: str) -> Path:
    """A file of the data folder; the test is skipped, with a plain message, if it is not there."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in the data folder (set FIRECORE_DATA)")
    return path


def photographs(count: int, split: str = "evaluation") -> list[Path]:
    """The first photographs of a split, in the order of their names."""
    return sorted(data_file(f"images/{split}").glob("*.jpg"))[:count]
