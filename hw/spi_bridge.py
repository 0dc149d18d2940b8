"""Registers over four wires: an SPI subordinate in front of an AXI4-Lite port."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from .interfaces import AxiLite

COMMAND, WORD = 8, 32
READ_GAP = 8
"""Clocks between the command of a read and its first data bit."""


class SpiBridge(wiring.Component):
    """SPI mode 0, most significant bit first; ``clk`` at most an eighth of the ``sync`` clock.

    A frame begins with 8 bits: 1 for a write or 0 for a read, and the register's word address in 7
    bits. A write goes on with 32 data bits and takes place after the last; a read with ``READ_GAP``
    idle bits, then gives 32 data bits on ``cipo``. ``cs`` low ends a frame at any point.
    """

    cs: In(1)
    clk: In(1)
    copi: In(1)
    cipo: Out(1)
    bus: Out(AxiLite())

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        cs, clk, copi, before = Signal(), Signal(), Signal(), Signal()
        m.submodules += [FFSynchronizer(self.cs, cs), FFSynchronizer(self.clk, clk),
                         FFSynchronizer(self.copi, copi)]
        rise, fall = clk & ~before, ~clk & before
        m.d.sync += before.eq(clk)

        bits = COMMAND + WORD
        shift = Signal(bits)
        count = Signal(range(bits + READ_GAP + 1))
        reply = Signal(WORD)
        arrived = Cat(copi, shift)[:bits]
        with m.If(~cs):
            m.d.sync += count.eq(0)
        with m.Elif(rise):
            m.d.sync += shift.eq(arrived)
            with m.If(count != bits + READ_GAP):
                m.d.sync += count.eq(count + 1)
            with m.If((count == COMMAND - 1) & ~arrived[COMMAND - 1]):
                m.d.sync += [
                    bus.araddr.eq(Cat(Const(0, 2), arrived[:COMMAND - 2])),
                    bus.arvalid.eq(1),
                ]
            with m.If((count == bits - 1) & arrived[bits - 1]):
                m.d.sync += [
                    bus.awaddr.eq(Cat(Const(0, 2), arrived[WORD:WORD + COMMAND - 2])),
                    bus.wdata.eq(arrived),
                    bus.awvalid.eq(1),
                    bus.wvalid.eq(1),
                ]
        with m.If(cs & fall & (count > COMMAND + READ_GAP - 1)):
            m.d.sync += [self.cipo.eq(reply[-1]), reply.eq(reply << 1)]

        for channel in ("ar", "aw", "w"):
            valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
            with m.If(valid & ready):
                m.d.sync += valid.eq(0)
        m.d.comb += [bus.wstrb.eq(0b1111), bus.bready.eq(1), bus.rready.eq(1)]
        with m.If(bus.rvalid):
            m.d.sync += reply.eq(bus.rdata)
        return m
