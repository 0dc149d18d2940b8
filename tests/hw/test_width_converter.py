"""Vectors over a native port of 8 to 64 bits, behind the AXI port, as on an SDR memory."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi_native import AxiNative, NativePort
from hw.config import VECTOR
from hw.interfaces import Axi4
from hw.width_converter import WidthConverter

from .streams import simulate, ticked
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


class Narrow(wiring.Component):
    """AXI to a narrow native port."""

    def __init__(self, data_width: int):
        self.bridge = AxiNative(ADDRESS_BITS)
        self.converter = WidthConverter(ADDRESS_BITS, data_width)
        width = len(self.converter.narrow.cmd_addr)
        super().__init__({"axi": In(Axi4()), "native": Out(NativePort(width, data_width))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge, m.submodules.converter = self.bridge, self.converter
        wiring.connect(m, wiring.flipped(self.axi), self.bridge.axi)
        wiring.connect(m, self.bridge.native, self.converter.wide)
        m.d.comb += self.bridge.late.eq(self.converter.late)
        wiring.connect(m, self.converter.narrow, wiring.flipped(self.native))
        return m


def cut(vectors, width):
    """Vectors as pieces, lowest first."""
    return [vector >> place & (1 << width) - 1
            for vector in vectors for place in range(0, 8 * VECTOR, width)]


@pytest.mark.parametrize(("width", "memory_rate", "rate"), [
    (16, 1.0, 1.0), (16, 0.6, 1.0), (16, 1.0, 0.1), (16, 0.5, 0.05), (8, 0.8, 0.2), (64, 0.8, 0.2)])
def test_reads_and_writes_at_once(width, memory_rate, rate):
    """Both directions run freely in halves of the memory; every byte is where it belongs."""
    rng = random.Random(f"{width} {memory_rate} {rate}")
    start = [rng.getrandbits(128) for _ in range(WORDS)]
    dram, dut = Dram(rng, memory_rate, cut(start, width)), Narrow(width)
    reads = random_bursts(rng, 25, WORDS // 2, WORDS)
    writes = random_bursts(rng, 25, 0, WORDS // 2)
    contents = [words(rng, beats) for _, beats in writes]
    done = []

    async def reader(ctx):
        found = await read_data(ctx, dut.axi, reads)
        assert found == [start[word:word + beats] for word, beats in reads]
        done.append("reads")

    async def acknowledged(ctx):
        assert await responses(ctx, dut.axi, len(writes), rng, max(rate, 0.2)) == [0] * len(writes)
        await ctx.tick()  # the last piece
        assert dram.words == cut(written(start, writes, contents), width)
        done.append("writes")

    async def ar(ctx):
        await send(ctx, dut.axi, "ar", reads, rng, rate)

    async def aw(ctx):
        await send(ctx, dut.axi, "aw", writes, rng, rate)

    async def w(ctx):
        await send_data(ctx, dut.axi, contents)

    simulate(dut, reader, acknowledged, ar, aw, w, background=[dram.bench(dut.native)])
    assert sorted(done) == ["reads", "writes"]


@pytest.mark.parametrize("direction", ["ar", "aw"])
def test_a_piece_every_cycle(direction):
    """No gap between vectors nor bursts, the first command after two cycles."""
    dram, dut = Dram(words=[0] * 8 * WORDS), Narrow(16)
    bursts = [(0, 4), (4, 1), (40, 3)]

    async def addresses(ctx):
        await send(ctx, dut.axi, direction, bursts, None, 1.0)

    async def data(ctx):
        if direction == "ar":
            await read_data(ctx, dut.axi, bursts)
        else:
            await send_data(ctx, dut.axi, [[(1, 0xFFFF)] * beats for _, beats in bursts])
            assert await responses(ctx, dut.axi, len(bursts)) == [0] * len(bursts)

    async def early(ctx):
        """No word is taken before its burst."""
        taken, words = 0, 0
        while True:
            aw, w = await ticked(ctx, dut.axi.awvalid & dut.axi.awready,
                                 dut.axi.wvalid & dut.axi.wready)
            assert words + w <= sum(beats for _, beats in bursts[:taken])
            taken, words = taken + aw, words + w

    simulate(dut, addresses, data,
             background=[dram.bench(dut.native)] + [early] * (direction == "aw"))
    assert dram.commands == [(cycle, direction == "aw", address) for cycle, address in enumerate(
        (*range(5 * 8), *range(40 * 8, 43 * 8)), 2)]


@pytest.mark.parametrize("pieces", range(8))
def test_a_late_word_is_an_error(pieces):
    """The memory has taken some pieces of a vector when the word goes away for a while: no more is
    written, and this write and those after it are answered with SLVERR."""
    rng = random.Random(3)
    start = [rng.getrandbits(128) for _ in range(WORDS)]
    dram, dut = Dram(words=cut(start, 16)), Narrow(16)
    value = rng.getrandbits(128)
    expected = cut(start, 16)
    expected[4 * 8:4 * 8 + pieces] = cut([value], 16)[:pieces]

    async def aw(ctx):
        await send(ctx, dut.axi, "aw", [(4, 2), (20, 2)], None, 1.0)

    async def w(ctx):
        native = dut.native
        ctx.set(dut.axi.wdata, value)
        ctx.set(dut.axi.wstrb, 0xFFFF)
        ctx.set(dut.axi.wvalid, pieces > 0)
        await ctx.tick()  # the first piece is in its register
        asked = 0
        while asked < pieces:
            ctx.set(dut.axi.wvalid, asked < pieces - 1)
            asked += await ticked(ctx, native.wdata_ready)
        await ctx.tick().repeat(12)
        await send_data(ctx, dut.axi, [[(1, 0xFFFF)] * 2] * 2)

    async def b(ctx):
        assert await responses(ctx, dut.axi, 1) == [2]
        await ctx.tick().repeat(50)
        assert dram.words == expected

    simulate(dut, aw, b, background=[dram.bench(dut.native), w])


def test_bad_width():
    with pytest.raises(ValueError, match="data_width is 128, supported: 8, 16, 32 or 64"):
        WidthConverter(20, 128)
