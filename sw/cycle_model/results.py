"""Results on their way: requantisers, pooling, store."""

from __future__ import annotations

from hw import finish, requantise
from hw.store import IDLE_CYCLES, PAGE_VECTORS

from ..estimate import result_cycles
from .events import Process
from .passes import Pass
from .state import Batch, State

__all__ = ["Results"]

STAGE = requantise.LATENCY + 2
"""Cycles of a vector in the requantisers."""
POOL = 7
"""Cycles from the requantisers to the store."""
TO_STORE = STAGE + POOL
STORED = 5
"""Cycles from there to the event ``writes``, if it is the activation memory."""
AVERAGED = STAGE + 18
"""Cycles for which the sums of a group hold up the next results."""
STORE_HOLDS = 24
"""Finished vectors that the store holds before results stop. It has 32 places; the model frees
those of a burst when it is over, so that a half of one counts as taken."""
PIECE = 16
"""Results that are finished at once where something may hold them up."""

BLOCKED = 0.7
"""Share of the cycles of a LOAD in which the store has something to write and waits: measured with
1024 lanes, v1.1's third Fire, pooled on its way to the activation memory."""


class Results:
    """`hw.finish`, `hw.pool` and `hw.store`: a vector in so many cycles, as long as there is room
    for it and its second operand has come; bursts to external memory."""

    def __init__(self, state: State):
        self.state, self.config = state, state.config
        self.free = 0.0
        self.held = STORE_HOLDS + finish.depth(self.config) - 2 + state.bus.memory.write_queue
        self.posted = 0
        """Vectors that went to external memory."""
        self.added = 0
        """Results that have met their second operand."""
        self._open = self._branch = self._address = 0
        self._last = 0.0
        state.events.start(self._run())

    def _run(self) -> Process:
        state = self.state
        number = batches = 0
        while True:
            yield state.given, number + 1
            yield self.free + STAGE
            state.finishing.add()
            work = state.passes[number]
            finishing = work.work["finish"]
            each = result_cycles(self.config, finishing["rescale"], finishing["add"],
                                 work.averages)
            emitted = work.emitted().tolist()
            for group in range(work.groups):
                branches = work.branches(group)
                position = [0, 0]
                while position[branches[-1]] < work.pixels:
                    for branch in branches:
                        batches += 1
                        yield state.batched, batches
                        batch = state.batches.popleft()
                        yield from self._batch(work, group, branch, batch, each,
                                               emitted[position[branch]:])
                        position[branch] += batch.vectors
                        if batch.group_end:
                            self._group_ends(work, number, group == work.groups - 1
                                             and branch == branches[-1])
                state.left.add(time=self.free + STAGE)
            number += 1

    def _batch(self, work: Pass, group: int, branch: int, batch: Batch, each: int,
               emitted: list[int]) -> Process:
        state, adds = self.state, work.work["finish"]["add"]
        self.free = max(self.free, batch.time)
        gone = 0
        piece = PIECE if work.external or adds else batch.vectors
        for first in range(0, batch.vectors, piece):
            last = min(first + piece, batch.vectors)
            outputs = emitted[last] - emitted[first]
            if adds:
                yield from self._second_operand(last - first)
            if work.external:
                yield from self._room(work, outputs)
            start = self.free
            self.free += (last - first) * each
            if outputs and not work.external:
                yield from self._after_loads(work, start)
            entries = batch.steps * last // batch.vectors - gone
            gone += entries
            state.gone.add(entries, self.free, each * batch.vectors / batch.steps)
            if outputs and work.external:
                self._store(branch, work.place("target", group, branch) + emitted[first], outputs,
                            start + TO_STORE, self.free + TO_STORE)
            elif outputs:
                state.stored.add(outputs, self.free + TO_STORE, (self.free - start) / outputs)

    def _after_loads(self, work: Pass, start: float) -> Process:
        """LOADs write to the activation memory first: meanwhile all before the store waits."""
        arrived, late, more = self.state.load.arrived, 0.0, 1.0
        while more > 0.5:
            yield self.free
            more = BLOCKED * (arrived.reached(self.free) - arrived.reached(start)) - late
            late += more
            self.free += more
        self.state.layers[work.layer].stored += late

    def _second_operand(self, count: int) -> Process:
        residual = self.state.residual
        self.added += count
        yield residual.arrived, self.added
        self.free = max(self.free, residual.arrived.time(self.added))
        residual.take(count)

    def _room(self, work: Pass, outputs: int) -> Process:
        """Until store and memory can hold so many vectors more."""
        written, needed = self.state.bus.written, self.posted + outputs - self.held
        if needed > 0:
            yield written, needed
            late = written.time(needed) - self.free
            if late > 0:
                self.state.layers[work.layer].stored += late
                self.free += late

    def _group_ends(self, work: Pass, number: int, pass_ends: bool) -> None:
        state = self.state
        time = self.free + TO_STORE
        if work.averages:
            self.free += AVERAGED
            time = self.free + POOL
        if work.external:
            self._flush(time, number if pass_ends else None)
        elif pass_ends:
            state.events.at(time + STORED, state.written(number))

    # -- bursts

    def _store(self, branch: int, address: int, count: int, start: float, end: float) -> None:
        """`count` vectors of a group from `address` on, evenly from `start` to `end`."""
        self.posted += count
        pace = (end - start) / count
        if branch != self._branch:
            self._flush(start + pace)
        elif self._last + IDLE_CYCLES < start + pace:
            self._flush(self._last + IDLE_CYCLES)
        self._branch, self._last = branch, end
        self._address = self._address if self._open else address
        while count:
            taken = min(count, self.config.burst - self._open,
                        PAGE_VECTORS - address % PAGE_VECTORS)
            self._open += taken
            address += taken
            count -= taken
            start += taken * pace
            if self._open == self.config.burst or address % PAGE_VECTORS == 0:
                self._flush(start)
                self._address = address

    def _flush(self, time: float, ends: int | None = None) -> None:
        """Send the burst at hand; the last of pass `ends`."""
        answered = None if ends is None else self.state.written(ends)
        if self._open or answered:
            self.state.bus.write(self._address, self._open, time, answered)
            self._open = 0
