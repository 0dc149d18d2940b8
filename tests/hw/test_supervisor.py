"""The supervisor: starts, ends, first fault, drain, watchdog, soft reset, and recovery."""

import pytest

from hw.isa import Error
from hw.supervisor import RESET_CYCLES, Supervisor
from tests.hw.streams import simulate, ticked

START = 2 * RESET_CYCLES + 2
"""Cycles from start to run_start."""


class Bench:
    """The supervisor's surroundings, driven by hand; every cycle is checked and recorded."""

    def __init__(self, ctx, dut, watchdog=50):
        self.ctx, self.dut = ctx, dut
        self.resets = self.starts = 0
        ctx.set(dut.axi_idle, 1)
        ctx.set(dut.watchdog, watchdog)

    async def tick(self, cycles=1, **inputs):
        """Hold the inputs for so many cycles, then clear them."""
        ctx, dut = self.ctx, self.dut
        for name, value in inputs.items():
            ctx.set(getattr(dut, name), value)
        for _ in range(cycles):
            reset, start, halt, busy, idle = await ticked(
                ctx, dut.reset, dut.run_start, dut.halt, dut.busy, dut.axi_idle)
            self.resets += reset
            self.starts += start
            assert not reset or (idle and halt and busy), "reset with AXI at work"
            assert halt or busy, "masters released without a run"
            assert not (reset and start)
        for name in inputs:
            ctx.set(getattr(dut, name), 0)

    async def fault(self, source, code, index):
        self.ctx.set(self.dut.faults[source], {"valid": 1, "code": code, "index": index})
        await self.tick()
        self.ctx.set(self.dut.faults[source].valid, 0)

    def status(self):
        """(busy, done, error, code, index)"""
        get, dut = self.ctx.get, self.dut
        return (get(dut.busy), get(dut.done), get(dut.error), Error(get(dut.error_code)),
                get(dut.error_index))

    async def start(self):
        """Start; at the return the run is in its first cycle."""
        resets, starts = self.resets, self.starts
        await self.tick(start=1)
        await self.tick(START - 1)
        assert self.starts == starts and not self.ctx.get(self.dut.running)
        await self.tick()
        assert self.starts == starts + 1 and self.resets == resets + RESET_CYCLES
        assert self.ctx.get(self.dut.running) and not self.ctx.get(self.dut.halt)
        assert self.status() == (1, 0, 0, Error.NONE, 0)

    async def good_run(self):
        await self.start()
        await self.tick(120, progress=1)
        await self.tick(finished=1)
        assert self.status() == (0, 1, 0, Error.NONE, 0)
        assert not self.ctx.get(self.dut.running) and self.ctx.get(self.dut.halt)


def run(test, watchdog=50):
    dut = Supervisor(3)

    async def bench(ctx):
        await test(Bench(ctx, dut, watchdog))

    simulate(dut, bench)


IDLE = (0, 0, 0, Error.NONE, 0)


def test_runs():
    """Two runs after each other; each begins with a reset and ends with done."""
    async def test(b):
        assert b.status() == IDLE
        await b.good_run()
        await b.tick(30)
        assert b.status() == (0, 1, 0, Error.NONE, 0)
        await b.good_run()
        assert b.starts == 2
    run(test)


@pytest.mark.parametrize("source", range(3))
def test_first_fault(source):
    """The first fault is kept, masters halt at once, the error shows when AXI is drained."""
    async def test(b):
        await b.start()
        await b.tick(axi_idle=0)
        await b.fault(source, Error.WINDOW, 77)
        assert b.ctx.get(b.dut.halt) and not b.ctx.get(b.dut.running)
        await b.fault((source + 1) % 3, Error.READ, 5)
        await b.tick(finished=1)
        await b.tick(20, axi_idle=0)
        assert b.status() == (1, 0, 1, Error.WINDOW, 77)
        await b.tick(2, axi_idle=1)
        assert b.status() == (0, 0, 1, Error.WINDOW, 77)
        b.ctx.set(b.dut.axi_idle, 1)
        await b.good_run()
    run(test)


def test_simultaneous_faults():
    """Of two faults in one cycle the lower source counts, and a fault beats finished."""
    async def test(b):
        await b.start()
        b.ctx.set(b.dut.faults[2], {"valid": 1, "code": Error.READ, "index": 2})
        b.ctx.set(b.dut.finished, 1)
        await b.fault(1, Error.OPERAND, 1)
        b.ctx.set(b.dut.faults[2].valid, 0)
        await b.tick()
        assert b.status() == (0, 0, 1, Error.OPERAND, 1)
    run(test)


