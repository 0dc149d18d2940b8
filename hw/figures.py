"""Figures of boards that take minutes to find, kept in ``boards/figures.json``.

``python -m hw.build ... --record`` measures what a board's design takes; ``python -m
sw.predict_boards`` predicts frames per second. A figure is of use only for the description of the
board that it was found with, so each has its stamp.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import boards

from .cache import cache_folder, locked
from .files import write_json
from .project import BuildError

__all__ = ["recorded", "record", "stamp"]

FILE = Path(boards.__file__).with_name("figures.json")


def stamp(board: boards.Board) -> str:
    """Stands for everything that the description of a board says."""
    text = json.dumps([board.device, board.clock_hz, board.flow, board.bus_bytes,
                       asdict(board.config), asdict(board.dram) if board.dram else None])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def recorded(board: boards.Board, kind: str, file: Path = FILE) -> dict | None:
    """Figures of a ``kind``, or None if there are none for the board as it is now described."""
    entry = _read(file).get(str(board), {}).get(kind)
    return entry["figures"] if entry and entry["stamp"] == stamp(board) else None


def record(board: boards.Board, kind: str, figures: dict, command: str, file: Path = FILE):
    """Keeps figures of a ``kind``, and the ``command`` that makes them again."""
    with locked(cache_folder(), "figures"):
        everything = _read(file)
        everything.setdefault(str(board), {})[kind] = {
            "made_by": command, "stamp": stamp(board), "figures": figures}
        write_json(file, dict(sorted(everything.items())))


def _read(file: Path) -> dict:
    if not file.exists():
        return {}
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise BuildError(f"{file}: not JSON: {error}") from None
