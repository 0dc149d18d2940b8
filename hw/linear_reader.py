"""Runs of external memory as bursts, and as a stream of vectors."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR, Config
from .fifo import BlockFifo
from .interfaces import BurstRequest, Bytes, ReadClient, Transfer
from .isa import EXTERNAL_ADDRESS


class BurstCutter(wiring.Component):
    """Cuts transfers into bursts that end at multiples of ``burst``, so none crosses 4 KiB.

    A burst is cut only while ``room`` is set: its vectors are never refused later. Throughput: a
    burst in two cycles, and a cycle more for every transfer.

    Members
    -------
    transfer : a run of ``count`` vectors, at least 1
    request : to the read arbiter
    room : the receiver has room for a longest burst
    price : minus the beats of a burst in its first cycle as a request, else 0; the next burst is
        cut in the cycle after that at the earliest
    busy : a transfer or a request is under way
    """

    def __init__(self, burst: int, count_width: int = 24):
        """``burst`` in beats, a power of two up to 256; ``count_width`` bits of the counts."""
        self.burst, self.count_width = burst, count_width
        super().__init__({
            "transfer": In(stream.Signature(Transfer)),
            "request": Out(stream.Signature(BurstRequest)),
            "room": In(1),
            "price": Out(range(-burst, 1)),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        bits = exact_log2(self.burst)
        transfer = self.transfer.p

        # Blocks are aligned runs of ``burst`` vectors. The run begins at ``first`` of ``block`` and
        # ends at ``last`` counted from the start of that block.
        block = Signal(EXTERNAL_ADDRESS - bits)
        first = Signal(bits)
        last = Signal(self.count_width + 1)
        active, load, cut, ends, fresh = (
            Signal(name=n) for n in ("active", "load", "cut", "ends", "fresh"))
        m.d.comb += [
            load.eq(self.transfer.valid & ~active),
            self.transfer.ready.eq(~active),
            ends.eq(~last[bits:].any()),
            cut.eq(active & self.room & ~self.request.valid),
            self.busy.eq(active | self.request.valid),
        ]
        # Loads share the adders of the counters: block + 1, last - burst, or the new count - 1. The
        # odd form of the latter makes the simple operand the one that carry chains take twice.
        step, base = Signal(len(last)), Signal(len(last))
        m.d.comb += [
            step.eq(Mux(load, Cat(transfer.address[:bits], Const(0, 1)) - 2,
                        -self.burst - 1).as_signed()),
            base.eq(Mux(load, transfer.count[:self.count_width], last)),
        ]
        with m.If(load | cut):
            m.d.sync += [
                active.eq(load | ~ends),
                block.eq(Cat(~load) + Mux(load, transfer.address[bits:], block)),
                first.eq(Mux(load, transfer.address[:bits], 0)),
                last.eq(step - ~base),
            ]

        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        m.d.sync += fresh.eq(cut)
        with m.If(cut):
            m.d.sync += [
                self.request.valid.eq(1),
                self.request.p.address.eq(Cat(first, block)),
                self.request.p.beats_minus_1.eq(
                    (last[:bits] | (~ends).replicate(bits)) - first),
            ]
        with m.If(fresh):
            m.d.comb += self.price.eq(~self.request.p.beats_minus_1.as_signed())
        return m


class LinearReader(wiring.Component):
    """Turns transfers into bursts, and their beats into one stream of vectors.

    A burst is asked for only when the FIFO has room for a longest one, so every beat is taken. The
    longest has ``config.burst`` beats, but at most half of the FIFO, rounded down to a power of
    two.

    Throughput: one vector a cycle, over the ends of transfers of some vectors too, if ``depth``
    covers two bursts and the latency of the memory. Latency: two cycles from transfer to request,
    two from beat to ``output``. Memory: ``depth - 1`` x 128 bits of block RAM.

    Members
    -------
    transfer : a run of ``count`` vectors, at least 1
    output : the vectors of all transfers in order
    client : to the read arbiter
    idle : every vector asked for has left ``output`` and no transfer is under way
    """

    def __init__(self, config: Config, depth: int, count_width: int = 24):
        if depth < 4:
            raise ValueError(f"linear reader: depth is {depth}, supported: at least 4")
        self.depth, self.count_width = depth, count_width
        self.burst = min(config.burst, 1 << (depth.bit_length() - 2))
        """Longest burst in beats, a power of two."""
        super().__init__({
            "transfer": In(stream.Signature(Transfer)),
            "output": Out(stream.Signature(Bytes)),
            "client": Out(ReadClient()),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = queue = BlockFifo(width=8 * VECTOR, depth=self.depth)
        m.submodules.cutter = cutter = BurstCutter(self.burst, self.count_width)
        wiring.connect(m, wiring.flipped(self.transfer), cutter.transfer)
        wiring.connect(m, cutter.request, wiring.flipped(self.client.request))

        # Credit: FIFO places that no burst has reserved.
        free = Signal(range(self.depth + 1), init=self.depth)
        taken = self.output.valid & self.output.ready
        m.d.comb += cutter.room.eq(free >= self.burst)
        m.d.sync += free.eq(free + cutter.price + taken)

        m.d.comb += [
            queue.w_data.eq(self.client.data.p.as_value()),
            queue.w_en.eq(self.client.data.valid),
            self.output.p.as_value().eq(queue.r_data),
            self.output.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.output.ready),
            self.idle.eq((free == self.depth) & ~cutter.busy),
        ]
        return m
