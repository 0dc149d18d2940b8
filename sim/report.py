"""What a simulation run tells: the report's dictionary, and its tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from hw.profile import UnitState
from sw.perf import Prediction
from sw.program import Program

from .profile import layer_states, unit_profile
from .simulator import Run

__all__ = ["build_report", "format_report"]

STALL_NAMES = {
    UnitState.IDLE: "no instruction",
    UnitState.WAIT_INPUT: "load",
    UnitState.WAIT_WEIGHTS: "weights",
    UnitState.WAIT_OUTPUT: "results",
    UnitState.WAIT_ORDER: "order of passes",
    UnitState.DRAIN: "drain",
}


def build_report(program: Program, prediction: Prediction, runs: list[Run], files: list[str],
                 top5: list[list[int]], clock_hz: float, checked: int,
                 mismatches: int) -> dict[str, Any]:
    """The JSON report. Cycles are those of one image (the mean over all), states too: those of a
    layer from the probe, those of the units (`profile`) from the core's counters; `predicted` are
    the cycle model's; `fps` is at `clock_hz`; `sim_seconds` is the time that all images took to
    simulate. Each image has the cycles from the end of the one before it in its batch, or from the
    start of the run.

    With a batch, `stream` has the latency of the first image, and the steady state: `interval` is
    the cycles from the end of an image to that of the next (the mean), with its efficiency and
    images a second.
    """
    lanes = program.config.lanes
    cycles = round(float(np.mean([run.cycles for run in runs])) / program.batch)
    states = layer_states(program, runs)
    layers = []
    for info, its, row in zip(program.layers, prediction.layers, states, strict=True):
        spent = int(row.sum())
        layers.append({
            "name": info.name, "cycles": spent, "predicted": its.cycles, "macs": info.macs,
            "efficiency": _efficiency(info.macs, spent, lanes),
            "states": {state.name: int(row[state.value]) for state in UnitState},
        })
    spent = [each for run in runs for each in _cycles_of_images(run)]
    stream = {"stream": _stream(program, lanes, runs, clock_hz)} if program.batch > 1 else {}
    return {
        "total": {"cycles": cycles, "predicted": round(prediction.cycles / program.batch),
                  "macs": program.macs, "lanes": lanes,
                  "efficiency": _efficiency(program.macs, cycles, lanes)},
        "layers": layers,
        "profile": unit_profile(runs, program.batch),
        "checked_values": checked,
        "mismatches": mismatches,
        **stream,
        "images": [{"file": name, "cycles": each, "top5": top}
                   for name, each, top in zip(files, spent, top5, strict=True)],
        "sim_seconds": round(sum(run.seconds for run in runs), 3),
        "fps": round(clock_hz / cycles, 3) if cycles else 0.0,
        "clock_hz": clock_hz,
    }


def _cycles_of_images(run: Run) -> list[int]:
    if len(run.images) == 1:
        return [run.cycles]
    return [end - start for start, end in zip([0, *run.completions], run.completions,
                                              strict=False)]


def _stream(program: Program, lanes: int, runs: list[Run], clock_hz: float) -> dict[str, Any]:
    latency = round(float(np.mean([run.completions[0] for run in runs])))
    interval = round(float(np.mean([run.completions[-1] - run.completions[0] for run in runs]))
                     / (program.batch - 1))
    return {"batch": program.batch, "latency": latency, "interval": interval,
            "efficiency": _efficiency(program.macs, interval, lanes),
            "fps": round(clock_hz / interval, 3) if interval else 0.0}


def _efficiency(macs: int, cycles: int, lanes: int) -> float:
    return round(macs / (cycles * lanes), 5) if cycles else 0.0


def format_report(report: dict[str, Any]) -> str:
    """The table of layers and the totals."""
    width = max([len(layer["name"]) for layer in report["layers"]] + [len("layer")])
    lines = [f"{'layer':{width}} {'cycles':>10} {'model':>10} {'MMACs':>8} {'% of peak':>9}  "
             "main stall"]
    total = {"name": "total", **report["total"]}
    for each in [*report["layers"], total]:
        what = f"{total['lanes']} lanes" if each is total else _main_stall(each)
        lines.append(f"{each['name']:{width}} {each['cycles']:>10,} {each['predicted']:>10,} "
                     f"{each['macs'] / 1e6:>8.2f} {100 * each['efficiency']:>9.1f}  {what}")
    if stream := report.get("stream"):
        lines.append(f"batch of {stream['batch']}: latency of the first image "
                     f"{stream['latency']:,} cycles, then an image every {stream['interval']:,} "
                     f"cycles: {100 * stream['efficiency']:.2f} % of peak, {stream['fps']:.1f} "
                     "images/s in the steady state")
    lines.append(f"{report['fps']:.1f} images/s at {report['clock_hz'] / 1e6:g} MHz; "
                 f"simulated in {report['sim_seconds']:.1f} s")
    return "\n".join(lines)


def _main_stall(layer: dict[str, Any]) -> str:
    stalls = {name: cycles for name, cycles in layer["states"].items()
              if name != UnitState.BUSY.name and cycles}
    if not stalls:
        return "-"
    name = max(stalls, key=stalls.get)
    share = 100 * stalls[name] / layer["cycles"]
    return f"{STALL_NAMES[UnitState[name]]} {share:.1f} %"
