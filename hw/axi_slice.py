"""Registers in all channels of an AXI4 port: nothing before them waits for logic behind them."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi_crossing import fields
from .fifo import TwoPlaces
from .interfaces import Axi4


class AxiSlice(wiring.Component):
    """Every channel one cycle later, at full rate, each on its own.

    Keeps the rules of ``hw.axi_native`` for its manager: words that follow one another without a
    pause still do, and R, taken at once, never waits here.
    """

    manager: In(Axi4())
    memory: Out(Axi4())

    def elaborate(self, platform):
        m = Module()
        for channel in ("aw", "w", "b", "ar", "r"):
            giver, taker = self.manager, self.memory
            if channel in ("b", "r"):
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
