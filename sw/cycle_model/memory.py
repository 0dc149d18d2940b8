"""Model of external memory: bursts of all clients on one bus, at the granularity of a burst."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hw.config import VECTOR

from ..errors import UserError
from .events import Counter, Events

__all__ = ["LITEDRAM", "LITEDRAM_SDR", "Bus", "Memory", "Reader"]

REQUEST = 3
"""Cycles from a reader's credit to AR."""
RETURN = 1
"""Cycles from a beat on the bus to the reader's client."""
PICKED = 2
"""Bursts that the arbiter holds beyond those that the memory accepts."""


@dataclass(frozen=True)
class Memory:
    """External memory as the model sees it.

    `latency`: cycles from a read address to its first beat, and from the last beat of a write to
    its response. `width`: bytes a cycle, reads and writes together; a direction moves at most 16.
    `max_reads`, `max_writes`: bursts accepted and not answered; `write_queue`: beats of writes
    accepted and not moved. `turn`: cycles lost when the
    direction changes, after `turn_bursts` bursts if both directions have some; `row_change`: cycles
    lost when a burst is in another row of `row_vectors` than the one before.
    """

    latency: float = 30
    width: float = 16
    max_reads: int = 8
    max_writes: int = 8
    write_queue: int = 32
    turn: float = 0
    turn_bursts: int = 1
    row_change: float = 0
    row_vectors: int = 128

    def __post_init__(self):
        if not 1 <= self.latency <= 100_000:
            raise UserError(f"memory latency is {self.latency}, supported: 1 to 100000")
        if not 1 <= self.width <= 32:
            raise UserError(f"memory width is {self.width}, supported: 1 to 32")

    @property
    def rate(self) -> float:
        """Vectors a cycle in one direction."""
        return min(self.width / VECTOR, 1.0)


LITEDRAM = Memory(latency=22, width=15.4, max_reads=16, max_writes=31, write_queue=0, turn=10,
                  turn_bursts=4, row_change=8)
"""LiteDRAM's controller with a DDR3 memory (`hw.litedram`), its refreshes spread over the bytes of
a cycle. From measured streams of 16 vectors: one reads 89 % of the time, two from different rows
66 %, one writes 88 %, one reads and one writes 78 %."""
LITEDRAM_SDR = Memory(latency=12, width=1.95, max_reads=16, max_writes=31, write_queue=0, turn=2,
                      turn_bursts=4, row_change=5, row_vectors=64)
"""The same with an SDR SDRAM of 16 bits. Measured streams of bursts of 16 vectors, in cycles a
burst: one reads 132.7, two from different rows 136.4, one writes 134.3, one reads and one writes
134.1; of 4 vectors: 33.2 and 38.0."""


