"""A small block RAM behind AXI4, where a board has no DRAM controller yet."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from .config import VECTOR
from .interfaces import Axi4


class AxiRam(wiring.Component):
    """``depth`` vectors (a power of two), repeated over the whole address space.

    One burst at a time in each direction; INCR bursts of whole vectors, byte strobes ignored where
    all are set. Reads give a vector every second cycle, writes take one a cycle.
    """

    def __init__(self, depth: int = 512):
        self.depth = depth
        self.address_bits = exact_log2(depth)
        super().__init__({"bus": In(Axi4())})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        lane_bits = exact_log2(VECTOR)
        m.submodules.memory = memory = Memory(shape=8 * VECTOR, depth=self.depth, init=[])
        read = memory.read_port()
        write = memory.write_port(granularity=8)
        row = slice(lane_bits, lane_bits + self.address_bits)

        beats, address = Signal(9), Signal(self.address_bits)
        m.d.comb += [
            read.addr.eq(address),
            bus.arready.eq(beats == 0),
            bus.rdata.eq(read.data),
            bus.rlast.eq(beats == 1),
        ]
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [beats.eq(bus.arlen + 1), address.eq(bus.araddr[row])]
        with m.Elif(bus.rvalid & bus.rready):
            m.d.sync += [beats.eq(beats - 1), address.eq(address + 1), bus.rvalid.eq(0)]
        with m.Elif(beats != 0):
            m.d.sync += bus.rvalid.eq(1)

        writing, target = Signal(), Signal(self.address_bits)
        m.d.comb += [
            bus.awready.eq(~writing & ~bus.bvalid),
            bus.wready.eq(writing),
            write.addr.eq(target),
            write.data.eq(bus.wdata),
            write.en.eq((bus.wvalid & bus.wready).replicate(VECTOR) & bus.wstrb),
        ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [writing.eq(1), target.eq(bus.awaddr[row])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += target.eq(target + 1)
            with m.If(bus.wlast):
                m.d.sync += [writing.eq(0), bus.bvalid.eq(1)]
        return m
