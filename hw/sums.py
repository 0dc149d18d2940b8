"""Sums over the pixels of a group, for averages."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .config import VECTOR, Config

SUM = 24
"""Bits of an unsigned sum of bytes over the pixels of a group."""


class Sums(wiring.Component):
    """Running sums of finished bytes for two branches, a row of up to four channels a cycle.

    ``sums`` are those of ``branch`` and ``row``; with ``add`` the bytes are added (to 0 if
    ``first``), which takes two cycles. 2 * 16 * 24 bits of LUT RAM.
    """

    def __init__(self, config: Config):
        self.channels = min(4, config.requantisers)
        self.rows = VECTOR // self.channels
        super().__init__({
            "branch": In(1),
            "row": In(range(self.rows)),
            "add": In(1),
            "first": In(1),
            "bytes": In(data.ArrayLayout(8, self.channels)),
            "sums": Out(data.ArrayLayout(SUM, self.channels)),
        })

    def elaborate(self, platform):
        m = Module()
        shape = data.ArrayLayout(SUM, self.channels)
        m.submodules.memory = memory = Memory(shape=shape, depth=2 * self.rows, init=[])
        read = memory.read_port(domain="comb")
        write = memory.write_port()
        before = Signal(shape, reset_less=True)
        more = Signal(self.bytes.shape(), reset_less=True)
        m.d.comb += [read.addr.eq(Cat(self.row, self.branch)), self.sums.eq(read.data)]
        m.d.sync += [
            before.eq(Mux(self.first, 0, read.data.as_value())),
            more.eq(self.bytes),
            write.addr.eq(read.addr),
            write.en.eq(self.add),
        ]
        for new, old, byte in zip(write.data, before, more, strict=True):
            m.d.comb += new.eq(old + byte)
        return m
