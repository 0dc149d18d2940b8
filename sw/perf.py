"""Cycle model: the cycles of every layer of a compiled program, without simulating the hardware.

Every unit of the core is a process that follows its instructions in large steps: strips of tiles,
runs of results, bursts of the memory. What limits a unit limits its process: weights, loads, room
for results, requantisers, the store, the order of passes, and the bus that all of them share.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

from boards import Board

from .cycle_model.array import TileArray
from .cycle_model.control import Control
from .cycle_model.memory import LITEDRAM, LITEDRAM_SDR, Memory
from .cycle_model.results import Results
from .cycle_model.state import LayerCycles, State
from .program import Program

__all__ = ["DRAMS", "LITEDRAM", "LITEDRAM_SDR", "LayerCycles", "Memory", "Prediction", "memory_of",
           "predict"]

DRAMS = {"DDR3": LITEDRAM, "SDR": LITEDRAM_SDR}
"""By `hw.litedram.Dram.kind`."""
END = 10
"""Cycles from the last event of a program to its end."""


def memory_of(board: Board) -> Memory:
    """A board's memory, in cycles of its core."""
    if board.dram is None:
        return Memory(width=board.bus_bytes)
    memory = DRAMS[board.dram.kind]
    ratio = board.clock_hz / board.dram.clock_hz
    return replace(memory, latency=memory.latency * ratio, width=memory.width / ratio,
                   turn=memory.turn * ratio, row_change=memory.row_change * ratio)


@dataclass(frozen=True)
class Prediction:
    """`cycles` from start to done, of all images; `layers` of one image, as `sim.report` counts
    them; `completions`: when each image is done."""

    cycles: int
    layers: list[LayerCycles]
    completions: list[int]


def predict(program: Program, memory: Memory | None = None) -> Prediction:
    """Runs the model. Takes a fraction of a second for an image."""
    state = State(program, memory or Memory())
    Control(state), TileArray(state), Results(state)
    state.events.run()
    if len(state.spans) < len(state.passes) or state.happened["writes"].value < len(state.passes):
        raise RuntimeError(f"the cycle model stands still after {len(state.spans)} of "
                           f"{len(state.passes)} passes")
    end = state.events.now + END
    _attribute(state, end)
    for layer in state.layers:
        layer.cycles = round(layer.cycles / program.batch)
    each, odd = divmod(len(state.passes), program.batch)
    if odd:
        raise RuntimeError(f"{len(state.passes)} passes of {program.batch} images")
    written = state.happened["writes"]
    return Prediction(round(end), state.layers,
                      [round(written.time(each * (n + 1))) for n in range(program.batch)])


def _attribute(state: State, end: float) -> None:
    """A layer has the cycles from the first to the last step of its passes, and those between two
    passes in which its instruction is the one that the compute queue shows."""
    before, seen = 0.0, set()
    for work, (first, last) in zip(state.passes, state.spans, strict=True):
        layer = state.layers[work.layer]
        _idle(state, before, first)
        if work.layer in state.fetched and work.layer not in seen:
            layer.ahead = before - state.fetched[work.layer]
        seen.add(work.layer)
        layer.cycles += last - first
        before = last
    _idle(state, before, end)


def _idle(state: State, start: float, end: float) -> None:
    times = [time for time, _ in state.heads]
    while start < end:
        place = bisect_right(times, start)
        stop = min(end, times[place]) if place < len(times) else end
        state.layers[state.heads[place - 1][1]].cycles += stop - start
        start = stop
