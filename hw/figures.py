"""Figures of boards that take minutes to find, kept in ``boards/figures.json``.

``python -m hw.build ... --record`` measures what a board's design takes; ``python -m hw.boards
--update`` predicts frames per second. A figure is of use only for the description of the board that
it was found with, so each has its stamp.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import boards

from .cache import cache_folder, locked
from .files import write_json
from .project import BuildError

__all__ = ["MODELS", "predicted", "recorded", "record", "stamp"]

FILE = Path(boards.__file__).with_name("figures.json")
MODELS = {"v1.1": "squeezenet1.1", "v1.0": "squeezenet1.0"}
"""Networks whose frames per second are predicted, by the name of their column."""


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


def predicted(board: boards.Board, progress=lambda what, fraction: None) -> dict[str, dict]:
    """For every one of ``MODELS`` the ``cycles`` of an image and the ``frames_per_second``, by the
    cycle model. A second or more for each network; values of weights do not matter."""
    from sw.compiler import compile_graph
    from sw.importer import import_proto
    from sw.models import FAMILY, constant_ranges, float_model, quantized, random_parameters
    from sw.perf import memory_of, predict

    memory, found = memory_of(board), {}
    for i, (column, name) in enumerate(MODELS.items()):
        progress(f"{board}: {name}", i / len(MODELS))
        model = float_model(FAMILY[name], random_parameters(FAMILY[name]))
        graph = import_proto(quantized(model, ranges=constant_ranges(model)), name)
        program = compile_graph(graph, board.config, memory.rate, memory=memory)
        cycles = predict(program, memory).cycles
        found[column] = {"cycles": cycles, "frames_per_second": round(board.clock_hz / cycles, 2)}
    return found
