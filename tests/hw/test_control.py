"""Registers, supervisor, dispatcher and read arbiter together, from the host's side.

The engines are a stub that takes every command and tells its events at once.
"""

import random

import pytest
from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring

from hw.config import Config
from hw.csr import OFFSETS, OKAY, CsrBank
from hw.dispatch import QUEUES, Dispatch
from hw.isa import Error, Opcode
from hw.read_arbiter import ReadArbiter
from hw.supervisor import Supervisor
from tests.hw.programs import good, instruction, vectors
from tests.hw.streams import axi_read_server, simulate, ticked
from tests.hw.test_csr import Host

CONFIG = Config()
BASE = 0x1000_0000
WINDOW = 1000
GOOD, BAD_OPCODE, BAD_OPERAND, NO_END, STUCK = 0, 100, 200, WINDOW - 8, 300
"""Where each program stands."""


class Control(wiring.Component):
    """The control part of a core."""

    def __init__(self):
        self.csr, self.supervisor = CsrBank(CONFIG), Supervisor(2)
        self.dispatch, self.arbiter = Dispatch(CONFIG), ReadArbiter(CONFIG, 1)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        csr, supervisor, dispatch, arbiter = (
            self.csr, self.supervisor, self.dispatch, self.arbiter)
        m.submodules += [csr, supervisor]
        m.submodules += [ResetInserter(supervisor.reset)(unit) for unit in (dispatch, arbiter)]
        wiring.connect(m, dispatch.client, arbiter.clients[0])
        for name in ("start", "soft_reset", "watchdog"):
            m.d.comb += getattr(supervisor, name).eq(getattr(csr, name))
        for name in ("busy", "done", "error", "error_code", "error_index", "running"):
            m.d.comb += getattr(csr, name).eq(getattr(supervisor, name))
        for fault, unit, index in (
            (supervisor.faults[0], dispatch, dispatch.fault_index),
            (supervisor.faults[1], arbiter, dispatch.fetch_index),
        ):
            m.d.comb += [
                fault.valid.eq(unit.fault), fault.code.eq(unit.fault_code), fault.index.eq(index),
            ]
        m.d.comb += [
            arbiter.window_base.eq(csr.window_base),
            arbiter.window_vectors.eq(csr.window_vectors),
            arbiter.halt.eq(supervisor.halt),
            supervisor.axi_idle.eq(arbiter.idle),
            supervisor.progress.eq(arbiter.beats),
            supervisor.finished.eq(dispatch.finished),
            supervisor.active_index.eq(dispatch.active[3]),
            dispatch.start.eq(supervisor.run_start),
            dispatch.program.eq(csr.program),
            dispatch.engines_idle.eq(1),
            dispatch.load_done.eq(dispatch.load.valid),
            dispatch.read_done.eq(dispatch.compute.valid),
            dispatch.write_done.eq(dispatch.compute.valid),
            csr.clear.eq(supervisor.reset),
            csr.read_beat.eq(arbiter.beats),
            *(getattr(dispatch, name).ready.eq(1) for name in QUEUES),
        ]
        return m


def memory_image():
    load, conv = (instruction(op, good(op, CONFIG)) for op in (Opcode.LOAD, Opcode.CONV))
    end = instruction(Opcode.END)
    late = instruction(Opcode.CONV, good(Opcode.CONV, CONFIG), loads=2)
    image = {}
    for start, program in {
        GOOD: [load, conv, load, late, end],
        BAD_OPCODE: [load, conv, instruction(77), end],
        BAD_OPERAND: [load, instruction(Opcode.LOAD, {"planes": 1}), end],
        NO_END: [load],
        STUCK: [conv, late, end],
    }.items():
        image |= dict(enumerate(vectors(program), start))
    return image