class Bus:
    """Reads in the order in which the arbiter picks them, writes in order, both in turn."""

    def __init__(self, events: Events, memory: Memory):
        self.events, self.memory = events, memory
        self.clients: list[Reader] = []
        self._last = 0
        self._reads: deque[list] = deque()
        """[client, (address, beats), time of the first beat]; the first `max_reads` are in the
        memory."""
        self._writes: deque[tuple[int, int, float, Callable[[], None] | None]] = deque()
        self._unanswered = 0
        self._free = self._read_free = self._write_free = 0.0
        self._wrote, self._turn, self._row = True, 0, -1
        self._wake = float("inf")
        self.written = Counter(events)
        """Beats that the memory has taken from its write queue."""

    # -- reads

    def pick(self) -> None:
        """A client has a request, or a place has become free."""
        reads, clients = self._reads, self.clients
        room = self.memory.max_reads + PICKED
        while len(reads) < room:
            for distance in range(1, len(clients) + 1):
                index = (self._last + distance) % len(clients)
                if clients[index].pending:
                    break
            else:
                return
            self._last = index
            reads.append([clients[index], clients[index].pending, None])
            clients[index].pending = None
            clients[index].cut()
            if len(reads) <= self.memory.max_reads:
                self._accept(reads[-1], REQUEST)

    def _accept(self, burst: list, delay: float) -> None:
        burst[2] = self.events.now + delay + self.memory.latency
        self._plan()

    # -- writes

    def write(self, address: int, beats: int, time: float,
              answered: Callable[[], None] | None = None) -> None:
        """A burst, whole at `time`; `answered` is called when its response has come."""
        self._writes.append((address, beats, time, answered))
        self._plan()

    # -- the bus

    def _plan(self) -> None:
        """Look at the bus as soon as a burst can begin."""
        start = float("inf")
        if self._reads and self._reads[0][2] is not None:
            start = max(self._reads[0][2], self._read_free)
        if self._writes and self._unanswered < self.memory.max_writes:
            start = min(start, max(self._writes[0][2], self._write_free))
        start = max(start, self._free, self.events.now)
        if start < self._wake:
            self._wake = start
            self.events.at(start, self._serve)

    def _serve(self) -> None:
        now = self.events.now
        if now < self._wake:
            return
        self._wake = float("inf")
        if now >= self._free:
            read = bool(self._reads) and self._reads[0][2] is not None \
                and max(self._reads[0][2], self._read_free) <= now
            write = bool(self._writes) and self._unanswered < self.memory.max_writes \
                and max(self._writes[0][2], self._write_free) <= now
            stay = self._turn < self.memory.turn_bursts
            if write and (not read or self._wrote == stay):
                self._serve_write(now)
            elif read:
                self._serve_read(now)
        self._plan()

    def _occupy(self, now: float, address: int, beats: int, write: bool) -> float:
        """Take the bus; gives the time at which the last beat has moved."""
        memory = self.memory
        row = address // memory.row_vectors
        lost = (memory.turn if write != self._wrote else 0) \
            + (memory.row_change if row != self._row else 0)
        self._turn = 1 if write != self._wrote else self._turn + 1
        self._wrote, self._row = write, row
        self._free = now + lost + beats * VECTOR / memory.width
        return now + lost + beats * max(1.0, VECTOR / memory.width)

    def _serve_read(self, now: float) -> None:
        client, (address, beats), _ = self._reads.popleft()
        end = self._read_free = self._occupy(now, address, beats, False)
        self.events.at(end + RETURN, lambda: client.deliver(beats))
        if len(self._reads) >= self.memory.max_reads:
            self._accept(self._reads[self.memory.max_reads - 1], end - now + 1)
        self.pick()

    def _serve_write(self, now: float) -> None:
        address, beats, _, answered = self._writes.popleft()
        end = self._write_free = self._occupy(now, address, beats, True)
        self.written.add(beats, end)
        self._unanswered += 1

        def answer() -> None:
            self._unanswered -= 1
            if answered:
                answered()
            self._plan()

        self.events.at(end + self.memory.latency, answer)


class Reader:
    """A client that reads: transfers become bursts, as far as its credit of vectors reaches.

    `arrived` counts vectors. Their credit comes back at once, or with `take` if `hold`.
    """

    def __init__(self, bus: Bus, credit: int, burst: int, hold: bool = False):
        self.bus, self.credit, self.burst, self.hold = bus, credit, burst, hold
        self.arrived = Counter(bus.events)
        self.accepted = Counter(bus.events)
        """Transfers whose last burst, but one, is cut."""
        self.pending: tuple[int, int] | None = None
        """Address and beats of the burst that waits for the arbiter."""
        self.total = 0
        """Vectors of all transfers so far."""
        self._transfers: deque[tuple[int, int]] = deque()
        self._address = self._left = 0
        bus.clients.append(self)

    def transfer(self, address: int, count: int) -> None:
        """`count` vectors, at least 1, from `address` on."""
        self.total += count
        self._transfers.append((address, count))
        self.advance()

    def advance(self) -> None:
        """Something may have become possible."""
        if not self.pending and (self._left or self._transfers):
            self.cut()
            if self.pending:
                self.bus.pick()

    def cut(self) -> None:
        """The next burst, if there is credit for a longest one."""
        if not self._left and self._transfers:
            self._address, self._left = self._transfers.popleft()
            self.accepted.add()
        if self._left and self.affordable():
            beats = min(self._left, self.burst - self._address % self.burst)
            self.pending = self._address, beats
            self._address += beats
            self._left -= beats
            self.pay(beats)

    def affordable(self) -> bool:
        return self.credit >= self.burst

    def pay(self, beats: int) -> None:
        self.credit -= beats

    def deliver(self, beats: int) -> None:
        self.arrived.add(beats)
        if not self.hold:
            self.take(beats)

    def take(self, count: int) -> None:
        """The credit of `count` vectors is back."""
        self.credit += count
        self.advance()