def test_faults_outside_a_run_do_not_count():
    async def test(b):
        await b.fault(0, Error.READ, 3)
        assert b.status() == IDLE
        await b.good_run()
        await b.fault(0, Error.READ, 3)
        assert b.status() == (0, 1, 0, Error.NONE, 0)
    run(test)


@pytest.mark.parametrize("watchdog", (1, 2, 50))
def test_watchdog(watchdog):
    """A run ends ``watchdog`` cycles after its last progress, with the active instruction."""
    async def test(b):
        b.ctx.set(b.dut.active_index, 9)
        await b.start()
        await b.tick(3 * watchdog, progress=1)
        await b.tick(watchdog)
        assert b.status() == (1, 0, 0, Error.NONE, 0)
        await b.tick()
        assert b.status() == (0, 0, 1, Error.TIMEOUT, 9)
        assert b.ctx.get(b.dut.halt)
        b.ctx.set(b.dut.watchdog, 50)
        await b.good_run()
    run(test, watchdog)


def test_watchdog_off():
    async def test(b):
        await b.start()
        await b.tick(500)
        assert b.status() == (1, 0, 0, Error.NONE, 0)
    run(test, 0)


def test_hanging_bus():
    """With AXI stuck a run, a fault and a reset all end; the core is reset only when it drains."""
    async def test(b):
        await b.start()
        b.ctx.set(b.dut.axi_idle, 0)
        await b.tick(52)
        assert b.status() == (0, 0, 1, Error.TIMEOUT, 0)
        resets = b.resets
        await b.tick(soft_reset=1)
        assert b.status() == (1, 0, 0, Error.NONE, 0)
        await b.tick(52)
        assert b.status() == (0, 0, 1, Error.TIMEOUT, 0)
        await b.tick(start=1)
        await b.tick(20)
        assert b.resets == resets
        b.ctx.set(b.dut.axi_idle, 1)
        await b.tick(START + 1)
        assert b.resets == resets + RESET_CYCLES
        assert b.ctx.get(b.dut.running)
        # A fault that cannot drain keeps its code.
        b.ctx.set(b.dut.axi_idle, 0)
        await b.fault(1, Error.WRITE, 4)
        await b.tick(52)
        assert b.status() == (0, 0, 1, Error.WRITE, 4)
    run(test)


def test_slow_drain_is_not_stuck():
    """Beats that still come keep a drain alive."""
    async def test(b):
        await b.start()
        b.ctx.set(b.dut.axi_idle, 0)
        await b.fault(0, Error.WINDOW, 1)
        for _ in range(10):
            await b.tick(30)
            await b.tick(progress=1)
            assert b.status()[0] == 1
        b.ctx.set(b.dut.axi_idle, 1)
        await b.tick()
        assert b.status() == (0, 0, 1, Error.WINDOW, 1)
    run(test)


@pytest.mark.parametrize("after", (0, 1, 3, 8, 11, 12, 20))
def test_soft_reset_any_time(after):
    """A soft reset at any moment of a start or run ends it; the next run is good."""
    async def test(b):
        await b.tick(start=1)
        await b.tick(after)
        await b.tick(soft_reset=1)
        starts = b.starts
        await b.tick(30)
        assert b.status() == IDLE and b.starts == starts
        assert b.resets >= RESET_CYCLES
        await b.good_run()
    run(test)


@pytest.mark.parametrize("gap", (0, 1, 4, 7, 8, 9, 20))
def test_start_after_soft_reset_is_kept(gap):
    """A start while the reset works, or in the same cycle or after it, runs once."""
    async def test(b):
        await b.start()
        b.ctx.set(b.dut.axi_idle, 0)
        if gap == 0:
            await b.tick(soft_reset=1, start=1)
        else:
            await b.tick(soft_reset=1)
            b.ctx.set(b.dut.axi_idle, 1)
            await b.tick(gap - 1)
            await b.tick(start=1)
        b.ctx.set(b.dut.axi_idle, 1)
        await b.tick(START + 2)
        assert b.starts == 2
        assert b.ctx.get(b.dut.running)
        await b.tick(start=1)
        await b.tick(START + 2)
        assert b.starts == 2, "a start during a run is ignored"
    run(test)
