"""A run as a Chrome trace, which Perfetto opens: a track for each unit, a slice for each
instruction (for each pass in the units of the compute queue: FIRE has two)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from hw.config import VECTOR
from hw.isa import Opcode
from hw.profile import UNITS, UnitState
from sw.assembler import Instruction, disassemble
from sw.program import Program

from .profile import LABELS

__all__ = ["COUNTED", "Work", "timeline", "vectors_of", "work_of"]

COUNTED = "weights"
"""The unit that does not tell the end of an instruction, but works one cycle for each vector."""
COMPUTE = ("array", "tiles", "finish", "store")


@dataclass(frozen=True)
class Work:
    """What a slice stands for. `part`: `squeeze` or `expand` of a FIRE, else empty."""

    index: int
    opcode: Opcode
    layer: int
    part: str
    details: dict[str, Any]


def vectors_of(program: Program) -> list[int]:
    """Vectors of each WEIGHTS instruction, for `Harness.trace`."""
    return [operand["count"] for opcode, _, operand in disassemble(program.code)
            if opcode == Opcode.WEIGHTS]


def work_of(program: Program) -> dict[str, list[Work]]:
    """By unit, in the order in which it works, all that a complete run does."""
    queues = {Opcode.WEIGHTS: "weights", Opcode.LOAD: "load", Opcode.GATHER: "gather"}
    work: dict[str, list[Work]] = {unit: [] for unit in UNITS}
    instructions = list(disassemble(program.code))
    places = _places(instructions, program.batch)
    passes = 0
    for index, (instruction, place) in enumerate(zip(instructions, places, strict=True)):
        opcode, header, operand = instruction
        details = {**place, **_details(opcode, operand)}
        work["dispatch"].append(Work(index, opcode, header["layer"], "", details))
        if opcode in queues:
            work[queues[opcode]].append(Work(index, opcode, header["layer"], "", details))
        if opcode not in (Opcode.CONV, Opcode.FIRE):
            continue
        for part in ("squeeze", "expand") if opcode == Opcode.FIRE else ("",):
            entry = program.trace[passes % len(program.trace)]
            passes += 1
            item = Work(index, opcode, header["layer"], part, {**place, "rows": entry["rows"]})
            for unit in COMPUTE:
                work[unit].append(item)
            adds = operand["main"]["finish"]["add"]
            if adds and part != "squeeze":
                work["residual"].append(item)
    return work


def _places(instructions: list[Instruction], batch: int) -> list[dict[str, int]]:
    """Band, and in a batch the image, of each instruction: of a layer all images have as many
    instructions with the same opcode."""
    keys = [(opcode, header["layer"]) for opcode, header, _ in instructions]
    totals, seen = Counter(keys), Counter()
    places = []
    for key in keys:
        shared = batch == 1 or totals[key] % batch
        image, band = divmod(seen[key], totals[key] if shared else totals[key] // batch)
        places.append({"band": band} if shared else {"image": image, "band": band})
        seen[key] += 1
    return places


def _details(opcode: Opcode, operand: dict[str, Any]) -> dict[str, Any]:
    if opcode == Opcode.WEIGHTS:
        return {"bytes": operand["count"] * VECTOR}
    if opcode == Opcode.LOAD:
        return {"bytes": operand["count"] * operand["planes"] * VECTOR}
    if opcode == Opcode.GATHER:
        return {"rows": [operand["row"], operand["row"] + operand["rows"]]}
    return {}


def timeline(program: Program, slices: np.ndarray) -> dict[str, Any]:
    """The trace of `Harness.slices` of a complete run; a microsecond stands for a cycle.

    Raises ValueError if the slices are not those of the program.
    """
    work = work_of(program)
    events = [_name("process_name", 0, f"firecore, {program.config.lanes} lanes")]
    for track, unit in enumerate(UNITS):
        events.append(_name("thread_name", track, unit))
        events.append({"name": "thread_sort_index", "ph": "M", "pid": 0, "tid": track,
                       "args": {"sort_index": track}})
        mine = slices[slices["unit"] == track]
        if len(mine) != len(work[unit]):
            raise ValueError(f"unit {unit} has {len(mine)} slices, the program {len(work[unit])}")
        events += [_slice(program, track, unit, item, piece)
                   for item, piece in zip(work[unit], mine, strict=True)]
    return {"traceEvents": events, "displayTimeUnit": "ms",
            "otherData": {"time": "1 us is 1 cycle", "model": program.source}}


def _name(kind: str, track: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": 0, "tid": track, "args": {"name": name}}


def _slice(program: Program, track: int, unit: str, work: Work, piece) -> dict[str, Any]:
    layer = program.layers[work.layer].name if work.layer < len(program.layers) else ""
    if work.opcode == Opcode.END:
        layer = ""
    begin, end = int(piece["begin"]), int(piece["end"])
    spent = {LABELS[state]: int(piece["states"][state.value]) for state in LABELS}
    return {
        "name": " ".join(part for part in (work.opcode.name, work.part, layer) if part),
        "cat": unit, "ph": "X", "pid": 0, "tid": track, "ts": begin, "dur": end - begin,
        "args": {
            "instruction": work.index, "opcode": work.opcode.name, "layer": layer, **work.details,
            "busy": spent.pop(LABELS[UnitState.BUSY]),
            "waits": {name: cycles for name, cycles in spent.items() if cycles},
        },
    }
