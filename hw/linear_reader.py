"""Linear runs of external memory as a stream of vectors."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR, Config
from .interfaces import Bytes, ReadClient, Transfer


class LinearReader(wiring.Component):
    """Turns transfers into bursts, and their beats into one stream of vectors.

    A burst is asked for only when the FIFO has room for a longest one, so every beat is taken.
    Bursts end at multiples of their greatest length, which is ``config.burst`` but at most half of
    the FIFO, rounded down to a power of two; so none crosses 4 KiB.

    Throughput: one vector a cycle, over the ends of transfers too, if ``depth`` covers two bursts
    and the latency of the memory. Latency: one cycle from transfer to request (two if idle), two
    from beat to ``output``. Memory: ``depth - 1`` x 128 bits, LUT RAM or block RAM.

    Members
    -------
    transfer : a run of ``count`` vectors; a count of 0 gives nothing
    output : the vectors of all transfers in order
    client : to the read arbiter
    idle : every vector asked for has left ``output`` and no transfer is under way
    """

    def __init__(self, config: Config, depth: int):
        if depth < 4:
            raise ValueError(f"linear reader: depth is {depth}, supported: at least 4")
        self.depth = depth
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
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=8 * VECTOR, depth=self.depth)

        # Cut: one burst a cycle from the run (address, remaining) into the request register.
        address = Signal.like(self.transfer.p.address)
        remaining = Signal.like(self.transfer.p.count)
        free = Signal(range(self.depth + 1), init=self.depth)
        to_edge = Signal(range(self.burst + 1))
        beats = Signal.like(to_edge)
        last, cut = Signal(), Signal()
        request, taken = self.client.request, self.output.valid & self.output.ready
        m.d.comb += [
            to_edge.eq(self.burst - address[:exact_log2(self.burst)]),
            last.eq(remaining <= to_edge),
            beats.eq(Mux(last, remaining, to_edge)),
            cut.eq((remaining != 0) & (free >= self.burst) & (~request.valid | request.ready)),
            self.transfer.ready.eq((remaining == 0) | (cut & last)),
        ]
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(cut):
            m.d.sync += [
                request.valid.eq(1),
                request.p.address.eq(address),
                request.p.beats_minus_1.eq(beats - 1),
                address.eq(address + beats),
                remaining.eq(remaining - beats),
            ]
        with m.If(self.transfer.valid & self.transfer.ready):
            m.d.sync += [
                address.eq(self.transfer.p.address),
                remaining.eq(self.transfer.p.count),
            ]

        # Credit: FIFO places that no request has reserved.
        m.d.sync += free.eq(free - Mux(cut, beats, 0) + taken)

        m.d.comb += [
            queue.w_data.eq(self.client.data.p.as_value()),
            queue.w_en.eq(self.client.data.valid),
            self.output.p.as_value().eq(queue.r_data),
            self.output.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.output.ready),
            self.idle.eq((free == self.depth) & (remaining == 0)),
        ]
        return m
