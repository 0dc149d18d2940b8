"""How long instructions take: the arithmetic of a pass, and a timeline of the engines.

The timeline is a model of whole instructions, good enough to choose between schedules; the
simulation of the hardware gives the true cycles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from hw.config import VECTOR, Config
from hw.gather import BANKS
from hw.multiplier import lut_block

from .bands import Band
from .hazards import Waits
from .layers import Branch, Layer, ceil_div

__all__ = ["Strips", "Timeline", "divide", "is_single", "pass_cycles", "pass_results",
           "pass_strips", "result_cycles", "tile_cycles", "window_cycles"]

LATENCY = 40
"""Cycles from a request to the first vector of memory."""
DRAIN = 48
"""Cycles of the pipeline from the array to the activation memory."""
ACKNOWLEDGE = 32
"""More cycles until an external write is acknowledged."""
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


def pass_strips(layer: Layer, band: Band, config: Config) -> list[Strips]:
    """Of the squeeze, if there is one, and of the main pass of a band."""
    squeeze = []
    if layer.squeeze:
        first, end = band.squeeze
        squeeze = [divide((end - first) * layer.in_shape[2], False, config)]
    pixels = (band.rows[1] - band.rows[0]) * layer.conv_shape[2]
    return [*squeeze, divide(pixels, is_single(layer, band.rows, config), config)]


def is_single(layer: Layer, rows: tuple[int, int], config: Config) -> bool:
    """Whether two pixels of a step of the main pass over conv rows [first, end) need one bank of
    the activation memory, so that the pixels go one by one. Padding is not read."""
    if config.pixels == 1:
        return False
    centre = layer.pad_top, layer.pad_left
    taps = {centre} if layer.a else set()
    if layer.b:
        taps |= {(y, x) for y in range(layer.kernel) for x in range(layer.kernel)}
    return _clash(layer.in_shape[1:], layer.conv_shape[2], rows, (layer.row_stride, layer.stride),
                  centre, frozenset(taps), config.pixels)


@lru_cache(1024)
def _clash(shape: tuple[int, int], out_width: int, rows: tuple[int, int],
           strides: tuple[int, int], padding: tuple[int, int],
           taps: frozenset[tuple[int, int]], pixels: int) -> bool:
    """Whether at some tap two of `pixels` consecutive output pixels read one bank."""
    height, width = shape
    first, end = rows
    count = ceil_div((end - first) * out_width, pixels) * pixels
    y, x = np.divmod(np.arange(count).reshape(-1, pixels), out_width)
    row, column = (first + y) * strides[0] - padding[0], x * strides[1] - padding[1]
    bank = (row * width + column) % pixels
    exists = first + y < end
    for tap_y, tap_x in taps:
        reads = (exists & (row + tap_y >= 0) & (row + tap_y < height)
                 & (column + tap_x >= 0) & (column + tap_x < width))
        for one, other in combinations(range(pixels), 2):
            if (reads[:, one] & reads[:, other] & (bank[:, one] == bank[:, other])).any():
                return True
    return False


def tile_cycles(config: Config) -> int:
    """From the hand-over of a tile to that of the next, if its strip is not longer."""
    last_table = (config.table_rows - 1) * config.tile_vectors // VECTOR
    settle = max(0, last_table - config.tile_vectors + lut_block(config).LOAD_CYCLES)
    return config.tile_vectors + 1 + (settle if config.table_rows else 0)


def window_cycles(kernel: int) -> int:
    """Of a window in the gather: one more where its last pixels begin another vector."""
    return kernel * ceil_div(kernel, BANKS) + (kernel in (4, 6))


def result_cycles(config: Config, rescale: bool, add: bool, average: bool) -> int:
    """Of the requantisers for a vector of results; sums for an average take four bytes a cycle."""
    return max(config.phases, VECTOR // 4 * average) * (1 + rescale + add)


def _tiles(branches: list[Branch], config: Config) -> int:
    return sum(branch.groups * config.halves * branch.planes * branch.weights.shape[2] ** 2
               for branch in branches)


def pass_cycles(branches: list[Branch], strips: Strips, config: Config) -> tuple[int, int]:
    """(cycles without any stall, cycles with the waits of short strips for their tiles)."""
    tiles = _tiles(branches, config)
    tile_load = tile_cycles(config)
    slow = (strips.long * max(strips.steps + 1, tile_load)
            + (strips.count - strips.long) * max(strips.steps, tile_load))
    return tiles * strips.total, tiles * slow


def pass_results(layer: Layer, branches: list[Branch], config: Config) -> int:
    """Cycles of the requantisers for the results of one pixel of every group."""
    stages = (False, False, False)
    if branches[0] is not layer.squeeze:
        stages = (layer.rescale_zero is not None, layer.addition is not None,
                  layer.average is not None)
    return sum(branch.groups for branch in branches) * result_cycles(config, *stages)


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
        self.bus = 0.0
        """When external memory has moved all that was asked for, one after the other."""

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
        self.load_done.append(LATENCY + self._moved(start, vectors))

    def load_cycles(self, vectors: int) -> int:
        return LATENCY + round(vectors / self.rate)

    def gather(self, waits: Waits, image_vectors: int, windows: int, kernel: int) -> None:
        start = max(self.gather_done[-1], self.dispatched, self.reached(waits))
        self.gather_done.append(max(LATENCY + self._moved(start, image_vectors),
                                    start + self.gather_cycles(image_vectors, windows, kernel)))

    def gather_cycles(self, image_vectors: int, windows: int, kernel: int) -> int:
        return LATENCY + max(round(image_vectors / self.rate),
                             windows * window_cycles(kernel))

    def weights(self, vectors: int) -> None:
        start = max(self.weights_done, self.dispatched)
        self.weights_done = LATENCY + self._moved(start, vectors)

    def _moved(self, start: int, vectors: int) -> int:
        """When external memory has moved vectors asked for from `start` on."""
        self.bus = max(self.bus, start) + vectors / self.rate
        return round(self.bus)

    def instruction(self, waits: Waits) -> int:
        """A compute instruction enters its queue of one; gives the time it starts."""
        self.dispatched = self.started
        self.started = max(self.read_done[-1], self.dispatched, self.reached(waits))
        return self.started

    def compute(self, start: int, cycles: int, results: int, pixels: int, tail: int,
                stored: int, chained: bool = False) -> None:
        """A pass of `cycles` whose requantisation takes `results` a pixel, `tail` for its end;
        `stored`: vectors that go to external memory."""
        if chained:
            start = max(start, self.write_done[-1])
        start = max(start, self.read_done[-1])
        finished = max(self.finished, start) + results * pixels
        if stored:
            finished = max(finished, self._moved(start, stored))
        end = max(start + cycles, finished - RESULT_SLACK)
        if not chained:
            end = max(end, self.weights_done)
        self.finished = max(finished, end + tail)
        self.read_done.append(end)
        self.write_done.append(self.finished + DRAIN + (ACKNOWLEDGE if stored else 0))
