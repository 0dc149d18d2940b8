"""Which accesses of the engines are ordered by the waits of a program: a race detector.

Every event of an engine gets a clock: for each of the four counters the value that it is sure to
have reached by then. Two accesses of one vector of memory, one of them a write, must be ordered.
"""

from __future__ import annotations

import numpy as np

__all__ = ["EVENTS", "MachineError", "Order", "VectorMemory"]

EVENTS = ("loads", "gathers", "reads", "writes")

Clock = tuple[int, int, int, int]
START: Clock = (0, 0, 0, 0)


class MachineError(Exception):
    """A program did what the machine does not allow; the message names the instruction."""


def _latest(*clocks: Clock) -> Clock:
    return tuple(map(max, zip(*clocks, strict=True)))


def _at_least(clock: Clock, event: str, count: int) -> Clock:
    index = EVENTS.index(event)
    return (*clock[:index], max(clock[index], count), *clock[index + 1:])


class Order:
    """The clocks of all events so far; instructions come in program order."""

    def __init__(self) -> None:
        self.clocks: dict[str, list[Clock]] = {event: [START] for event in EVENTS}

    def count(self, event: str) -> int:
        return len(self.clocks[event]) - 1

    def waited(self, header: dict[str, int]) -> Clock:
        """What is sure when the counters have reached the header's values.

        An instruction may only wait for instructions before it in the program.
        """
        known = START
        for event in EVENTS:
            if header[event] > self.count(event):
                raise MachineError(f"waits for {header[event]} {event}, only {self.count(event)} "
                                   "come before it")
            known = _latest(known, self.clocks[event][header[event]])
        return known

    def transfer(self, event: str, known: Clock) -> Clock:
        """A LOAD (`loads`) or GATHER (`gathers`) starts: after the one before it."""
        return _latest(known, self.clocks[event][-1])

    def transferred(self, event: str, known: Clock) -> None:
        self.clocks[event].append(_at_least(known, event, self.count(event) + 1))

    def begin_pass(self, known: Clock, chained: bool) -> Clock:
        """A pass starts: the one before it has read; if `chained` has also written."""
        known = _latest(known, self.clocks["reads"][-1])
        return _latest(known, self.clocks["writes"][-1]) if chained else known

    def end_pass(self, known: Clock) -> None:
        read = _at_least(known, "reads", self.count("reads") + 1)
        self.clocks["reads"].append(read)
        written = _latest(read, self.clocks["writes"][-1])
        self.clocks["writes"].append(_at_least(written, "writes", self.count("writes") + 1))


class VectorMemory:
    """Vectors of 16 bytes with the last access of each kind.

    `after[kind]` holds for every vector the value of the counter `kind` once its last access by
    that kind of event is over: `loads` and `gathers` write the activation memory and read the
    external one; `reads` are those of passes, `writes` their results.
    """

    def __init__(self, name: str, data: np.ndarray, valid: np.ndarray):
        self.name, self.data, self.valid = name, data, valid
        self.after = {event: np.zeros(len(data), np.int32) for event in EVENTS}
        self.frozen = np.zeros(len(data), bool)

    def check(self, addresses: np.ndarray, known: Clock, kinds: tuple[str, ...]) -> None:
        """The last accesses of `kinds` are over by `known`."""
        if addresses.size == 0:
            return
        low, high = int(addresses.min()), int(addresses.max())
        if low < 0 or high >= len(self.data):
            raise MachineError(f"{self.name} address {low if low < 0 else high} is outside "
                               f"{len(self.data)} vectors")
        for kind in kinds:
            late = self.after[kind][addresses]
            worst = int(late.argmax())
            if late.flat[worst] > known[EVENTS.index(kind)]:
                raise MachineError(
                    f"race at {self.name} address {int(addresses.flat[worst])}: it needs "
                    f"{kind} >= {int(late.flat[worst])}, but is only sure of "
                    f"{known[EVENTS.index(kind)]}")

    def read(self, addresses: np.ndarray, known: Clock, kinds: tuple[str, ...]) -> np.ndarray:
        """The vectors; all must have been written, by accesses that are over."""
        self.check(addresses, known, kinds)
        valid = self.valid[addresses]
        if not valid.all():
            where = int(addresses[~valid].flat[0])
            raise MachineError(f"reads {self.name} address {where}, which nothing has written")
        return self.data[addresses]

    def write(self, addresses: np.ndarray, vectors: np.ndarray, known: Clock,
              kinds: tuple[str, ...], event: str, count: int) -> None:
        self.check(addresses, known, kinds)
        if self.frozen[addresses].any():
            raise MachineError(f"overwrites instructions or weights in {self.name}")
        self.data[addresses] = vectors
        self.valid[addresses] = True
        self.after[event][addresses] = count

    def mark(self, addresses: np.ndarray, event: str, count: int) -> None:
        self.after[event][addresses] = count
