"""The weight ring: order, credit, random reads, release, and full rate."""

import random

import pytest

from hw.config import Config
from hw.weight_ring import LONGEST, WeightRing

from .streams import bits, read_server, send, simulate

CONFIG = Config(weight_vectors=512)
FILLED = 512 - LONGEST + 1
"""Vectors that come without a release."""


def vector(address):
    return address * 0x10001 + 0xABCD << 64 | address


def commands(runs):
    return [{"index": i, "layer": 0, "operand": {"address": address, "count": count}}
            for i, (address, count) in enumerate(runs)]


@pytest.mark.parametrize("rate", [1.0, 0.4])
def test_reads_and_releases(rate):
    rng = random.Random(int(rate * 10))
    runs = [(rng.randrange(1 << 20), rng.choice((1, 8, 137, 256, 300))) for _ in range(12)]
    sequence = [vector(a + i) for a, n in runs for i in range(n)]
    dut = WeightRing(CONFIG)
    full = 0

    async def requests(ctx):
        await send(ctx, dut.command, commands(runs), random.Random(1), rate)

    async def reader(ctx):
        nonlocal full
        released, enough, pending = 0, FILLED, []
        while released < len(sequence):
            available = ctx.get(dut.available)
            assert available <= 512 and released + available <= len(sequence)
            full += ctx.get(dut.full)
            enable = available > 0 and rng.random() < 0.8
            offset = rng.choice((0, available - 1, rng.randrange(max(available, 1))))
            pending.append(sequence[released + offset] if enable else None)
            ctx.set(dut.read_enable, enable)
            ctx.set(dut.read_offset, offset if enable else 0)
            count = 0
            if available >= min(enough, len(sequence) - released):
                enough = rng.choice((1, 1, 300, FILLED))  # FILLED: let the ring run full
                count = min(available, rng.choice((1, 8, 512)))
            ctx.set(dut.release, count > 0)
            ctx.set(dut.release_count, count or rng.randrange(512))
            released += count
            if len(pending) > 2 and (wanted := pending.pop(0)) is not None:
                assert bits(ctx.get(dut.read_data)) == wanted
            await ctx.tick()
        ctx.set(dut.release, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.available) == 0 and ctx.get(dut.idle)

    simulate(dut, requests, reader,
             background=[read_server(dut.client, vector, random.Random(2), rate)])
    assert full


def test_full_rate_over_commands():
    """Commands follow one another without a bubble: one vector a cycle in, then out."""
    runs = [(1000, 100), (5, 16), (70_000, 333), (16, 48)]
    total = sum(n for _, n in runs)
    dut = WeightRing(CONFIG)
    cycles = 0

    async def requests(ctx):
        await send(ctx, dut.command, commands(runs))

    async def reader(ctx):
        nonlocal cycles
        while ctx.get(dut.available) < total:
            cycles += 1
            await ctx.tick()

    simulate(dut, requests, reader, background=[read_server(dut.client, vector)])
    assert cycles <= total + 12


def test_waits_while_full():
    dut = WeightRing(CONFIG)
    log = []

    async def bench(ctx):
        await send(ctx, dut.command, commands([(0, 512), (512, 512)]))
        await ctx.tick().until(dut.available == 512)
        await ctx.tick().repeat(200)
        assert ctx.get(dut.available) == 512 and not ctx.get(dut.idle)
        asked = sum(n for _, n in log)
        assert asked == 512 and ctx.get(dut.full)
        for offset in (0, 511):
            ctx.set(dut.read_offset, offset)
            ctx.set(dut.read_enable, 1)
            await ctx.tick().repeat(2)
            assert bits(ctx.get(dut.read_data)) == vector(offset)
        ctx.set(dut.release, 1)
        ctx.set(dut.release_count, 512)
        await ctx.tick()
        ctx.set(dut.release, 0)
        await ctx.tick().until(dut.available == 512)
        ctx.set(dut.read_offset, 0)
        await ctx.tick().repeat(2)
        assert bits(ctx.get(dut.read_data)) == vector(512)
        assert ctx.get(dut.idle)

    simulate(dut, bench, background=[read_server(dut.client, vector, log=log)])
