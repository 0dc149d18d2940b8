"""What an instruction must wait for, derived from the memory that it and earlier ones touch.

A program is correct when its instructions run one after another; the waits found here make it
correct when the engines run ahead. Compute passes are in order among themselves: a pass reads
after the reads of the one before and its results arrive after those of the one before, so only
reading what an earlier pass wrote needs a wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["Hazards", "Runs", "Waits", "runs"]

Runs = list[slice]
"""Disjoint runs of activation addresses."""


@dataclass(frozen=True)
class Waits:
    """Counters of `hw.isa.Header`."""

    loads: int = 0
    gathers: int = 0
    reads: int = 0
    writes: int = 0


def runs(address: int, count: int, planes: int, stride: int) -> Runs:
    """The addresses of `planes` runs of `count`, `stride` apart, joined where they touch."""
    if count == stride or planes == 1:
        return [slice(address, address + count * planes)]
    return [slice(address + p * stride, address + p * stride + count) for p in range(planes)]


class Hazards:
    """Last accesses of every activation vector and of every row of the maps in external memory.

    Each array holds the value that the event's counter has once the access is over, 0 if none.
    """

    def __init__(self, act_vectors: int):
        self.loaded, self.gathered, self.read, self.written = (
            np.zeros(act_vectors, np.int32) for _ in range(4))
        self.rows: dict[str, np.ndarray] = {}
        self.loads = self.gathers = self.passes = 0

    def copy(self) -> Hazards:
        other = object.__new__(Hazards)
        other.loaded, other.gathered, other.read, other.written = (
            array.copy() for array in (self.loaded, self.gathered, self.read, self.written))
        other.rows = {name: rows.copy() for name, rows in self.rows.items()}
        other.loads, other.gathers, other.passes = self.loads, self.gathers, self.passes
        return other

    def row_writes(self, name: str, first: int, end: int) -> np.ndarray:
        """`writes` after which each row of an external map is complete."""
        rows = self.rows.get(name)
        return np.zeros(end - first, np.int32) if rows is None else rows[first:end]

    def load(self, name: str, first: int, end: int, target: Runs) -> Waits:
        """A LOAD of rows [first, end) of an external map."""
        waits = Waits(
            gathers=_latest(self.gathered, target), reads=_latest(self.read, target),
            writes=max(_latest(self.written, target), int(self.row_writes(name, first, end).max())))
        self.loads += 1
        _mark(self.loaded, target, self.loads)
        return waits

    def gather(self, target: Runs) -> Waits:
        waits = Waits(loads=_latest(self.loaded, target), reads=_latest(self.read, target),
                      writes=_latest(self.written, target))
        self.gathers += 1
        _mark(self.gathered, target, self.gathers)
        return waits

    def compute(self, source: Runs, target: Runs, chained: bool = False) -> Waits:
        """A pass; one that is `chained` waits for the writes of all earlier passes anyway."""
        waits = Waits(
            loads=max(_latest(self.loaded, source), _latest(self.loaded, target)),
            gathers=max(_latest(self.gathered, source), _latest(self.gathered, target)),
            writes=0 if chained else _latest(self.written, source))
        self.passes += 1
        _mark(self.read, source, self.passes)
        _mark(self.written, target, self.passes)
        return waits

    def store(self, name: str, height: int, first: int, end: int) -> None:
        """The last pass wrote rows [first, end) of an external map."""
        rows = self.rows.setdefault(name, np.zeros(height, np.int32))
        rows[first:end] = self.passes

    @staticmethod
    def join(waits: Iterable[Waits]) -> Waits:
        """Wait for all."""
        waits = list(waits)
        return Waits(*(max(getattr(each, name) for each in waits)
                       for name in ("loads", "gathers", "reads", "writes")))


def _latest(array: np.ndarray, where: Runs) -> int:
    return max((int(array[run].max()) for run in where), default=0)


def _mark(array: np.ndarray, where: Runs, value: int) -> None:
    for run in where:
        array[run] = value
