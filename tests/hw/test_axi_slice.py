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


@pytest.mark.parametrize(("memory_rate", "rate"), [(1.0, 1.0), (0.6, 1.0), (1.0, 0.3), (0.5, 0.1)])
def test_reads_and_writes_at_once(memory_rate, rate):
    """Both directions run freely in halves of the memory; from the second command on no cycle of
    a memory that takes them at once is lost."""
    rng = random.Random(f"{memory_rate} {rate}")
    start = [rng.getrandbits(128) for _ in range(WORDS)]
    dram, m = Dram(rng, memory_rate, start), Module()
    m.submodules.slice = dut = AxiSlice()
    m.submodules.native = native = AxiNative(ADDRESS_BITS)
    connect(m, dut.memory, native.axi)
    reads = random_bursts(rng, 60, WORDS // 2, WORDS)
    writes = random_bursts(rng, 60, 0, WORDS // 2)
    contents = [words(rng, beats) for _, beats in writes]
    done = []

    async def reader(ctx):
        assert await read_data(ctx, dut.manager, reads) == [
            start[word:word + beats] for word, beats in reads]
        done.append("reads")

    async def acknowledged(ctx):
        assert await responses(ctx, dut.manager, len(writes), rng, max(rate, 0.2)) \
            == [0] * len(writes)
        done.append("writes")

    async def ar(ctx):
        await send(ctx, dut.manager, "ar", reads, rng, rate)

    async def aw(ctx):
        await send(ctx, dut.manager, "aw", writes, rng, rate)

    async def w(ctx):
        await send_data(ctx, dut.manager, contents)

    simulate(m, reader, acknowledged, ar, aw, w, background=[dram.bench(native.native)])
    assert sorted(done) == ["reads", "writes"]
    assert dram.words == written(start, writes, contents)
    if (memory_rate, rate) == (1.0, 1.0):
        cycles = [cycle for cycle, *_ in dram.commands]
        assert cycles[-1] - cycles[1] == len(cycles) - 2
