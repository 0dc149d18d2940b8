"""The weight ring: weights stream in from external memory, the tile loader reads at random."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .block_memory import BlockMemory
from .config import Config
from .interfaces import Bytes, ReadClient, command
from .isa import Weights
from .linear_reader import BurstCutter

LONGEST = 16
"""Vectors of the longest burst: ``OperandCheck`` leaves that much room beside the tiles of a group,
so all of them come."""


def ring_latency(config: Config) -> int:
    """Cycles from ``read_enable`` to ``read_data``; on an ECP5 it is a long way to the blocks."""
    return 3 if config.vendor == "ecp5" else 2


class WeightRing(wiring.Component):
    """``weight_vectors`` vectors between external memory and the tile loader.

    The vectors of all commands form one sequence. Its oldest vector that was not released is at
    offset 0; ``available`` vectors from there on are present. A burst is asked for when the ring
    has room for a longest one, and what comes goes straight to its place, one vector a cycle;
    vectors that were not released are never overwritten. Without a release all but the last
    LONGEST - 1 places fill. Reading and releasing do not disturb one another: a read uses the
    offsets of its own cycle.

    Memory: ``weight_vectors * 128`` bits, followed by a register for block RAMs to absorb.

    Members
    -------
    command : In(stream(command(Weights))), counts of at least 1
    client : Out(ReadClient())
    available : Out(range(weight_vectors + 1))
    read_offset : In(range(weight_vectors)), read_enable : In(1)
    read_data : Out(Bytes), ``ring_latency`` after ``read_enable``; the offset is below
        ``available``
    release : In(1), release_count : In(range(weight_vectors + 1))
        Drop that many of the oldest vectors, at most ``available``.
    full : Out(1)
        A burst waits for room.
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
            "full": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self.config.weight_vectors

        burst = min(self.config.burst, LONGEST)
        m.submodules.cutter = cutter = BurstCutter(burst)
        wiring.connect(m, cutter.request, wiring.flipped(self.client.request))
        incoming = self.client.data
        weights = self.command.payload.operand
        room = Signal(range(depth + 1), init=depth)  # vectors that no burst has reserved
        released = Mux(self.release, self.release_count, 0)
        m.d.comb += [
            cutter.transfer.valid.eq(self.command.valid),
            cutter.transfer.payload.address.eq(weights.address),
            cutter.transfer.payload.count.eq(weights.count),
            self.command.ready.eq(cutter.transfer.ready),
            cutter.room.eq(room[exact_log2(burst):].any()),
            self.full.eq(cutter.busy & ~cutter.room),
            self.idle.eq(~self.command.valid & ~cutter.busy & (room + self.available == depth)),
        ]
        m.d.sync += room.eq(room + cutter.price + released)

        m.submodules.memory = memory = BlockMemory(self.config, Bytes.size, depth)
        head = Signal(exact_log2(depth))
        tail = Signal(exact_log2(depth))
        m.d.comb += [
            memory.write_enable.eq(incoming.valid),
            memory.write_address.eq(head),
            memory.write_data.eq(incoming.payload),
            self.read_data.as_value().eq(memory.read_data),
        ]
        m.d["comb" if ring_latency(self.config) == 2 else "sync"] += [
            memory.read_enable.eq(self.read_enable),
            memory.read_address.eq(tail + self.read_offset),
        ]
        m.d.sync += [
            head.eq(head + incoming.valid),
            tail.eq(tail + released),
            self.available.eq(self.available + incoming.valid - released),
        ]
        return m
