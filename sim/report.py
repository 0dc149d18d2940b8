"""What a simulation run tells: the report's dictionary, and its tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from hw.csr import EngineState
from sw.program import Program

from .simulator import Run

__all__ = ["build_report", "format_report"]

STALL_NAMES = {
    EngineState.IDLE: "no instruction",
    EngineState.WAIT_LOAD: "load",
    EngineState.WAIT_WEIGHTS: "weights",
    EngineState.WAIT_RESULTS: "results",
    EngineState.WAIT_ORDER: "order of passes",
}


def build_report(program: Program, lanes: int, runs: list[Run], files: list[str],
                 top5: list[list[int]], clock_hz: float, checked: int,
                 mismatches: int) -> dict[str, Any]:
    """The JSON report. Cycles are those of one image (the mean over all), states too; `fps` is at
    `clock_hz`; `sim_seconds` is the time that all images took to simulate."""
    cycles = round(float(np.mean([run.cycles for run in runs])))
    states = _mean_states(program, runs)
    layers = []
    for info, row in zip(program.layers, states, strict=True):
        spent = int(row.sum())
        layers.append({
            "name": info.name, "cycles": spent, "macs": info.macs,
            "efficiency": _efficiency(info.macs, spent, lanes),
            "states": {state.name: int(row[state.value]) for state in EngineState},
        })
    return {
        "total": {"cycles": cycles, "macs": program.macs, "lanes": lanes,
                  "efficiency": _efficiency(program.macs, cycles, lanes)},
        "layers": layers,
        "checked_values": checked,
        "mismatches": mismatches,
        "images": [{"file": name, "cycles": run.cycles, "top5": top}
                   for name, run, top in zip(files, runs, top5, strict=True)],
        "sim_seconds": round(sum(run.seconds for run in runs), 3),
        "fps": round(clock_hz / cycles, 3) if cycles else 0.0,
        "clock_hz": clock_hz,
    }


def _mean_states(program: Program, runs: list[Run]) -> np.ndarray:
    """[layer, state] in cycles; cycles of a layer number beyond the program's are left out."""
    total = np.zeros((len(program.layers), runs[0].states.shape[1]))
    for run in runs:
        count = min(len(total), len(run.states))
        total[:count] += run.states[:count]
    return np.rint(total / len(runs)).astype(np.int64)


def _efficiency(macs: int, cycles: int, lanes: int) -> float:
    return round(macs / (cycles * lanes), 5) if cycles else 0.0


def format_report(report: dict[str, Any]) -> str:
    """The table of layers and the totals."""
    width = max([len(layer["name"]) for layer in report["layers"]] + [len("layer")])
    lines = [f"{'layer':{width}} {'cycles':>10} {'MMACs':>8} {'% of peak':>9}  main stall"]
    for layer in report["layers"]:
        lines.append(f"{layer['name']:{width}} {layer['cycles']:>10,} {layer['macs'] / 1e6:>8.2f} "
                     f"{100 * layer['efficiency']:>9.1f}  {_main_stall(layer)}")
    total = report["total"]
    lines.append(f"{'total':{width}} {total['cycles']:>10,} {total['macs'] / 1e6:>8.2f} "
                 f"{100 * total['efficiency']:>9.1f}  {total['lanes']} lanes")
    lines.append(f"{report['fps']:.1f} images/s at {report['clock_hz'] / 1e6:g} MHz; "
                 f"simulated in {report['sim_seconds']:.1f} s")
    return "\n".join(lines)


def _main_stall(layer: dict[str, Any]) -> str:
    stalls = {name: cycles for name, cycles in layer["states"].items()
              if name != EngineState.BUSY.name and cycles}
    if not stalls:
        return "-"
    name = max(stalls, key=stalls.get)
    share = 100 * stalls[name] / layer["cycles"]
    return f"{STALL_NAMES[EngineState[name]]} {share:.1f} %"
