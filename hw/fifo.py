"""FIFOs: in block RAM, with the next entry in a register, and of two places."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Shape, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import FIFOInterface, SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class BlockFifo(FIFOInterface, Elaboratable):
    """A FIFO in block RAM, however small it is: its output is the register behind the memory.

    For wide and shallow FIFOs: LUT RAM costs two LUTs for three bits of 32 entries, block RAM comes
    in 72 bits of 512. Latency: two cycles from write to read.
    """

    def __init__(self, *, width: int, depth: int):
        super().__init__(width=width, depth=depth)
        self.level = Signal(range(depth + 1))

    def elaborate(self, platform):
        m = Module()
        places = self.depth - 1
        # An entry is never read in the cycle in which it is written. Yosys heeds the second
        # attribute where it puts a register into a memory itself, hence the read without one.
        m.submodules.storage = storage = Memory(shape=self.width, depth=places, init=[])
        storage.attrs.update(ram_style="block", no_rw_check=1)
        write, read = storage.write_port(), storage.read_port(domain="comb")
        inner = Signal(range(self.depth))
        writes, reads = Signal(), Signal()
        m.d.comb += [
            self.w_rdy.eq(inner != places),
            writes.eq(self.w_en & self.w_rdy),
            reads.eq((inner != 0) & (~self.r_rdy | self.r_en)),
            write.en.eq(writes),
            write.data.eq(self.w_data),
            self.level.eq(inner + self.r_rdy),
            self.w_level.eq(self.level),
            self.r_level.eq(self.level),
        ]
        m.d.sync += [
            inner.eq(inner + writes - reads),
            self.r_rdy.eq(reads | (self.r_rdy & ~self.r_en)),
        ]
        with m.If(reads):
            m.d.sync += self.r_data.eq(read.data)
        for moves, port in ((writes, write), (reads, read)):
            place = Signal(range(places))
            m.d.comb += port.addr.eq(place)
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == places - 1, 0, place + 1))
        return m


class HeadFifo(wiring.Component):
    """A FIFO of ``depth`` + 1 entries whose ``r_data`` and ``r_rdy`` are registers.

    Latency: one cycle from write to read. The writer sees to it that there is room.
    """

    def __init__(self, width: int, depth: int):
        self._rest = SyncFIFO(width=width, depth=depth)
        super().__init__({"w_en": In(1), "w_data": In(width), "r_rdy": Out(1), "r_en": In(1),
                          "r_data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.rest = rest = self._rest
        free = Signal()
        held = Signal(len(self.r_data), reset_less=True)
        m.d.comb += [
            self.r_data.eq(held),
            free.eq(~self.r_rdy | self.r_en),
            rest.w_en.eq(self.w_en & ~(free & ~rest.r_rdy)),
            rest.w_data.eq(self.w_data),
            rest.r_en.eq(free),
        ]
        with m.If(free):
            m.d.sync += [
                self.r_rdy.eq(rest.r_rdy | self.w_en),
                held.eq(Mux(rest.r_rdy, rest.r_data, self.w_data)),
            ]
        return m


class TwoPlaces(wiring.Component):
    """A stream one cycle later, at full rate; nothing depends on ``o.ready`` but a few flip-flops.

    For wide streams between units far from one another. Each piece of at most ``piece`` bits of
    the payload has flip-flops of its own that control it, so that it can have a place of its own.
    """

    def __init__(self, shape, piece: int | None = None):
        self._piece = piece or Shape.cast(shape).width
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        given = []
        for first in range(0, len(Value.cast(i.payload)), self._piece):
            piece = Value.cast(i.payload)[first:first + self._piece]
            full, write, read, valid = (Signal(width, name=f"{name}_{first}") for name, width in (
                ("full", 2), ("write", 1), ("read", 1), ("valid", 1)))
            ready = Signal(init=1, name=f"ready_{first}")
            if not given:
                m.d.comb += [i.ready.eq(ready), o.valid.eq(valid)]
            comes, leaves = i.valid & ready, valid & o.ready
            # Valid and ready are flip-flops: both are with one place full.
            m.d.sync += [
                valid.eq(comes | (valid & ~(leaves & ready))),
                ready.eq(leaves | ~valid | (ready & ~comes)),
            ]
            places = [Signal(len(piece), name=f"place{n}_{first}", reset_less=True)
                      for n in range(2)]
            for n, place in enumerate(places):
                # An empty place takes what comes, valid or not.
                with m.If(~full[n]):
                    m.d.sync += place.eq(piece)
            with m.If(leaves):
                m.d.sync += [full.bit_select(read, 1).eq(0), read.eq(~read)]
            with m.If(comes):
                m.d.sync += [full.bit_select(write, 1).eq(1), write.eq(~write)]
            given.append(Mux(read, *reversed(places)))
        m.d.comb += Value.cast(o.payload).eq(Cat(given))
        return m
