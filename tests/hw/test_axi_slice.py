"""Registers in all channels: in front of LiteDRAM's native port, whose rules they must keep."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect

from hw.axi_native import AxiNative
from hw.axi_slice import AxiSlice

from .streams import simulate
from .test_axi_native import (
    ADDRESS_BITS,
    WORDS,
    Dram,
    random_bursts,
    read_data,
    responses,
    send,
    send_data,
    words,
    written,
)


def run(sliced, memory_rate, rate):
    """Both directions freely in halves of the memory; gives the cycle of its last command."""
    rng = random.Random(f"{memory_rate} {rate}")
    start = [rng.getrandbits(128) for _ in range(WORDS)]
    dram, m = Dram(rng, memory_rate, start), Module()
    m.submodules.native = native = AxiNative(ADDRESS_BITS)
    axi = native.axi
    if sliced:
        m.submodules.slice = dut = AxiSlice()
        connect(m, dut.memory, axi)
        axi = dut.manager
    reads = random_bursts(rng, 60, WORDS // 2, WORDS)
    writes = random_bursts(rng, 60, 0, WORDS // 2)
    contents = [words(rng, beats) for _, beats in writes]
    done = []

    async def reader(ctx):
        assert await read_data(ctx, axi, reads) == [
            start[word:word + beats] for word, beats in reads]
        done.append("reads")

    async def acknowledged(ctx):
        assert await responses(ctx, axi, len(writes), rng, max(rate, 0.2)) == [0] * len(writes)
        done.append("writes")

    async def ar(ctx):
        await send(ctx, axi, "ar", reads, rng, rate)

    async def aw(ctx):
        await send(ctx, axi, "aw", writes, rng, rate)

    async def w(ctx):
        await send_data(ctx, axi, contents)

    simulate(m, reader, acknowledged, ar, aw, w, background=[dram.bench(native.native)])
    assert sorted(done) == ["reads", "writes"]
    assert dram.words == written(start, writes, contents)
    return dram.commands[-1][0]


@pytest.mark.parametrize(("memory_rate", "rate"), [(0.6, 1.0), (1.0, 0.3), (0.5, 0.1)])
def test_reads_and_writes_at_once(memory_rate, rate):
    run(True, memory_rate, rate)


def test_a_cycle_and_no_more():
    assert run(True, 1.0, 1.0) - run(False, 1.0, 1.0) == 1
