"""Instructions on their way: fetch, queues, transfers, passes."""

from __future__ import annotations

from collections import deque
from math import ceil

from hw import dispatch
from hw.isa import PIXELS_PER_VECTOR, Opcode

from ..estimate import window_cycles
from ..layers import ceil_div
from .events import Counter, Process
from .passes import Pass, passes_of
from .state import State

__all__ = ["Control"]

START = 0
"""Cycles from the start to the first request of the program."""
DECODE = 2
"""Cycles from the last word of an instruction to its queue, beside ``_check_cycles``."""
SCAN_PHASE = 11
"""Cycle, modulo `dispatch.SCAN`, in which the first event of the first queue is looked at."""
OPENED = 2
"""Cycles from the look at the last event of a head to its offer."""
GATHER_START = 3
ROW_END = 2
"""Cycles between two output rows."""
GATHER_END = 5
"""Cycles from the last chunk of a window to the event ``gathers``."""
LOADED = 2
"""Cycles from the last vector to the event ``loads``."""


def _check_cycles(opcode: Opcode, operand: dict) -> int:
    """Of `hw.operand_check`: products are checked by subtraction."""
    if opcode not in (Opcode.CONV, Opcode.FIRE):
        return 1
    walk, pool = operand["main"]["walk"], operand["main"]["pool"]
    times = [walk["kernel"] ** 2 * (walk["groups_b"] > 0) + (walk["groups_a"] > 0),
             1, walk["steps"], 0, 0, 0, 0]
    if opcode == Opcode.FIRE:
        times[3:5] = 1, operand["squeeze"]["walk"]["steps"]
    if pool["enable"]:
        times[5:] = pool["rows"], walk["groups_a"] + walk["groups_b"]
    return 1 + 2 * len(times) + sum(times)


