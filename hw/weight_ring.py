"""The weight ring: weights stream in from external memory, the tile loader reads at random."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import Config
from .interfaces import Bytes, ReadClient, command
from .isa import Weights
from .linear_reader import LinearReader

PREFETCH = 64
"""Vectors that may be under way from memory."""


class WeightRing(wiring.Component):
    """``weight_vectors`` vectors between external memory and the tile loader.

    The vectors of all commands form one sequence. Its oldest vector that was not released is at
    offset 0; ``available`` vectors from there on are present. One vector a cycle comes in while
    there is room; vectors that were not released are never overwritten. Reading and releasing
    do not disturb one another: a read uses the offsets of its own cycle.

    Memory: ``weight_vectors * 128`` bits, followed by a register for block RAMs to absorb.

    Members
    -------
    command : In(stream(command(Weights))), counts of at least 1
    client : Out(ReadClient())
    available : Out(range(weight_vectors + 1))
    read_offset : In(range(weight_vectors)), read_enable : In(1)
    read_data : Out(Bytes), two cycles after ``read_enable``; the offset is below ``available``
    release : In(1), release_count : In(range(weight_vectors + 1))
        Drop that many of the oldest vectors, at most ``available``.
    idle : Out(1)
        Nothing is under way from memory.
    """

    def __init__(self, config: Config):
        self.config = config
        depth = config.weight_vectors
        super().__init__({
            "command": In(stream.Signature(command(Weights))),
            "client": Out(ReadClient()),
            "available": Out(range(depth + 1)),
            "read_offset": In(range(depth)),
            "read_enable": In(1),
            "read_data": Out(Bytes),
            "release": In(1),
            "release_count": In(range(depth + 1)),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self.config.weight_vectors

        m.submodules.reader = reader = LinearReader(self.config, PREFETCH)
        wiring.connect(m, reader.client, wiring.flipped(self.client))
        weights = self.command.payload.operand
        incoming = reader.output
        m.d.comb += [
            reader.transfer.valid.eq(self.command.valid),
            reader.transfer.payload.address.eq(weights.address),
            reader.transfer.payload.count.eq(weights.count),
            self.command.ready.eq(reader.transfer.ready),
            self.idle.eq(reader.idle & ~self.command.valid & ~incoming.valid),
        ]

        m.submodules.memory = memory = Memory(shape=Bytes, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        head = Signal(exact_log2(depth))
        tail = Signal(exact_log2(depth))
        taken = Signal()
        m.d.comb += [
            # ``available`` never exceeds ``depth``, a power of two: its top bit says full.
            incoming.ready.eq(~self.available[-1]),
            taken.eq(incoming.valid & incoming.ready),
            write.en.eq(taken),
            write.addr.eq(head),
            write.data.eq(incoming.payload),
            read.en.eq(self.read_enable),
            read.addr.eq(tail + self.read_offset),
        ]
        released = Mux(self.release, self.release_count, 0)
        m.d.sync += [
            head.eq(head + taken),
            tail.eq(tail + released),
            self.available.eq(self.available + taken - released),
            self.read_data.eq(read.data),
        ]
        return m
