"""FIFOs against a queue, with random waits on both sides."""

import random
from collections import deque

import pytest
from amaranth.sim import Simulator

from hw.fifo import BlockFifo, HeadFifo, TwoPlaces

CYCLES = 2000


def simulated(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("rates", [(0.3, 0.7), (0.7, 0.3), (1.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("depth", [4, 17])
def test_block(depth, rates):
    """In order, from two cycles after the write on; up to ``depth`` entries, one of them ready."""
    rng = random.Random(repr(rates))
    dut = BlockFifo(width=8, depth=depth)

    async def bench(ctx):
        held, taken = deque(), 0
        for cycle in range(CYCLES):
            ready = ctx.get(dut.r_rdy)
            assert ctx.get(dut.level) == len(held)
            assert ready == bool(held and held[0][0] <= cycle - 2)
            if ready:
                assert ctx.get(dut.r_data) == held[0][1]
            write, read = (rng.random() < rate for rate in rates)
            accepted, value = ctx.get(dut.w_rdy), rng.randrange(256)
            assert accepted == (len(held) - ready < depth - 1)
            for port, given in ((dut.w_en, write), (dut.w_data, value), (dut.r_en, read)):
                ctx.set(port, given)
            await ctx.tick()
            if ready and read:
                held.popleft()
                taken += 1
            if accepted and write:
                held.append((cycle, value))
        assert taken > 0.25 * CYCLES
        assert taken >= CYCLES - 2 or rates != (1.0, 1.0)

    simulated(dut, bench)


@pytest.mark.parametrize("rates", [(0.3, 0.7), (0.7, 0.3), (1.0, 1.0), (0.5, 0.5)])
def test_head(rates):
    """What was written a cycle ago is there, in order; up to ``depth`` + 1 entries."""
    depth, rng = 4, random.Random(repr(rates))
    dut = HeadFifo(width=8, depth=depth)

    async def bench(ctx):
        held, fullest = deque(), 0
        for _ in range(CYCLES):
            assert ctx.get(dut.r_rdy) == bool(held)
            if held:
                assert ctx.get(dut.r_data) == held[0]
            write, read = (rng.random() < rate for rate in rates)
            write &= len(held) <= depth
            value = rng.randrange(256)
            ctx.set(dut.w_en, write)
            ctx.set(dut.w_data, value)
            ctx.set(dut.r_en, read)
            await ctx.tick()
            if read and held:
                held.popleft()
            if write:
                held.append(value)
            fullest = max(fullest, len(held))
        assert fullest == depth + 1 or rates[0] <= rates[1]

    simulated(dut, bench)


@pytest.mark.parametrize("rates", [(0.3, 0.7), (0.7, 0.3), (1.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("piece", [None, 3])
def test_two_places(rates, piece):
    """In order, a cycle later, at full rate; ready as long as there is a place."""
    rng = random.Random(repr(rates))
    dut = TwoPlaces(8, piece)

    async def bench(ctx):
        held, taken = deque(), 0
        for _ in range(CYCLES):
            offered, ready = (rng.random() < rate for rate in rates)
            value = rng.randrange(256)
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.i.payload, value)
            ctx.set(dut.o.ready, ready)
            assert ctx.get(dut.i.ready) == (len(held) < 2)
            assert ctx.get(dut.o.valid) == bool(held)
            if held:
                assert ctx.get(dut.o.payload) == held[0]
            accepted = offered and len(held) < 2
            await ctx.tick()
            if ready and held:
                held.popleft()
            if accepted:
                held.append(value)
                taken += 1
        assert taken == CYCLES or rates != (1.0, 1.0)

    simulated(dut, bench)
