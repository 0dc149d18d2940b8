"""Discrete events: a clock, processes that wait for times and counters, nothing about the core."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator
from types import GeneratorType

__all__ = ["Counter", "Events", "Process"]

Process = Generator["float | tuple[Counter, int]", None, None]
"""Yields a time to sleep until, or (counter, value) to wait until the counter has reached it."""


class Events:
    """The clock. Times are cycles and never decrease; equal times keep the order of their calls."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = 0
        self._heap: list[tuple[float, int, Process | Callable[[], None]]] = []

    def at(self, time: float, what: Process | Callable[[], None]) -> None:
        """Call a function, or go on with a process, at `time` (now, if that is over)."""
        self._order += 1
        heapq.heappush(self._heap, (max(time, self.now), self._order, what))

    def start(self, process: Process) -> None:
        self.at(self.now, process)

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._heap:
            self.now, _, what = heapq.heappop(self._heap)
            if type(what) is GeneratorType:
                self._resume(what)
            else:
                what()

    def _resume(self, process: Process) -> None:
        for wish in process:
            if type(wish) is tuple:
                counter, value = wish
                if counter.value < value:
                    counter.waiters.append((value, process))
                    return
            elif wish > self.now:
                self.at(wish, process)
                return


class Counter:
    """Counts up; remembers when it reached what, which may lie in the future where it is known."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.value = 0
        self.waiters: list[tuple[int, Process]] = []
        self._values: list[int] = []
        self._times: list[float] = []
        self._each: list[float] = []

    def add(self, count: int = 1, time: float | None = None, each: float = 0.0) -> None:
        """`count` more by `time` (now), the last ones `each` cycles apart. Times never decrease."""
        self.value += count
        self._values.append(self.value)
        self._times.append(self.events.now if time is None else time)
        self._each.append(each)
        if self.waiters:
            waiters, self.waiters = self.waiters, []
            for value, process in waiters:
                if value <= self.value:
                    self.events.at(self.events.now, process)
                else:
                    self.waiters.append((value, process))

    def time(self, value: int) -> float:
        """When the counter reached `value`, which it has; 0 was there from the beginning."""
        if value <= 0:
            return 0.0
        place = bisect_left(self._values, value)
        return self._times[place] - (self._values[place] - value) * self._each[place]

    def reached(self, time: float) -> float:
        """How far it has come by `time`, as far as that is known."""
        place = bisect_right(self._times, time)
        before = self._values[place - 1] if place else 0
        if place == len(self._times) or not self._each[place]:
            return before
        return max(before, self._values[place] - (self._times[place] - time) / self._each[place])
