"""Memory in block RAM with its output register: plain, or in a vendor's primitives."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from . import ecp5
from .config import Config


class BlockMemory(wiring.Component):
    """``depth`` words of ``width`` bits, one write and one read a cycle.

    ``read_data`` comes two cycles after ``read_address``: one for the memory, one for a register
    that block RAMs absorb. A read in the cycle of a write to the same address gives meaningless
    data. No contents at the start.
    """

    def __init__(self, config: Config, width: int, depth: int):
        self.vendor = config.vendor
        self.width, self.depth = width, depth
        address = unsigned(ceil_log2(depth))
        super().__init__({
            "write_enable": In(1), "write_address": In(address), "write_data": In(width),
            "read_enable": In(1), "read_address": In(address), "read_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        if self.vendor == "ecp5":
            m.submodules.blocks = blocks = ecp5.BlockRams(self.width, self.depth)
            m.d.comb += [
                blocks.write_enable.eq(self.write_enable),
                blocks.write_address.eq(self.write_address),
                blocks.write_data.eq(self.write_data),
                blocks.read_address.eq(self.read_address),
                self.read_data.eq(blocks.read_data),
            ]
            return m
        m.submodules.memory = memory = Memory(shape=self.width, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_address),
        ]
        m.d.sync += self.read_data.eq(read.data)
        return m
