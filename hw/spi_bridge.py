"""Registers over four wires: an SPI subordinate in front of the core and the DRAM controller."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from .interfaces import AxiLite
from .litedram import Wishbone

COMMAND, WORD = 16, 32
WRITE, CONTROLLER = 1 << 15, 1 << 14
"""Bits of a command; the others are the word address."""
READ_GAP = 8
"""Clocks between the command of a read and its first data bit."""


class SpiBridge(wiring.Component):
    """SPI mode 0, most significant bit first; ``clk`` at most an eighth of the ``sync`` clock.

    A frame begins with a command of 16 bits: ``WRITE`` or 0, ``CONTROLLER`` for the registers at
    ``control`` or 0 for those at ``bus``, and the register's word address in 14 bits. A write goes
    on with 32 data bits and takes place after the last; a read with ``READ_GAP`` idle bits, then
    gives 32 data bits on ``cipo``. ``cs`` low ends a frame at any point.
    """

    cs: In(1)
    clk: In(1)
    copi: In(1)
    cipo: Out(1)
    bus: Out(AxiLite())
    control: Out(Wishbone())

    def elaborate(self, platform):
        m = Module()
        bus, control = self.bus, self.control
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
        reads, writes = Signal(), Signal()  # an access begins
        command = Signal(COMMAND)
        with m.If(writes):
            m.d.comb += command.eq(arrived[WORD:])
        with m.Else():
            m.d.comb += command.eq(arrived)
        word, is_write, to_controller = command[:14], command[15], command[14]
        m.d.comb += [
            reads.eq(cs & rise & (count == COMMAND - 1) & ~is_write),
            writes.eq(cs & rise & (count == bits - 1) & arrived[-1]),
        ]
        with m.If(~cs):
            m.d.sync += count.eq(0)
        with m.Elif(rise):
            m.d.sync += shift.eq(arrived)
            with m.If(count != bits + READ_GAP):
                m.d.sync += count.eq(count + 1)
        with m.If(cs & fall & (count > COMMAND + READ_GAP - 1)):
            m.d.sync += [self.cipo.eq(reply[-1]), reply.eq(reply << 1)]

        m.d.comb += [bus.wstrb.eq(0b1111), bus.bready.eq(1), bus.rready.eq(1)]
        for channel in ("ar", "aw", "w"):
            valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
            with m.If(valid & ready):
                m.d.sync += valid.eq(0)
        with m.If(reads & ~to_controller):
            m.d.sync += [bus.araddr.eq(Cat(Const(0, 2), word)), bus.arvalid.eq(1)]
        with m.If(writes & ~to_controller):
            m.d.sync += [
                bus.awaddr.eq(Cat(Const(0, 2), word)),
                bus.wdata.eq(arrived),
                bus.awvalid.eq(1),
                bus.wvalid.eq(1),
            ]
        with m.If(bus.rvalid):
            m.d.sync += reply.eq(bus.rdata)

        m.d.comb += [control.stb.eq(control.cyc), control.sel.eq(0b1111)]
        with m.If(control.cyc & (control.ack | control.err)):
            m.d.sync += [control.cyc.eq(0), reply.eq(control.dat_r)]
        with m.If((reads | writes) & to_controller):
            m.d.sync += [
                control.cyc.eq(1),
                control.we.eq(writes),
                control.adr.eq(word),
                control.dat_w.eq(arrived),
            ]
        return m
