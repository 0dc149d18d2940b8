"""Registers in all channels of an AXI4 port: nothing before them waits for logic behind them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi_crossing import fields
from .fifo import TwoPlaces
from .interfaces import Axi4


class AxiSlice(wiring.Component):
    """Every channel one cycle later, at full rate, each on its own.

    Keeps the rules of ``hw.axi_native`` for its manager: words that follow one another without a
    pause still do, and R is taken at once, for which one register is enough.
    """

    manager: In(Axi4())
    memory: Out(Axi4())

    def elaborate(self, platform):
        m = Module()
        came = Signal(reset_less=True)
        m.d.comb += [self.memory.rready.eq(1), self.manager.rvalid.eq(came)]
        m.d.sync += came.eq(self.memory.rvalid)
        words = Signal(len(fields(self.memory, "r")), reset_less=True)
        m.d.sync += words.eq(fields(self.memory, "r"))
        m.d.comb += fields(self.manager, "r").eq(words)
        for channel in ("aw", "w", "b", "ar"):
            giver, taker = self.manager, self.memory
            if channel == "b":
                giver, taker = taker, giver
            given = fields(giver, channel)
            m.submodules[channel] = places = TwoPlaces(given.shape())
            m.d.comb += [
                places.i.payload.eq(given),
                places.i.valid.eq(getattr(giver, f"{channel}valid")),
                getattr(giver, f"{channel}ready").eq(places.i.ready),
                fields(taker, channel).eq(places.o.payload),
                getattr(taker, f"{channel}valid").eq(places.o.valid),
                places.o.ready.eq(getattr(taker, f"{channel}ready")),
            ]
        return m
