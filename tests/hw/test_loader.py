"""LOAD: every vector at its place, in order, at full rate."""

import random

import pytest

from hw.config import Config
from hw.loader import Loader

from .streams import go, read_server, receive, send, simulate, ticked

FIELDS = ("address", "stride", "target", "target_stride", "count", "planes")


def vector(address):
    return address << 96 | address ^ 0x5A5A


def ref_load(load):
    """Writes of a LOAD as (activation address, vector)."""
    return [
        ((load["target"] + p * load["target_stride"] + i) % 2**16,
         vector(load["address"] + p * load["stride"] + i))
        for p in range(load["planes"]) for i in range(load["count"])
    ]


def rtl_load(loads, rate=1.0, seed=0, latency=3, spare=1.0):
    """Writes of LOADs, how many were done when each ``done`` came, and the cycles from first to
    last write; ``spare`` is the share of cycles in which nobody else writes."""
    dut = Loader(Config())
    total = sum(load["planes"] * load["count"] for load in loads)
    writes, done, cycles = [], [], []

    async def requests(ctx):
        items = [{"index": i, "layer": 0, "operand": load} for i, load in enumerate(loads)]
        await send(ctx, dut.command, items, random.Random(seed), rate)

    async def writer(ctx):
        for payload in await receive(ctx, dut.write, total):
            writes.append((payload.address, payload.data.as_bits()))
        await ctx.tick().repeat(2)
        assert ctx.get(dut.idle)

    async def watch(ctx):
        taken = cycle = 0
        rng = random.Random(seed + 1)
        while True:
            ctx.set(dut.spare, go(rng, spare))
            valid, pulse, idle = await ticked(ctx, dut.write.valid, dut.done, dut.idle)
            if pulse:
                done.append(taken)
            if valid:
                assert not idle
                taken += 1
                cycles.append(cycle)
            cycle += 1

    simulate(dut, requests, writer, background=[
        watch, read_server(dut.client, vector, random.Random(seed + 2), rate, latency)])
    return writes, done, cycles[-1] - cycles[0] + 1


def random_load(rng):
    count = rng.choice((1, 2, 13, 27, 60))
    return dict(zip(FIELDS, (
        rng.randrange(1 << 27), rng.randrange(count, 4000), rng.randrange(1 << 16),
        rng.randrange(count, 800), count, rng.choice((1, 2, 5)),
    ), strict=True))


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_equals_reference(rate):
    rng = random.Random(7)
    loads = [random_load(rng) for _ in range(15)]
    expected = [ref_load(load) for load in loads]
    writes, done, _ = rtl_load(loads, rate)
    assert writes == [write for load in expected for write in load]
    assert done == [sum(map(len, expected[:i + 1])) for i in range(len(loads))]


def test_full_rate():
    """One vector a cycle over runs and commands, with 20 cycles to the memory; short runs cost the
    cutter of bursts a cycle or two in all."""
    shape = [(0, 169, 0, 200, 169, 4), (9000, 55, 900, 60, 55, 6), (64, 64, 4000, 64, 64, 3)]
    loads = [dict(zip(FIELDS, values, strict=True)) for values in shape]
    writes, done, cycles = rtl_load(loads, latency=20)
    assert len(writes) == 169 * 4 + 55 * 6 + 64 * 3
    assert cycles <= len(writes) + 2
    assert len(done) == 3


@pytest.mark.parametrize("spare", [0.8, 0.3])
def test_leaves_cycles_to_others(spare):
    """In the long run no more vectors come than there are spare cycles; without, what is saved."""
    load = dict(zip(FIELDS, (0, 4096, 0, 4096, 1024, 1), strict=True))
    _, _, cycles = rtl_load([load], spare=spare)
    assert (1024 - 64) / spare * 0.9 < cycles < 1024 / spare * 1.1


def test_no_spare_cycle():
    """A loader that got no cycle asks for what it saved, and then for nothing."""
    dut = Loader(Config())
    log = []

    async def bench(ctx):
        load = dict(zip(FIELDS, (0, 200, 0, 200, 200, 2), strict=True))
        await send(ctx, dut.command, [{"index": 0, "layer": 0, "operand": load}])
        for share in range(8):
            ctx.set(dut.spare, 1)
            await ctx.tick().repeat(16)
            ctx.set(dut.spare, 0)
            await ctx.tick().repeat(50)
            assert sum(count for _, count in log) == 16 * (share + 1)

    simulate(dut, bench, background=[read_server(dut.client, vector, log=log)])


def test_largest_fields():
    load = dict(zip(FIELDS, (2**28 - 600, 255, 65_000, 300, 255, 2), strict=True))
    writes, _, _ = rtl_load([load])
    assert writes == ref_load(load)
