"""The activation memory: ``pixels`` reads and one write a cycle."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .block_memory import BlockMemory
from .config import Config
from .ecp5 import copies
from .interfaces import ActWrite, Bytes
from .isa import ACT_ADDRESS

WRITERS = 2
LOAD = WRITERS
READS = LOAD + 1
"""``fault_source`` of the loads and of the reads; those of the writers are their indices."""
CHUNK = 4096
"""Rows of block RAMs side by side in 9 bits; one shallower costs as much, a deeper one is several
with a multiplexer."""
PIECES = 4
"""Of a vector whose blocks stand together on an ECP5, and take what comes from a register there."""


def read_latency(config: Config) -> int:
    """Cycles from ``read_address`` to ``read_data``; on an ECP5 it is a long way to the blocks."""
    return 4 if config.vendor == "ecp5" else 2


class ActMemory(wiring.Component):
    """``act_vectors`` vectors in ``pixels`` banks: address ``a`` is in bank ``a % pixels``.

    Reads: every lane reads one vector a cycle, latency exactly ``read_latency``. Lanes enabled in
    the same cycle must address distinct banks; a lane that was not enabled gives meaningless data.
    Writes: one vector a cycle; loads go first, then writer 0, the other waits for both.
    A read sees every vector that was taken at least two cycles before it.
    An access at ``act_vectors`` or above does not take place and raises ``fault``
    one cycle later, a write two.

    Memory: ``act_vectors * 128`` bits in blocks of up to ``CHUNK`` rows, each with its output
    register. The multiplexer of the blocks comes last, so that logic behind it can share its LUTs.

    Members
    -------
    load : In(stream(ActWrite)), never refused
    writers : 2 x In(stream(ActWrite))
    spare : Out(1)
        No writer has anything.
    read_enable : In(pixels)
    read_address : In(pixels x ACT_ADDRESS)
    read_data : Out(pixels x Bytes)
    fault : Out(1), fault_source : Out(2)
        Which writer, or ``READS``.
    """

    def __init__(self, config: Config):
        self.config = config
        lanes = config.pixels
        super().__init__({
            "load": In(stream.Signature(ActWrite, always_ready=True)),
            "writers": In(stream.Signature(ActWrite)).array(WRITERS),
            "spare": Out(1),
            "read_enable": In(lanes),
            "read_address": In(data.ArrayLayout(ACT_ADDRESS, lanes)),
            "read_data": Out(data.ArrayLayout(Bytes, lanes)),
            "fault": Out(1),
            "fault_source": Out(range(READS + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, depth = self.config.pixels, self.config.act_vectors
        late = self.config.vendor == "ecp5"
        bank_bits = exact_log2(lanes)

        # The write port reaches every block RAM, so it starts at a register.
        write, writing = Signal(ActWrite), Signal()
        chosen, source = Signal(range(WRITERS + 1)), Signal(range(WRITERS + 1))
        m.d.comb += [
            self.spare.eq(~Cat(writer.valid for writer in self.writers).any()),
            chosen.eq(LOAD),
        ]
        m.d.sync += [
            writing.eq(self.load.valid | ~self.spare),
            write.eq(self.load.payload),
            source.eq(chosen),
        ]
        blocked = self.load.valid
        for index, writer in enumerate(self.writers):
            m.d.comb += writer.ready.eq(~blocked)
            with m.If(writer.valid & ~blocked):
                m.d.comb += chosen.eq(index)
                m.d.sync += write.eq(writer.payload)
            blocked = blocked | writer.valid
        write_inside = write.address < depth

        # Lane to bank. At most one lane is at a bank, so the rows are combined by OR.
        address = self.read_address
        reading = Cat(self.read_enable[i] & (address[i] < depth) for i in range(lanes))
        rows = depth // lanes
        chunks = -(-rows // CHUNK)
        pieces = PIECES if late else 1  # with registers of their own before the blocks
        width = Bytes.size // pieces
        outputs = Array(Array(Signal(Bytes, name=f"output{b}_{c}") for c in range(chunks))
                        for b in range(lanes))
        word = write.data.as_value()
        if late:
            # The units that write are far from one another: their vectors meet one register later.
            word = Signal(Bytes.size, reset_less=True)
            vectors = [Signal(Bytes.size, name=f"vector{i}", reset_less=True)
                       for i in range(WRITERS + 1)]
            m.d.sync += [vector.eq(unit.payload.data) for vector, unit in zip(
                vectors, (*self.writers, self.load), strict=True)]
            for piece, which in enumerate(copies(m, "source", chosen, pieces)):
                m.d.sync += word.word_select(piece, width).eq(
                    Array(vector.word_select(piece, width) for vector in vectors)[which])
        access_layout = data.StructLayout({
            "read": 1, "row": exact_log2(CHUNK), "writes": chunks, "to": exact_log2(CHUNK)})
        for bank in range(lanes):
            here = [reading[i] & (address[i][:bank_bits] == bank) for i in range(lanes)]
            row = reduce(or_, (Mux(here[i], address[i][bank_bits:], 0) for i in range(lanes))) \
                if lanes > 1 else address[0]
            written = [writing & ~write.skip & write_inside
                      & (write.address[:bank_bits] == bank)
                      & (write.address[bank_bits:] >> exact_log2(CHUNK) == chunk)
                      for chunk in range(chunks)]
            access = Signal(access_layout, name=f"access{bank}")
            m.d.comb += [
                access.read.eq(reduce(or_, here)),
                access.row.eq(row),
                access.writes.eq(Cat(written)),
                access.to.eq(write.address[bank_bits:]),
            ]
            given = [access]
            if late:
                given = [data.View(access_layout, copy) for copy in
                         copies(m, f"access{bank}", access.as_value(), pieces)]
            for chunk in range(chunks):
                for piece in range(pieces):
                    memory = BlockMemory(self.config, width, min(CHUNK, rows - chunk * CHUNK))
                    m.submodules[f"bank{bank}_{chunk}_{piece}"] = memory
                    bits = slice(piece * width, (piece + 1) * width)
                    m.d.comb += [
                        memory.read_enable.eq(given[piece].read),
                        memory.read_address.eq(given[piece].row),
                        outputs[bank][chunk].as_value()[bits].eq(memory.read_data),
                        memory.write_enable.eq(given[piece].writes[chunk]),
                        memory.write_address.eq(given[piece].to),
                        memory.write_data.eq(word[bits]),
                    ]

        # Bank and chunk to lane, after the registers of the blocks.
        for lane in range(lanes):
            place = address[lane][:bank_bits], address[lane][bank_bits:] >> exact_log2(CHUNK)
            now = Cat(*place)
            for i in range(3 if late else 2):
                after = Signal.like(now, name=f"place{lane}_{i}")
                m.d.sync += after.eq(now)
                now = after
            bank, chunk = now[:bank_bits], now[bank_bits:]
            m.d["sync" if late else "comb"] += self.read_data[lane].eq(
                (outputs[bank] if lanes > 1 else outputs[0])[chunk if chunks > 1 else 0])

        write_fault = writing & ~write.skip & ~write_inside
        m.d.sync += [
            self.fault.eq((self.read_enable != reading) | write_fault),
            self.fault_source.eq(Mux(write_fault, source, READS)),
        ]
        return m