def run(bench, *, rate=1.0, seed=0, server=None, response=lambda address: 0):
    dut = Control()
    image = memory_image()
    rng = random.Random(seed)
    server = server or axi_read_server(
        dut.arbiter.axi, lambda address: image.get((address - BASE) // 16, 0), rng, rate, 10,
        response=response)
    host = Host(dut.csr.bus, random.Random(seed + 1), rate)

    async def main(ctx):
        for name, value in {"WINDOW_BASE": BASE, "WINDOW_VECTORS": WINDOW,
                            "WATCHDOG": 400}.items():
            assert await host.write(ctx, OFFSETS[name], value) == OKAY
        await bench(ctx, dut, host)

    simulate(dut, main, background=(server,))


async def status(ctx, host):
    """(busy, done, error, code, index)"""
    word, _ = await host.read(ctx, OFFSETS["STATUS"])
    index, _ = await host.read(ctx, OFFSETS["ERROR_INSTRUCTION"])
    return word & 1, word >> 1 & 1, word >> 2 & 1, Error(word >> 8), index


async def execute(ctx, host, program, command=1):
    """Run a program to its end; gives the status."""
    await host.write(ctx, OFFSETS["PROGRAM"], program)
    await host.write(ctx, OFFSETS["CONTROL"], command)
    while (result := await status(ctx, host))[0]:
        pass
    return result


DONE = (0, 1, 0, Error.NONE, 0)
FAILURES = {
    BAD_OPCODE: (Error.OPCODE, 2), BAD_OPERAND: (Error.OPERAND, 1), NO_END: (Error.WINDOW, 1),
    STUCK: (Error.TIMEOUT, 0), WINDOW - 4: (Error.WINDOW, 0),
    WINDOW: (Error.WINDOW, 0),
}


@pytest.mark.parametrize("rate", (1.0, 0.4))
def test_recovery(rate):
    """After every kind of failing program a start, with or without soft reset, runs a good one."""
    async def bench(ctx, dut, host):
        assert await execute(ctx, host, GOOD) == DONE
        for program, (code, index) in FAILURES.items():
            for reset in (False, True):
                assert await execute(ctx, host, program) == (0, 0, 1, code, index)
                if reset:
                    await host.write(ctx, OFFSETS["CONTROL"], 2)
                    while (after := await status(ctx, host))[0]:
                        pass
                    assert after == (0, 0, 0, Error.NONE, 0)
                assert await execute(ctx, host, GOOD) == DONE
                beats, _ = await host.read(ctx, OFFSETS["READ_BEATS"])
                assert 5 * 8 <= beats <= 8 * 8  # of this run alone
    run(bench, rate=rate, seed=4)


def test_bus_error():
    """A bad response to the third instruction's beats stops the run there; it recovers."""
    bad = {BASE + 16 * 19}

    async def bench(ctx, dut, host):
        busy, done, error, code, index = await execute(ctx, host, GOOD)
        assert (busy, done, error, code) == (0, 0, 1, Error.READ)
        assert index <= 2, "the instruction being fetched, or one before as fetch runs ahead"
        bad.clear()
        assert await execute(ctx, host, GOOD) == DONE
    run(bench, response=lambda address: 2 if address in bad else 0)


def test_soft_reset_at_any_time():
    """A soft reset with a start in the midst of a run, at 30 moments, runs the program anew."""
    async def bench(ctx, dut, host):
        rng = random.Random(9)
        for _ in range(30):
            await host.write(ctx, OFFSETS["CONTROL"], 1)
            for _ in range(rng.randrange(120)):
                await ticked(ctx, dut.csr.busy)
            assert await execute(ctx, host, GOOD, command=3) == DONE
    run(bench, rate=0.7, seed=2)


def test_hanging_memory():
    """Memory that takes requests and never answers: the run ends, and so does every soft reset."""
    async def silent(ctx):
        while True:
            await ctx.tick()

    async def bench(ctx, dut, host):
        ctx.set(dut.arbiter.axi.arready, 1)
        assert await execute(ctx, host, GOOD) == (0, 0, 1, Error.TIMEOUT, 0)
        assert await execute(ctx, host, GOOD, command=2) == (0, 0, 1, Error.TIMEOUT, 0)

    run(bench, server=silent)
