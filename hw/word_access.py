"""One word after another to the buses that the host link reaches."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR
from .interfaces import Axi4, AxiLite
from .link import LINK_ID, WORD, LinkRegister, Space
from .litedram import Wishbone

__all__ = ["ANSWER_CYCLES", "Request", "WordAccess"]

ANSWER_CYCLES = 1 << 13
"""Cycles after which an access without an answer is an error."""
LANES = VECTOR // WORD
"""Words of a vector."""
DROPPED_BITS = 16


class Request(data.Struct):
    """A read or write of one word at byte ``address``, a multiple of ``WORD``; nothing is at 2^32
    and above."""

    space: Space
    write: 1
    address: 33
    data: 32


class WordAccess(wiring.Component):
    """Does a request while ``valid`` is high, until ``answered``; between two it falls for a cycle.
    ``request.data`` may come a cycle after ``valid``.

    Words of memory come in order, four of a vector: the first of a read reads the vector, the last
    of a write writes it. Two cycles a word and the bus's own time.

    What is not there fails without an access: registers beyond ``bus``'s address width or the
    link's, anything beyond 32 bits of address, memory beyond ``memory_bytes``, and all memory while
    ``ready`` is low. An access without an answer in ``ANSWER_CYCLES`` fails and is taken back; if
    AXI has accepted a part of it, all to the same bus fail until its answer comes after all.
    ``value`` of a failed read means nothing.

    Members
    -------
    valid : In(1), request : In(Request)
    answered : Out(1), failed : Out(1), value : Out(32)
    dropped : In(16), `LinkRegister.DROPPED`
    ready : In(1), `LinkRegister.READY`
    bus : Out(AxiLite()), registers of the core
    control : Out(Wishbone()), registers of the DRAM controller
    memory : Out(Axi4()), one burst of one beat under way; W comes with AW, R and B are not refused
    """

    def __init__(self, memory_bytes: int):
        if not VECTOR <= memory_bytes <= 1 << 32 or memory_bytes & memory_bytes - 1:
            raise ValueError(f"host link: memory of {memory_bytes} bytes, supported: powers of two "
                             f"from {VECTOR} to {1 << 32}")
        self.memory_bits = exact_log2(memory_bytes)
        super().__init__({
            "valid": In(1), "request": In(Request),
            "answered": Out(1), "failed": Out(1), "value": Out(32),
            "dropped": In(DROPPED_BITS), "ready": In(1),
            "bus": Out(AxiLite()), "control": Out(Wishbone()), "memory": Out(Axi4()),
        })

    def elaborate(self, platform):
        m = Module()
        bus, control, memory, request = self.bus, self.control, self.memory, self.request
        space, address = request.space, request.address
        lane = address[2:4]
        written = Signal(data.ArrayLayout(32, LANES - 1))  # of a vector before its last word
        vector = Signal(data.ArrayLayout(32, LANES))  # that was read
        m.d.comb += [
            bus.awaddr.eq(address), bus.araddr.eq(address),
            bus.wdata.eq(request.data), bus.wstrb.eq(-1),
            bus.bready.eq(1), bus.rready.eq(1),
            control.stb.eq(control.cyc), control.we.eq(request.write),
            control.adr.eq(address[2:]), control.dat_w.eq(request.data), control.sel.eq(-1),
            memory.awaddr[4:].eq(address[4:]), memory.araddr[4:].eq(address[4:]),
            memory.awsize.eq(4), memory.arsize.eq(4), memory.awburst.eq(1), memory.arburst.eq(1),
            memory.awcache.eq(0b0011), memory.arcache.eq(0b0011),
            memory.wdata.eq(Cat(written, request.data)), memory.wstrb.eq(-1), memory.wlast.eq(1),
            memory.bready.eq(1), memory.rready.eq(1),
        ]

        # What answers a read, and whether it is there at all.
        link, missing = Signal(32), Signal()
        with m.Switch(address[2:4]):
            with m.Case(LinkRegister.ID // WORD):
                m.d.comb += link.eq(LINK_ID)
            with m.Case(LinkRegister.DROPPED // WORD):
                m.d.comb += link.eq(self.dropped)
            with m.Default():
                m.d.comb += link.eq(self.ready)
        late = Signal(data.StructLayout({"bus": 1, "memory": 1}))  # an answer is still to come
        with m.Switch(space):
            with m.Case(Space.LINK):
                m.d.comb += [self.value.eq(link),
                             missing.eq(address[4:].any() | (address[2:4] >= len(LinkRegister)))]
            with m.Case(Space.CORE):
                m.d.comb += [self.value.eq(bus.rdata),
                             missing.eq(address[bus.signature.address_width:].any() | late.bus)]
            with m.Case(Space.CONTROLLER):
                m.d.comb += [self.value.eq(control.dat_r), missing.eq(address[32])]
            with m.Case(Space.MEMORY):
                m.d.comb += [
                    self.value.eq(vector[lane]),
                    missing.eq(address[self.memory_bits:].any() | ~self.ready | late.memory),
                ]

        cycles, over = Signal(range(ANSWER_CYCLES)), Signal()
        m.d.comb += over.eq(cycles == ANSWER_CYCLES - 1)
        m.d.sync += cycles.eq(cycles + 1)
        for port in (bus, memory):
            for channel in ("ar", "aw", "w"):
                with m.If(getattr(port, f"{channel}ready") | over):
                    m.d.sync += getattr(port, f"{channel}valid").eq(0)
        bus_answers, memory_answers = bus.rvalid | bus.bvalid, memory.rvalid | memory.bvalid
        with m.If(bus_answers):
            m.d.sync += late.bus.eq(0)
        with m.If(memory_answers):
            m.d.sync += late.memory.eq(0)
        with m.If(memory.rvalid):
            m.d.sync += vector.eq(memory.rdata)
        held = Signal()  # the failure that "held" reports
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [cycles.eq(0), held.eq(missing)]
                with m.If(self.valid):
                    m.next = "held"
                with m.If(self.valid & ~missing):
                    with m.Switch(space):
                        with m.Case(Space.CORE):
                            m.d.sync += [bus.arvalid.eq(~request.write),
                                         bus.awvalid.eq(request.write),
                                         bus.wvalid.eq(request.write)]
                            m.next = "bus"
                        with m.Case(Space.CONTROLLER):
                            m.d.sync += control.cyc.eq(1)
                            m.next = "control"
                        with m.Case(Space.MEMORY):
                            with m.If(request.write & (lane == LANES - 1)):
                                m.d.sync += [memory.awvalid.eq(1), memory.wvalid.eq(1)]
                                m.next = "memory"
                            with m.Elif(~request.write & (lane == 0)):
                                m.d.sync += memory.arvalid.eq(1)
                                m.next = "memory"
            with m.State("held"):
                m.d.comb += [self.answered.eq(1), self.failed.eq(held)]
                # Of a word that failed too: the vector may be written all the same.
                with m.If(lane != LANES - 1):
                    m.d.sync += written[lane].eq(request.data)
                m.next = "idle"
            with m.State("bus"):
                m.d.comb += [
                    self.answered.eq(bus_answers),
                    self.failed.eq((bus.rvalid & (bus.rresp != 0))
                                   | (bus.bvalid & (bus.bresp != 0))),
                ]
                with m.If(bus_answers):
                    m.next = "idle"
                with m.Elif(over):
                    m.d.sync += [late.bus.eq(_accepted(bus, request.write)), held.eq(1)]
                    m.next = "held"
            with m.State("control"):
                m.d.comb += [self.answered.eq(control.ack | control.err),
                             self.failed.eq(control.err)]
                with m.If(control.ack | control.err):
                    m.d.sync += control.cyc.eq(0)
                    m.next = "idle"
                with m.Elif(over):
                    m.d.sync += [control.cyc.eq(0), held.eq(1)]
                    m.next = "held"
            with m.State("memory"):
                with m.If(memory_answers):
                    m.d.sync += held.eq((memory.rvalid & (memory.rresp != 0))
                                        | (memory.bvalid & (memory.bresp != 0)))
                    m.next = "held"
                with m.Elif(over):
                    m.d.sync += [late.memory.eq(_accepted(memory, request.write)), held.eq(1)]
                    m.next = "held"
        return m


def _accepted(port, write):
    """Whether a part of an access has passed, or passes in this cycle."""
    passed = {channel: ~getattr(port, f"{channel}valid") | getattr(port, f"{channel}ready")
              for channel in ("ar", "aw", "w")}
    return Mux(write, passed["aw"] | passed["w"], passed["ar"])
