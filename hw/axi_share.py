"""Two managers on one AXI4 port: the core, and now and then the host link."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .interfaces import Axi4

__all__ = ["AxiShare"]

UNDER_WAY = 63
"""Bursts of each direction that the subordinate may have taken and not answered."""


class AxiShare(wiring.Component):
    """Gives the port ``axi`` to ``core``, or to ``guest`` once every burst of the core is answered.

    A valid AR or AW of the guest holds back new bursts of the core, but none that ``axi`` has been
    shown. The guest has the port until it shows neither and every burst of its own is answered.
    All ways are combinational, and without the guest the core does not lose a cycle. W passes in
    the cycle after its AW at the earliest: ``axi`` must not wait for W before it takes AW. It must
    not take more than ``UNDER_WAY`` bursts ahead.

    Members
    -------
    core, guest : In(Axi4()); axi : Out(Axi4())
    """

    core: In(Axi4())
    guest: In(Axi4())
    axi: Out(Axi4())

    def elaborate(self, platform):
        m = Module()
        core, guest, axi = self.core, self.guest, self.axi
        guests = Signal()  # the guest has the port
        chosen = {name: Mux(guests, getattr(guest, name), getattr(core, name))
                  for name, member in Axi4().members.items() if member.flow is Out}

        under_way = {kind: Signal(range(UNDER_WAY + 1), name=f"{kind}_under_way")
                     for kind in ("reads", "writes", "data")}
        passes = {channel: Signal(name=f"{channel}_passes") for channel in ("ar", "aw", "w")}
        for channel, passing in passes.items():
            valid, ready = f"{channel}valid", f"{channel}ready"
            m.d.comb += [
                getattr(axi, valid).eq(chosen.pop(valid) & passing),
                getattr(core, ready).eq(getattr(axi, ready) & passing & ~guests),
                getattr(guest, ready).eq(getattr(axi, ready) & passing & guests),
            ]
        for channel in ("r", "b"):
            valid = getattr(axi, f"{channel}valid")
            m.d.comb += [getattr(core, f"{channel}valid").eq(valid & ~guests),
                         getattr(guest, f"{channel}valid").eq(valid & guests)]
        for name in ("rdata", "rresp", "rlast", "bresp"):
            m.d.comb += [getattr(side, name).eq(getattr(axi, name)) for side in (core, guest)]
        m.d.comb += [getattr(axi, name).eq(value) for name, value in chosen.items()]

        # A direction is held back from the cycle on in which nothing is left that has been shown.
        asks, held = Signal(), {}
        m.d.comb += asks.eq(guest.arvalid | guest.awvalid)
        for channel in ("ar", "aw"):
            hold = held[channel] = Signal(name=f"{channel}_held")
            pending = getattr(core, f"{channel}valid") & ~getattr(axi, f"{channel}ready")
            m.d.sync += hold.eq(asks & (hold | ~pending))
            m.d.comb += passes[channel].eq(guests | ~hold)
        m.d.comb += passes["w"].eq(under_way["data"] != 0)

        begins = {"reads": axi.arvalid & axi.arready, "writes": axi.awvalid & axi.awready}
        begins["data"] = begins["writes"]
        ends = {"reads": axi.rvalid & axi.rready & axi.rlast, "writes": axi.bvalid & axi.bready,
                "data": axi.wvalid & axi.wready & axi.wlast}
        for kind, count in under_way.items():
            m.d.sync += count.eq(count + begins[kind] - ends[kind])
        with m.If((under_way["reads"] == 0) & (under_way["writes"] == 0)):
            with m.If(guests):
                m.d.sync += guests.eq(asks)
            with m.Else():
                m.d.sync += guests.eq(held["ar"] & held["aw"] & asks)
        return m
