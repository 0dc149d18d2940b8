"""Where the cycles of every unit go: the table of the core's own counters."""

from __future__ import annotations

from typing import Any

import numpy as np

from hw.profile import UNITS, UnitState
from sw.program import Program

from .simulator import Run

__all__ = ["LABELS", "format_profile", "layer_states", "unit_profile"]

LABELS = {
    UnitState.BUSY: "busy",
    UnitState.WAIT_WEIGHTS: "weights",
    UnitState.WAIT_INPUT: "input",
    UnitState.WAIT_OUTPUT: "output",
    UnitState.WAIT_ORDER: "order",
    UnitState.WAIT_MEMORY: "memory",
    UnitState.DRAIN: "drain",
    UnitState.IDLE: "idle",
}
"""Columns of the tables."""


def unit_profile(runs: list[Run], batch: int = 1) -> dict[str, dict[str, int]]:
    """Cycles of one image (the mean over all) by unit and state, from the core's registers."""
    return {unit: {state.name: round(float(np.mean([run.profile[unit][state.name]
                                                    for run in runs])) / batch)
                   for state in UnitState}
            for unit in runs[0].profile}


def layer_states(program: Program, runs: list[Run]) -> np.ndarray:
    """[layer, state] cycles of the array for one image (the mean over all), from the probe; cycles
    of a layer number beyond the program's are left out."""
    total = np.zeros((len(program.layers), runs[0].states.shape[1]))
    for run in runs:
        count = min(len(total), len(run.states))
        total[:count] += run.states[:count]
    return np.rint(total / len(runs) / program.batch).astype(np.int64)


def format_profile(report: dict[str, Any]) -> str:
    """The tables of units and of layers, from a report."""
    lines = ["cycles of each unit for one image, counted by the core", ""]
    lines += _table("unit", report["profile"])
    if len(report["profile"]) < len(UNITS):
        lines.append("the core has no counters of the other units (profile: false)")
    lines += ["", "cycles of the array by layer", ""]
    lines += _table("layer", {layer["name"]: layer["states"] for layer in report["layers"]})
    return "\n".join(lines)


def _table(title: str, rows: dict[str, dict[str, int]]) -> list[str]:
    """A row of cycles and one of shares for each entry; states that never occur have no column."""
    columns = [state for state in LABELS if any(row[state.name] for row in rows.values())]
    width = max(len(name) for name in (title, *rows))
    lines = [f"{title:{width}} {'cycles':>10}" + "".join(f"{LABELS[c]:>10}" for c in columns)]
    for name, row in rows.items():
        total = sum(row.values())
        lines.append(f"{name:{width}} {total:>10,}"
                     + "".join(f"{row[c.name]:>10,}" for c in columns))
        lines.append(" " * (width + 11)
                     + "".join(f"{100 * row[c.name] / max(total, 1):>8.2f} %" for c in columns))
    return lines
