"""LOAD: every vector at its place, in order, at full rate."""

import random

import pytest

from hw.config import Config
from hw.loader import Loader

from .streams import read_server, receive, send, simulate

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


def rtl_load(loads, rate=1.0, seed=0, latency=3):
    """Writes of LOADs, how many were done when each ``done`` came, and the cycles from first to
    last write."""
    dut = Loader(Config())
    total = sum(load["planes"] * load["count"] for load in loads)
    writes, done, cycles = [], [], []

    async def requests(ctx):
        items = [{"index": i, "layer": 0, "operand": load} for i, load in enumerate(loads)]
        await send(ctx, dut.command, items, random.Random(seed), rate)

    async def writer(ctx):
        for payload in await receive(ctx, dut.write, total, random.Random(seed + 1), rate):
            writes.append((payload.address, payload.data.as_bits()))
        await ctx.tick().repeat(2)
        assert ctx.get(dut.idle)

    async def watch(ctx):
        taken = cycle = 0
        while True:
            _, _, valid, ready, pulse, idle = await ctx.tick().sample(
                dut.write.valid, dut.write.ready, dut.done, dut.idle)
            if pulse:
                done.append(taken)
            if valid and ready:
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
    """One vector a cycle over runs and commands, with 20 cycles to the memory."""
    shape = [(0, 169, 0, 200, 169, 4), (9000, 55, 900, 60, 55, 6), (64, 64, 4000, 64, 64, 3)]
    loads = [dict(zip(FIELDS, values, strict=True)) for values in shape]
    writes, done, cycles = rtl_load(loads, latency=20)
    assert cycles == len(writes) == 169 * 4 + 55 * 6 + 64 * 3
    assert len(done) == 3


def test_largest_fields():
    load = dict(zip(FIELDS, (2**28 - 600, 255, 65_000, 300, 255, 2), strict=True))
    writes, _, _ = rtl_load([load])
    assert writes == ref_load(load)
