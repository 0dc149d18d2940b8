"""The chip below its pins, with a bench in the place of the DRAM controller and of the core behind
its registers: what a host reads and writes through the serial line. tests/sim/test_chip.py has the
whole of it."""

import random
from types import SimpleNamespace

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import soc
from hw.config import Config
from hw.csr import ID, OFFSETS, CsrBank
from hw.interfaces import Axi4, AxiLite
from hw.link import END, LINK_ID, WORD, LinkRegister, Space, Status
from hw.litedram import Wishbone
from hw.soc import Soc
from sw.runtime.frames import FrameFinder, Request, encode_request

from .bench_bridge import MEMORY_BYTES, Buses
from .streams import simulate, ticked
from .test_uart import draw, levels

CONFIG = Config(co_lanes=8, profile=False)
BIT_CYCLES = 2


class Controller(wiring.Component):
    """Stands for ``Litedram``: its ports are the bench's."""

    def __init__(self, generated, ports):
        super().__init__({"axi": In(Axi4()), "control": In(Wishbone())})
        self.started, self.init_done = Signal(), ports["o_init_done"]
        generated.controller = self

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.init_done.eq(self.started)
        return m


class Core(wiring.Component):
    """Stands for ``hw.core.Core``: its registers, and nothing behind them."""

    def __init__(self, config):
        self.bank = CsrBank(config)
        super().__init__({
            "axi": Out(Axi4()), "csr": In(AxiLite()), "interrupt": Out(1),
            "probe": Out(wiring.Signature({"running": Out(1)})),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)
        with m.If(bank.start):
            m.d.sync += self.probe.running.eq(1)
        m.d.comb += [self.interrupt.eq(bank.interrupt), bank.error.eq(self.probe.running)]
        return m


def run(bench, monkeypatch):
    """Runs ``bench(ctx, dut, controller, ask)``, where ``ask(request)`` gives the answer's body."""
    monkeypatch.setattr(soc, "Core", Core)
    monkeypatch.setattr(soc, "Litedram", Controller)
    generated = SimpleNamespace(size=MEMORY_BYTES)
    dut = Soc(CONFIG, generated, {}, BIT_CYCLES)
    top = dut.elaborate(None)  # makes the controller
    controller, finder = generated.controller, FrameFinder()
    buses = Buses(random.Random(1), 0.5)
    found = []

    async def listen(ctx):
        while True:
            while await ticked(ctx, dut.tx):
                pass
            bits = [await ticked(ctx, dut.tx) for _ in range(10 * BIT_CYCLES - 1)]
            assert bits[-1]
            found.extend(finder.feed([
                sum(bit << place for place, bit in enumerate(bits[BIT_CYCLES:-1:BIT_CYCLES]))]))

    async def main(ctx):
        async def ask(request):
            for byte in encode_request(request):
                await draw(ctx, dut.rx, levels(byte), BIT_CYCLES)
            while not found:
                await ctx.tick()
            return found.pop()

        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(5)
        await bench(ctx, dut, controller, ask)

    simulate(top, main, background=[
        listen, buses.axi(controller.axi, Space.MEMORY, 16), buses.wishbone(controller.control)])


def test_registers_and_memory(monkeypatch):
    async def bench(ctx, dut, controller, ask):
        def word(value):
            return value.to_bytes(WORD, "little")

        okay = bytes([1, Status.OKAY])
        assert await ask(Request(1, Space.LINK, 0, 3)) == okay + word(LINK_ID) + word(0) + word(0)
        assert await ask(Request(1, Space.CORE, OFFSETS["ID"], 1)) == okay + word(ID)
        assert await ask(Request(1, Space.CORE, OFFSETS["CONFIG"], 1)) == (
            okay + word(CONFIG.digest))
        assert await ask(Request(1, Space.CONTROLLER, 0x80, 1, b"dram", True)) == okay
        assert await ask(Request(2, Space.CONTROLLER, 0x80, 1)) == bytes([2, 0]) + b"dram"
        assert (await ask(Request(3, Space.MEMORY, 0, 4)))[1] == Status.BUS_ERROR
        assert ctx.get(dut.leds.as_value()) == 0

        ctx.set(controller.started, 1)
        assert await ask(Request(1, Space.LINK, LinkRegister.READY, 1)) == okay + word(1)
        assert ctx.get(dut.leds.ready)
        data = bytes(range(100, 132))
        assert await ask(Request(4, Space.MEMORY, 0x40, 8, data, True)) == bytes([4, 0])
        assert await ask(Request(5, Space.MEMORY, 0x40, 8)) == bytes([5, 0]) + data

    run(bench, monkeypatch)


def test_lights(monkeypatch):
    """Those of a run that has started and failed, and of a frame that was dropped, even if the line
    has lost all of it."""

    async def bench(ctx, dut, controller, ask):
        lights = dut.leds.as_value()
        for number, (name, value, after) in enumerate((
                ("CONTROL", 1, 0b0001), ("INTERRUPT", 1, 0b0011)), 1):
            write = Request(number, Space.CORE, OFFSETS[name], 1, value.to_bytes(WORD, "little"),
                            True)
            assert await ask(write) == bytes([number, Status.OKAY])
            assert ctx.get(lights) == after
        for middle in levels(1), [*levels(1, stop=0), 1]:
            await draw(ctx, dut.rx, [*levels(END), *middle, *levels(END)], BIT_CYCLES)
            await ctx.tick().repeat(BIT_CYCLES + 4)
            assert ctx.get(lights) == 0b1011
            await ask(Request(9, Space.LINK, 0, 1))
            assert ctx.get(lights) == 0b0011

    run(bench, monkeypatch)


def test_bad_rate():
    with pytest.raises(ValueError, match="a bit takes 1.5 cycles, supported: 2"):
        Soc(CONFIG, SimpleNamespace(size=MEMORY_BYTES), {}, 1.5)
