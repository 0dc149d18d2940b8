"""The activation memory: ``pixels`` reads and one write a cycle."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import Config
from .interfaces import ActWrite, Bytes
from .isa import ACT_ADDRESS

WRITERS = 3
READS = WRITERS
"""``fault_source`` of the reads; those of the writers are their indices."""


class ActMemory(wiring.Component):
    """``act_vectors`` vectors in ``pixels`` banks: address ``a`` is in bank ``a % pixels``.

    Reads: every lane reads one vector a cycle, latency exactly 2. Lanes enabled in the same cycle
    must address distinct banks; a lane that was not enabled gives meaningless data.
    Writes: one vector a cycle; writer 0 always goes first, the others wait for those before them.
    A read sees every vector that was taken at least two cycles before it.
    An access at ``act_vectors`` or above does not take place and raises ``fault``
    one cycle later, a write two.

    Memory: ``act_vectors * 128`` bits, each bank followed by a register for block RAMs to absorb.

    Members
    -------
    writers : 3 x In(stream(ActWrite))
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
            "writers": In(stream.Signature(ActWrite)).array(WRITERS),
            "read_enable": In(lanes),
            "read_address": In(data.ArrayLayout(ACT_ADDRESS, lanes)),
            "read_data": Out(data.ArrayLayout(Bytes, lanes)),
            "fault": Out(1),
            "fault_source": Out(range(READS + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, depth = self.config.pixels, self.config.act_vectors
        bank_bits = exact_log2(lanes)

        # The write port reaches every block RAM, so it starts at a register.
        write, writing = Signal(ActWrite), Signal()
        source = Signal(range(WRITERS))
        m.d.sync += writing.eq(0)
        blocked = Const(0)
        for index, writer in enumerate(self.writers):
            m.d.comb += writer.ready.eq(~blocked)
            with m.If(writer.valid & ~blocked):
                m.d.sync += [write.eq(writer.payload), writing.eq(1), source.eq(index)]
            blocked = blocked | writer.valid
        write_inside = write.address < depth

        # Lane to bank. At most one lane is at a bank, so the rows are combined by OR.
        address = self.read_address
        reading = Cat(self.read_enable[i] & (address[i] < depth) for i in range(lanes))
        outputs = Array(Signal(Bytes, name=f"output{b}") for b in range(lanes))
        for bank in range(lanes):
            memory = Memory(shape=Bytes, depth=depth // lanes, init=[])
            m.submodules[f"bank{bank}"] = memory
            here = [reading[i] & (address[i][:bank_bits] == bank) for i in range(lanes)]
            read = memory.read_port()
            m.d.comb += [
                read.en.eq(reduce(or_, here)),
                read.addr.eq(reduce(or_, (
                    Mux(here[i], address[i][bank_bits:], 0) for i in range(lanes)
                )) if lanes > 1 else address[0]),
            ]
            m.d.sync += outputs[bank].eq(read.data)
            port = memory.write_port()
            m.d.comb += [
                port.en.eq(writing & write_inside & (write.address[:bank_bits] == bank)),
                port.addr.eq(write.address[bank_bits:]),
                port.data.eq(write.data),
            ]

        # Bank to lane, after the registers of the banks.
        for lane in range(lanes):
            bank, bank_next = Signal(bank_bits), Signal(bank_bits)
            m.d.sync += [bank_next.eq(address[lane][:bank_bits]), bank.eq(bank_next)]
            m.d.comb += self.read_data[lane].eq(outputs[bank] if lanes > 1 else outputs[0])

        write_fault = writing & ~write_inside
        m.d.sync += [
            self.fault.eq((self.read_enable != reading) | write_fault),
            self.fault_source.eq(Mux(write_fault, source, READS)),
        ]
        return m
