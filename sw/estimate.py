"""How long instructions take: the arithmetic of a pass, and a timeline of the engines.

The timeline is a model of whole instructions, good enough to choose between schedules; the
simulation of the hardware gives the true cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

from hw.config import Config

from .hazards import Waits
from .layers import Branch, Layer, ceil_div

__all__ = ["Strips", "Timeline", "divide", "is_single", "pass_cycles", "pass_results"]

LATENCY = 40
"""Cycles from a request to the first vector of memory."""
DRAIN = 48
"""Cycles of the pipeline from the array to the activation memory."""
ACKNOWLEDGE = 32
"""More cycles until an external write is acknowledged."""
TABLE_LOAD = 24
"""Cycles to load a tile into product tables."""
RESULT_SLACK = 64
"""Results that may wait for the finisher while the array goes on."""


@dataclass(frozen=True)
class Strips:
    """`long` strips of `steps` + 1 steps, then `count - long` of `steps`."""

    count: int
    long: int
    steps: int

    @property
    def total(self) -> int:
        return self.count * self.steps + self.long

    @property
    def longest(self) -> int:
        return self.steps + (self.long > 0)


def divide(pixels: int, single: bool, config: Config) -> Strips:
    """As few and as equal strips as the accumulators allow."""
    steps = pixels if single else ceil_div(pixels, config.pixels)
    count = ceil_div(steps, config.strip_steps)
    return Strips(count, steps % count, steps // count)


def is_single(layer: Layer, squeeze: bool, config: Config) -> bool:
    """Whether adjacent pixels of the pass fall into one bank, so that they go one by one."""
    if config.pixels == 1 or squeeze:
        return False
    width, out_width = layer.in_shape[2], layer.conv_shape[2]
    jump = (width - (out_width - 1)) * layer.stride
    for start in range(min(out_width, config.pixels)):
        # The offsets of the pixels of a step whose first pixel is `start` before a row's end.
        offsets, at, left = [], 0, start
        for _ in range(config.pixels):
            offsets.append(at % config.pixels)
            at, left = (at + layer.stride, left - 1) if left else (at + jump, out_width - 1)
        if len(set(offsets)) < config.pixels:
            return True
    return False


def _tiles(branches: list[Branch], config: Config) -> int:
    return sum(branch.groups * config.halves * branch.planes * branch.weights.shape[2] ** 2
               for branch in branches)


def pass_cycles(branches: list[Branch], strips: Strips, config: Config) -> tuple[int, int]:
    """(cycles without any stall, cycles with the waits of short strips for their tiles)."""
    tiles = _tiles(branches, config)
    tile_load = max(config.tile_vectors + 1, TABLE_LOAD if config.table_rows else 0)
    slow = (strips.long * max(strips.steps + 1, tile_load)
            + (strips.count - strips.long) * max(strips.steps, tile_load))
    return tiles * strips.total, tiles * slow


def pass_results(layer: Layer, branches: list[Branch], config: Config) -> int:
    """Cycles of the requantisers for the results of one pixel of every group."""
    stages = 1
    if branches[0] is not layer.squeeze:
        stages += (layer.rescale_zero is not None) + (layer.addition is not None)
    return sum(branch.groups for branch in branches) * stages * config.phases


class Timeline:
    """When each engine is free and each event happens, in cycles from the start."""

    def __init__(self, rate: float):
        """`rate`: vectors that external memory delivers in a cycle."""
        self.rate = rate
        self.load_done: list[int] = [0]
        self.gather_done: list[int] = [0]
        self.read_done: list[int] = [0]
        self.write_done: list[int] = [0]
        self.dispatched = self.started = 0
        self.weights_done = self.finished = 0

    def copy(self) -> Timeline:
        other = object.__new__(Timeline)
        other.__dict__.update(self.__dict__)
        for name in ("load_done", "gather_done", "read_done", "write_done"):
            setattr(other, name, getattr(self, name).copy())
        return other

    @property
    def end(self) -> int:
        return self.write_done[-1]

    def reached(self, waits: Waits) -> int:
        return max(self.load_done[waits.loads], self.gather_done[waits.gathers],
                   self.read_done[waits.reads], self.write_done[waits.writes])

    def load(self, waits: Waits, vectors: int) -> None:
        start = max(self.load_done[-1], self.dispatched, self.reached(waits))
        self.load_done.append(start + LATENCY + round(vectors / self.rate))

    def gather(self, waits: Waits, image_vectors: int, windows: int, kernel: int) -> None:
        start = max(self.gather_done[-1], self.dispatched, self.reached(waits))
        self.gather_done.append(start + LATENCY + max(
            round(image_vectors / self.rate), windows * kernel * ceil_div(kernel, 4)))

    def weights(self, vectors: int) -> None:
        start = max(self.weights_done, self.dispatched)
        self.weights_done = start + LATENCY + round(vectors / self.rate)

    def instruction(self, waits: Waits) -> int:
        """A compute instruction enters its queue of one; gives the time it starts."""
        self.dispatched = self.started
        self.started = max(self.read_done[-1], self.dispatched, self.reached(waits))
        return self.started

    def compute(self, start: int, cycles: int, results: int, pixels: int, tail: int,
                external: bool, chained: bool = False) -> None:
        """A pass of `cycles` whose requantisation takes `results` a pixel, `tail` for its end."""
        if chained:
            start = max(start, self.write_done[-1])
        start = max(start, self.read_done[-1])
        finished = max(self.finished, start) + results * pixels
        end = max(start + cycles, finished - RESULT_SLACK)
        if not chained:
            end = max(end, self.weights_done)
        self.finished = max(finished, end + tail)
        self.read_done.append(end)
        self.write_done.append(self.finished + DRAIN + (ACKNOWLEDGE if external else 0))
