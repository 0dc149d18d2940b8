"""What each unit does in each cycle, seen from its ports: states for the counters, and tracks."""

from dataclasses import dataclass

from amaranth.hdl import Signal

from .dispatch import QUEUES
from .profile import UNITS, UnitState
from .stepper import Blocked

STALLS = {
    Blocked.WEIGHTS: UnitState.WAIT_WEIGHTS,
    Blocked.RESULTS: UnitState.WAIT_OUTPUT,
    Blocked.ORDER: UnitState.WAIT_ORDER,
}


@dataclass(frozen=True)
class Track:
    """A unit as a simulation shows it. ``begin`` and ``end``: first and last cycle of its work on
    an instruction (of each pass for the units of the compute queue). All are one cycle late."""

    state: Signal
    begin: Signal
    end: Signal


class Observer:
    """Adds to a module what derives the tracks of the units; every signal of a unit is registered
    first, so no path in a unit gets longer."""

    def __init__(self, m, running):
        self.m = m
        self.running = self.sampled(running)
        self.tracks: dict[str, Track] = {}

    def sampled(self, value, shape=1) -> Signal:
        register = Signal(shape)
        self.m.d.sync += register.eq(value)
        return register

    def taken(self, stream) -> Signal:
        return self.sampled(stream.valid & stream.ready)

    def refused(self, stream) -> Signal:
        return self.sampled(stream.valid & ~stream.ready)

    def track(self, name: str, *choices, begin=None, work=None, end=0):
        """``choices``: (condition, state), the first one that holds counts, else IDLE. Without
        ``begin`` an instruction begins with the first ``work`` after the end of the one before."""
        m = self.m
        state = Signal(UnitState, name=f"{name}_state")
        for condition, value in reversed(choices):
            with m.If(condition):
                m.d.comb += state.eq(value)
        if begin is None:
            under_way = Signal(name=f"{name}_under_way")
            begin, finish = work & ~under_way, end & (under_way | work)
            m.d.sync += under_way.eq((under_way | work) & ~end & self.running)
            end = finish
        first, last = Signal(name=f"{name}_begin"), Signal(name=f"{name}_end")
        m.d.comb += [first.eq(begin), last.eq(end)]
        self.tracks[name] = Track(state, first, last)

    def observe(self, dispatch, engine, ring, load, gather, finisher, pool, store, residual):
        """The tracks of all units, in the order of ``UNITS``."""
        gated = dict(zip(QUEUES, self.sampled(dispatch.gated, len(QUEUES)), strict=True))
        fetch = self.sampled(dispatch.state, UnitState)

        issued = self.sampled(engine.issued)
        blocked = self.sampled(engine.blocked, Blocked)
        waiting = self.sampled(dispatch.waiting, UnitState)
        self.track(
            "array",
            (issued, UnitState.BUSY),
            (blocked == Blocked.RESULTS, UnitState.WAIT_OUTPUT),
            (blocked == Blocked.ORDER, UnitState.WAIT_ORDER),
            (self.sampled(engine.walking), UnitState.WAIT_WEIGHTS),
            (waiting != UnitState.IDLE, waiting),
            (fetch == UnitState.DRAIN, UnitState.DRAIN),
            work=issued, end=self.sampled(engine.ends))

        loading = self.sampled(engine.loading)
        loading_blocked = self.sampled(engine.loading_blocked, Blocked)
        self.track(
            "tiles",
            *((loading_blocked == why, state) for why, state in STALLS.items()),
            (loading, UnitState.BUSY),
            (self.sampled(engine.walking), UnitState.WAIT_INPUT),
            work=loading, end=self.sampled(engine.loading_ends))

        # The end of a WEIGHTS is seen by counting its vectors.
        self.track(
            "weights",
            (self.sampled(ring.client.data.valid), UnitState.BUSY),
            (self.sampled(ring.full), UnitState.WAIT_OUTPUT),
            (~self.sampled(ring.idle), UnitState.WAIT_MEMORY),
            (gated["weights"], UnitState.WAIT_ORDER),
            begin=self.taken(ring.command))
        self.track(
            "load",
            (self.sampled(load.write.valid), UnitState.BUSY),
            (self.sampled(load.full), UnitState.WAIT_OUTPUT),
            (~self.sampled(load.idle), UnitState.WAIT_MEMORY),
            (gated["load"], UnitState.WAIT_ORDER),
            begin=self.taken(load.command), end=self.sampled(load.done))
        self.track(
            "gather",
            (self.refused(gather.write), UnitState.WAIT_OUTPUT),
            (self.sampled(gather.starved), UnitState.WAIT_MEMORY),
            (~self.sampled(gather.idle), UnitState.BUSY),
            (gated["gather"], UnitState.WAIT_ORDER),
            begin=self.taken(gather.command), end=self.sampled(gather.done))

        taking = self.sampled(finisher.taking)
        finished = self.sampled(finisher.command.ready)
        self.track(
            "finish",
            (taking, UnitState.BUSY),
            (self.sampled(finisher.starved), UnitState.WAIT_MEMORY),
            (self.refused(finisher.output), UnitState.WAIT_OUTPUT),
            (self.sampled(finisher.results.valid), UnitState.WAIT_ORDER),
            (~self.sampled(finisher.idle), UnitState.WAIT_INPUT),
            work=taking, end=finished)

        given = self.taken(pool.output)
        passes = self.sampled(~store.command.ready)
        self.track(
            "store",
            (given | self.taken(pool.input), UnitState.BUSY),
            (self.refused(store.write), UnitState.WAIT_OUTPUT),
            (self.refused(pool.output), UnitState.WAIT_MEMORY),
            (passes, UnitState.WAIT_INPUT),
            (~self.sampled(store.idle), UnitState.DRAIN),
            work=given, end=given & ~passes)

        operand = self.taken(residual.output)
        self.track(
            "residual",
            (operand, UnitState.BUSY),
            (self.refused(residual.output), UnitState.WAIT_OUTPUT),
            (~self.sampled(residual.idle), UnitState.WAIT_MEMORY),
            work=operand, end=finished)
        self.track(
            "dispatch", (fetch != UnitState.IDLE, fetch),
            work=fetch != UnitState.IDLE,
            end=self.sampled(dispatch.passed | dispatch.finished))
        return [self.tracks[name] for name in UNITS]
