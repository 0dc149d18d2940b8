"""Clock crossings of the core's ports: AXI4 to the memory, AXI4-Lite from the host.

Every channel goes through an asynchronous FIFO with Gray-coded pointers. Domains are reset
together, while both clocks run: a reset of one alone leaves words behind.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR
from .interfaces import Axi4, AxiLite

ADDRESSES = 4
"""Bursts, or accesses of AXI4-Lite, that a channel holds."""


class CrossingFifo(AsyncFIFO):
    """``AsyncFIFO`` in LUT RAM: block RAM is dear, and a few dozen words would be one each."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.submodules.storage.attrs["ram_style"] = "distributed"
        return m


def fields(bus, channel: str) -> Value:
    """What a channel carries beside VALID and READY."""
    return Cat(getattr(bus, name) for name in bus.signature.members
               if name.startswith(channel) and name not in (f"{channel}valid", f"{channel}ready"))


def _fifo(m: Module, channel: str, width: int, depth: int, source: str, target: str):
    """The FIFO of a channel from the domain ``source`` to the domain ``target``."""
    fifo = CrossingFifo(width=width, depth=depth, w_domain=source, r_domain=target)
    m.submodules[channel] = fifo
    return fifo


def _write(m: Module, fifo, bus, channel: str, data: Value):
    """A channel that comes in from ``bus``."""
    m.d.comb += [
        fifo.w_data.eq(data),
        fifo.w_en.eq(getattr(bus, f"{channel}valid")),
        getattr(bus, f"{channel}ready").eq(fifo.w_rdy),
    ]


def _read(m: Module, fifo, bus, channel: str, data: Value):
    """A channel that goes out to ``bus``."""
    m.d.comb += [
        data.eq(fifo.r_data),
        getattr(bus, f"{channel}valid").eq(fifo.r_rdy),
        fifo.r_en.eq(getattr(bus, f"{channel}ready")),
    ]


class AxiCrossing(wiring.Component):
    """AXI4 from a manager in the domain ``source`` to a memory in the domain ``target``.

    Keeps the rules of ``hw.axi_native`` for its manager: an AR leaves when ``reads`` words have
    room for all of its burst and of those before it, so that R is taken at once; an AW leaves when
    all words of its burst are there, which follow without a pause. Both are powers of two of at
    least ``longest``, the words of the longest burst. Bursts are INCR of whole words, as ``Axi4``.

    Throughput: one word a cycle of the slower clock each way, as long as ``reads`` words last for
    the memory's latency. Latency: of an address one cycle of ``source`` and three to four of
    ``target``, of a word read one of ``target`` and two to three of ``source``.
    """

    def __init__(self, source: str = "core", target: str = "sync", *, longest: int = 16,
                 reads: int = 64, writes: int = 32):
        for name, depth in (("reads", reads), ("writes", writes)):
            if depth < longest or depth & depth - 1:
                raise ValueError(f"clock crossing: {name} is {depth}, supported: powers of two from"
                                 f" the longest burst on, {longest}")
        self.source, self.target = source, target
        self.reads, self.writes = reads, writes
        super().__init__({"manager": In(Axi4()), "memory": Out(Axi4())})

    def elaborate(self, platform):
        m = Module()
        memory = self.memory
        for channel in ("aw", "ar"):
            m.d.comb += [
                getattr(memory, f"{channel}size").eq(exact_log2(VECTOR)),
                getattr(memory, f"{channel}burst").eq(1),  # INCR
                getattr(memory, f"{channel}cache").eq(0b0011),  # bufferable, modifiable
            ]
        self._reads(m)
        self._writes(m)
        return m

    def _send(self, m: Module, channel: str, may_go: Value, words: Value):
        """AR or AW through a register, into which a burst comes when ``may_go``; gives the cycle
        in which it does, and writes its words to ``words``."""
        manager, memory = self.manager, self.memory
        given, sent = (Cat(getattr(bus, f"{channel}addr"), getattr(bus, f"{channel}len"))
                       for bus in (manager, memory))
        fifo = _fifo(m, channel, len(given), ADDRESSES, self.source, self.target)
        _write(m, fifo, manager, channel, given)
        valid, ready = getattr(memory, f"{channel}valid"), getattr(memory, f"{channel}ready")
        goes = Signal(name=f"{channel}_goes")
        m.d.comb += [
            words.eq(fifo.r_data[-8:] + 1),
            goes.eq(fifo.r_rdy & may_go & (~valid | ready)),
            fifo.r_en.eq(goes),
        ]
        with m.If(ready):
            m.d[self.target] += valid.eq(0)
        with m.If(goes):
            m.d[self.target] += [valid.eq(1), sent.eq(fifo.r_data)]
        return goes

    def _reads(self, m: Module):
        memory = self.memory
        fifo = _fifo(m, "r", len(fields(memory, "r")), self.reads, self.target, self.source)
        m.d.comb += [
            memory.rready.eq(1),  # there is room
            fifo.w_data.eq(fields(memory, "r")),
            fifo.w_en.eq(memory.rvalid),
        ]
        _read(m, fifo, self.manager, "r", fields(self.manager, "r"))
        # Words asked for that the FIFO's level, which is a cycle late, does not show yet.
        asked, words = Signal(range(self.reads + 1)), Signal(9)
        came = Signal()
        goes = self._send(m, "ar", fifo.w_level + asked + words <= self.reads, words)
        m.d[self.target] += [
            came.eq(memory.rvalid),
            asked.eq(asked + Mux(goes, words, 0) - came),
        ]

    def _writes(self, m: Module):
        memory = self.memory
        fifo = _fifo(m, "w", len(fields(memory, "w")), self.writes, self.source, self.target)
        _write(m, fifo, self.manager, "w", fields(self.manager, "w"))
        # Words at hand whose burst has been sent.
        owed, words = Signal(range(self.writes + 1)), Signal(9)
        goes = self._send(m, "aw", fifo.r_level >= owed + words, words)
        m.d.comb += [
            fields(memory, "w").eq(fifo.r_data),
            memory.wvalid.eq(owed != 0),
            fifo.r_en.eq(memory.wvalid & memory.wready),
        ]
        m.d[self.target] += owed.eq(owed + Mux(goes, words, 0) - fifo.r_en)

        answers = _fifo(m, "b", len(memory.bresp), ADDRESSES, self.target, self.source)
        _write(m, answers, memory, "b", memory.bresp)
        _read(m, answers, self.manager, "b", self.manager.bresp)


class AxiLiteCrossing(wiring.Component):
    """AXI4-Lite from a manager in the domain ``source`` to registers in the domain ``target``.

    Latency: each way one cycle of the clock where it begins and two to three of the other.
    """

    def __init__(self, source: str = "sync", target: str = "core", address_width: int = 8):
        self.source, self.target = source, target
        super().__init__({"manager": In(AxiLite(address_width)),
                          "registers": Out(AxiLite(address_width))})

    def elaborate(self, platform):
        m = Module()
        for channel in ("aw", "w", "b", "ar", "r"):
            ends = (self.manager, self.source), (self.registers, self.target)
            if channel in ("b", "r"):
                ends = ends[::-1]
            (giver, source), (taker, target) = ends
            data = fields(giver, channel)
            fifo = _fifo(m, channel, len(data), ADDRESSES, source, target)
            _write(m, fifo, giver, channel, data)
            _read(m, fifo, taker, channel, fields(taker, channel))
        return m
