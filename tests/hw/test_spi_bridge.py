"""The SPI bridge between a host that toggles four wires and a slow AXI4-Lite port."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect

from hw.config import Config
from hw.csr import ID, OFFSETS, CsrBank
from hw.interfaces import AxiLite
from hw.spi_bridge import COMMAND, CONTROLLER, READ_GAP, WORD, WRITE, SpiBridge

from .streams import go, simulate, ticked

WORDS = 1 << AxiLite().address_width - 2
SLOWEST = (READ_GAP - 1) * 8
"""Cycles an answer may take at the fastest clock."""


class Host:
    """Mode 0, most significant bit first: sets ``copi`` while ``clk`` is low, samples ``cipo``
    when it raises ``clk``. ``half`` gives the cycles of each half of the clock."""

    def __init__(self, ctx, dut, half=lambda: 4):
        self.ctx, self.dut, self.half = ctx, dut, half

    async def wait(self):
        await self.ctx.tick().repeat(self.half())

    async def begin(self):
        self.ctx.set(self.dut.cs, 1)
        await self.wait()

    async def end(self):
        self.ctx.set(self.dut.cs, 0)
        await self.wait()
        await self.wait()

    async def shift(self, value: int, bits: int) -> int:
        """Sends bits and returns those that came."""
        received = 0
        for i in reversed(range(bits)):
            self.ctx.set(self.dut.copi, value >> i & 1)
            await self.wait()
            received = received << 1 | self.ctx.get(self.dut.cipo)
            self.ctx.set(self.dut.clk, 1)
            await self.wait()
            self.ctx.set(self.dut.clk, 0)
        return received

    async def write(self, word: int, value: int, spare: int = 0):
        await self.begin()
        await self.shift(WRITE | word, COMMAND)
        await self.shift(value, WORD)
        await self.shift(0, spare)
        await self.wait()
        await self.end()

    async def read(self, word: int) -> int:
        await self.begin()
        await self.shift(word, COMMAND)
        await self.shift(0x55, READ_GAP)
        value = await self.shift(0, WORD)
        await self.end()
        return value


class Registers:
    """Both sides with registers, a word for each address; answers come at random. Words of the
    Wishbone side are numbered from ``CONTROLLER`` on, as in commands."""

    def __init__(self, rng, rate):
        self.rng, self.rate = rng, rate
        self.words = {place: rng.getrandbits(32) for start in (0, CONTROLLER)
                      for place in range(start, start + WORDS)}
        self.writes, self.reads = [], []

    def benches(self, dut):
        return [self.bench(dut.bus), self.wishbone(dut.control)]

    def bench(self, bus):
        async def run(ctx):
            address = word = answer = None
            delay = 0
            while True:
                for name, held in (("awready", address), ("wready", word)):
                    ctx.set(getattr(bus, name), held is None and go(self.rng, self.rate))
                ctx.set(bus.arready, answer is None and go(self.rng, self.rate))
                offer = answer is not None and delay == 0
                ctx.set(bus.rvalid, offer)
                ctx.set(bus.rdata, self.words[answer] if offer else 0xDEADBEEF)
                delay = max(0, delay - 1)
                aw, w, ar, awaddr, wdata, wstrb, araddr, rready = await ticked(
                    ctx, bus.awvalid & bus.awready, bus.wvalid & bus.wready,
                    bus.arvalid & bus.arready, bus.awaddr, bus.wdata, bus.wstrb, bus.araddr,
                    bus.rready)
                if offer and rready:
                    answer = None
                if ar:
                    assert araddr % 4 == 0
                    answer, delay = araddr // 4, self.rng.randrange(int(SLOWEST * self.rate / 2))
                    self.reads.append(answer)
                if aw:
                    address = awaddr
                if w:
                    assert wstrb == 15
                    word = wdata
                if address is not None and word is not None:
                    assert address % 4 == 0
                    self.words[address // 4] = word
                    self.writes.append((address // 4, word))
                    address = word = None
        return run

    def wishbone(self, control):
        async def run(ctx):
            while True:
                cyc, stb, we, adr, sel, data = await ticked(
                    ctx, control.cyc, control.stb, control.we, control.adr, control.sel,
                    control.dat_w)
                if not cyc:
                    continue
                assert stb and sel == 15
                place = CONTROLLER + adr
                slowest = 4 if we else SLOWEST * self.rate / 2
                for _ in range(1 + self.rng.randrange(int(slowest))):
                    await ctx.tick()
                if we:
                    self.words[place] = data
                    self.writes.append((place, data))
                else:
                    self.reads.append(place)
                    ctx.set(control.dat_r, self.words[place])
                ctx.set(control.ack, 1)
                await ctx.tick()
                ctx.set(control.ack, 0)
                ctx.set(control.dat_r, 0xDEADBEEF)
                await ctx.tick()
        return run


@pytest.mark.parametrize("clock", ["an eighth", "slow and uneven"])
def test_reads_and_writes(clock):
    """Random accesses: every write arrives once and in order, every read gives the word."""
    rng = random.Random(clock)
    registers = Registers(rng, 0.5)
    dut = SpiBridge()
    writes, reads = [], []

    async def bench(ctx):
        half = (lambda: 4) if clock == "an eighth" else (lambda: rng.randint(4, 11))
        host = Host(ctx, dut, half)
        for _ in range(40):
            word = rng.choice((0, CONTROLLER)) \
                + rng.choice((0, WORDS - 1, rng.randrange(WORDS)))
            if rng.getrandbits(1):
                writes.append((word, rng.getrandbits(32)))
                await host.write(*writes[-1], spare=rng.choice((0, 0, 9)))
                assert registers.writes == writes
            else:
                reads.append(word)
                assert await host.read(word) == registers.words[word]
                assert registers.reads == reads

    simulate(dut, bench, background=registers.benches(dut), deadline=90_000)
    assert len(writes) > 10 and len(reads) > 10


def test_a_frame_may_end_anywhere():
    """A write that is cut off does nothing, nor do clocks without select; the next frame works."""
    rng = random.Random(3)
    registers = Registers(rng, 1.0)
    dut = SpiBridge()

    async def bench(ctx):
        host = Host(ctx, dut)
        for bits in range(0, COMMAND + WORD, 3):
            await host.begin()
            await host.shift((1 << 47 | rng.getrandbits(47)) >> COMMAND + WORD - bits, bits)
            await host.end()
            await host.shift(rng.getrandbits(40), 5)
        assert registers.writes == [] and registers.reads == []
        await host.write(5, 0x12345678)
        assert registers.writes == [(5, 0x12345678)]
        assert await host.read(5) == 0x12345678

    simulate(dut, bench, background=registers.benches(dut), deadline=90_000)


def test_with_the_registers_of_the_core():

    m = Module()
    m.submodules.bridge = dut = SpiBridge()
    m.submodules.csr = csr = CsrBank(Config())
    connect(m, dut.bus, csr.bus)

    async def bench(ctx):
        host = Host(ctx, dut)
        assert await host.read(OFFSETS["ID"] // 4) == ID
        await host.write(OFFSETS["WATCHDOG"] // 4, 0xCAFE0123)
        assert await host.read(OFFSETS["WATCHDOG"] // 4) == 0xCAFE0123
        assert ctx.get(csr.watchdog) == 0xCAFE0123

    simulate(m, bench)
