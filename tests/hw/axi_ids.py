"""AXI4 manager ports with IDs, for memory models that insist on them."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.interfaces import Axi4


class WithIds(wiring.Component):
    """``inner`` with its ports unchanged, but four more in ``axi``: IDs of one bit, always 0 out,
    ignored in."""

    def __init__(self, inner: wiring.Component):
        self.inner = inner
        members = dict(inner.signature.members)
        members["axi"] = Out(wiring.Signature({
            **Axi4().members, "awid": Out(1), "arid": Out(1), "bid": In(1), "rid": In(1)}))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self.inner
        for name, member in inner.signature.members.items():
            outer, port = getattr(self, name), getattr(inner, name)
            if name == "axi":
                for channel, signal in Axi4().members.items():
                    outside, inside = getattr(outer, channel), getattr(port, channel)
                    m.d.comb += (outside.eq(inside) if signal.flow is Out
                                 else inside.eq(outside))
            elif member.is_signature:
                connect(m, flipped(outer), port)
            else:
                m.d.comb += outer.eq(port) if member.flow is Out else port.eq(outer)
        return m