class Control:
    """`hw.dispatch`, `hw.loader`, `hw.gather`, `hw.fire_sequencer` and the pass fork."""

    def __init__(self, state: State):
        self.state, self.events = state, state.events
        # Instructions put into each queue, and taken out of it.
        self.queued = {name: Counter(self.events) for name in dispatch.QUEUES}
        self.popped = {name: Counter(self.events) for name in dispatch.QUEUES}
        self.queues: dict[str, deque] = {name: deque() for name in dispatch.QUEUES}
        self.waited = dict.fromkeys(dispatch.QUEUES, "")
        for process in (self._dispatch(), self._weights(), self._loads(), self._gathers(),
                        self._compute(), self._walk()):
            self.events.start(process)

    def _dispatch(self) -> Process:
        state, events = self.state, self.events
        opcodes = {opcode: name for name, (_, _, its) in dispatch.QUEUES.items() for opcode in its}
        depths = {name: depth for name, (_, depth, _) in dispatch.QUEUES.items()}
        yield START
        for index, (opcode, header, operand) in enumerate(state.instructions):
            state.fetch.transfer(state.code_address + index * dispatch.BEATS, dispatch.BEATS)
            yield state.fetch.arrived, state.fetch.total
            if opcode == Opcode.END:
                return
            name = opcodes[opcode]
            yield events.now + DECODE + _check_cycles(opcode, operand)
            yield self.popped[name], self.queued[name].value + 1 - depths[name]
            self.queues[name].append((opcode, header, operand))
            self.queued[name].add()
            if name == "compute":
                state.heads.append((events.now + 1, header["layer"]))

    def _head(self, name: str) -> Process:
        """Waits until the head of a queue may start; its instruction is then `queues[name][0]`."""
        place = list(dispatch.QUEUES).index(name)
        position = self.popped[name].value + 1
        yield self.queued[name], position
        # It moves through the registers of the queue, behind the one before.
        yield max(self.queued[name].time(position) + dispatch.QUEUES[name][1], self.events.now + 1)
        ready = self.events.now
        header = self.queues[name][0][1]
        self.waited[name] = ""
        for index, event in enumerate(dispatch.EVENTS):
            happened = self.state.happened[event]
            if happened.value < header[event]:
                self.waited[name] = event
                yield happened, header[event]
                ready = max(ready, self.events.now - index)
        first = SCAN_PHASE + place * len(dispatch.EVENTS)
        turn = first + ceil((ready - first) / dispatch.SCAN) * dispatch.SCAN
        yield turn + len(dispatch.EVENTS) - 1 + OPENED

    def _pop(self, name: str) -> dict:
        """Takes the head out; gives its operand."""
        _, header, operand = self.queues[name].popleft()
        self.popped[name].add()
        if name in ("load", "gather"):
            self.state.fetched.setdefault(header["layer"], self.events.now)
        return operand

    def _weights(self) -> Process:
        ring = self.state.ring
        while True:
            yield from self._head("weights")
            yield ring.accepted, self.popped["weights"].value
            operand = self._pop("weights")
            ring.transfer(operand["address"], operand["count"])

    def _loads(self) -> Process:
        load = self.state.load
        asked = 0
        while True:
            yield from self._head("load")
            yield load.accepted, asked
            operand = self._pop("load")
            for plane in range(operand["planes"]):
                yield load.accepted, asked - 1
                asked += 1
                load.transfer(operand["address"] + plane * operand["stride"], operand["count"])
            self.events.start(self._loaded(load.total))

    def _loaded(self, total: int) -> Process:
        yield self.state.load.arrived, total
        yield self.events.now + LOADED
        self.state.happened["loads"].add()

    def _gathers(self) -> Process:
        """Rows of the image run ahead as far as the line memory reaches."""
        state, events = self.state, self.events
        fetched = before = 0
        while True:
            yield from self._head("gather")
            operand = self._pop("gather")
            yield events.now + GATHER_START
            kernel, row_vectors = operand["kernel"], operand["row_vectors"]
            if operand["first"]:
                fetched, before = 0, state.gather.total
            tops = [row * operand["stride"] - operand["pad_top"]
                    for row in range(operand["row"], operand["row"] + operand["rows"])]
            end = min(tops[-1] + kernel, operand["height"])
            takes = operand["out_width"] * window_cycles(kernel)
            writes = operand["out_width"] * ceil_div(kernel ** 2, PIXELS_PER_VECTOR)
            for top in tops:
                while fetched < end and fetched - top < state.config.image_lines:
                    state.gather.transfer(operand["address"] + fetched * row_vectors, row_vectors)
                    fetched += 1
                yield (state.gather.arrived,
                       before + min(top + kernel, operand["height"]) * row_vectors)
                state.gathered.add(writes, events.now + takes, takes / writes)
                yield events.now + takes + ROW_END
            yield events.now + GATHER_END
            state.happened["gathers"].add()

    def _compute(self) -> Process:
        """Compute instructions to passes, each when all units have taken the one before."""
        state = self.state
        while True:
            yield from self._head("compute")
            opcode, header, operand = self.queues["compute"][0]
            for work in passes_of(opcode, header["layer"], operand, self.waited["compute"]):
                yield state.taken, len(state.passes)
                yield state.finishing, len(state.passes)
                self._bypass(work)
                state.passes.append(work)
                state.given.add()
                yield self.events.now + 1
            self._pop("compute")

    def _bypass(self, work: Pass) -> None:
        """Ask for the second operands of an addition."""
        if not work.work["finish"]["add"]:
            return
        for group in range(work.groups):
            first = 0
            for _, pixels in work.strips(self.state.config):
                for branch in work.branches(group):
                    self.state.residual.transfer(
                        work.place("residual", group, branch) + first, pixels)
                first += pixels

    def _walk(self) -> Process:
        """The walker takes a pass when it has come to the end of the one before."""
        state = self.state
        while True:
            number = state.taken.value
            yield state.given, number + 1
            yield state.walked, number
            yield self.events.now + 1
            state.taken.add()
