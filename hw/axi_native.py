"""AXI4 in front of LiteDRAM's native port, for managers that need no buffers in between."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR
from .interfaces import Axi4

READS = 16
"""Bursts of reads that may be under way."""
WRITES = 31
"""Bursts of writes that may wait for their response."""


class NativePort(wiring.Signature):
    """LiteDRAM's native port, seen from the manager: one command for every word.

    ``cmd_addr`` counts words of ``data_width`` bits. Words move long after their command, in the
    order of the commands: one of ``wdata`` is taken whenever ``wdata_ready`` is high, and one of
    ``rdata`` is there whenever ``rdata_valid`` is high; neither waits for the manager.
    """

    def __init__(self, address_width: int, data_width: int = 8 * VECTOR):
        self.address_width, self.data_width = address_width, data_width
        super().__init__({
            "cmd_valid": Out(1), "cmd_ready": In(1), "cmd_we": Out(1),
            "cmd_addr": Out(address_width),
            "wdata_valid": Out(1), "wdata_ready": In(1), "wdata_we": Out(data_width // 8),
            "wdata_data": Out(data_width),
            "rdata_ready": Out(1), "rdata_valid": In(1), "rdata_data": In(data_width),
        })


class AxiNative(wiring.Component):
    """Bursts of ``axi`` to commands of ``native``, one a cycle; data pass straight through.

    INCR bursts of whole words; address bits above the memory are ignored. Bursts that read and
    bursts that write take turns of up to ``turn`` bursts, for a change of direction costs the
    memory about ten cycles. All commands keep their order, so a read sees every write whose AW
    came before its AR. A write is acknowledged with its last word.

    The manager must take R at once (RREADY always set), and offer all words of a write without a
    pause from AWVALID on; ``hw.read_arbiter`` and ``hw.store`` do. When a word is not there at
    the time the memory takes it, or ``late`` says so, nothing is written from then on until reset,
    and writes are answered with SLVERR.

    Latency: two cycles from AR to the first command, none from ``rdata`` to R.
    """

    def __init__(self, address_width: int, turn: int = 4):
        self.turn = turn
        super().__init__({
            "axi": In(Axi4()), "native": Out(NativePort(address_width)), "late": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        axi, native = self.axi, self.native
        lane_bits = exact_log2(VECTOR)

        # Whose turn: the same direction as before, until its turn is over or it has no burst. The
        # burst waits in a register, which keeps the paths of both sides short.
        m.submodules.lengths = lengths = fifo.SyncFIFO(width=len(axi.arlen), depth=READS)
        under_way = Signal(range(WRITES + 1))  # writes without their response
        waiting, writes = Signal(), Signal()
        word, beats_minus_1 = Signal(len(native.cmd_addr)), Signal(8)
        spent = Signal(range(self.turn + 1))
        may_read, may_write, over, take_write = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            may_read.eq(axi.arvalid & lengths.w_rdy),
            may_write.eq(axi.awvalid & (under_way != WRITES)),
            over.eq(spent == self.turn),
            take_write.eq(may_write & ((writes ^ over) | ~may_read)),
            axi.awready.eq(~waiting & take_write),
            axi.arready.eq(~waiting & may_read & ~take_write),
        ]
        with m.If(axi.awready | axi.arready):
            m.d.sync += [
                waiting.eq(1),
                writes.eq(take_write),
                word.eq(Mux(take_write, axi.awaddr, axi.araddr) >> lane_bits),
                beats_minus_1.eq(Mux(take_write, axi.awlen, axi.arlen)),
                spent.eq(Mux(take_write == writes, Mux(over, spent, spent + 1), 1)),
            ]

        # One burst at a time becomes commands; the next one follows without a gap.
        busy, next_burst = Signal(), Signal()
        left = Signal(8)  # commands behind this one
        m.d.comb += [
            native.cmd_valid.eq(busy),
            next_burst.eq(~busy | (native.cmd_ready & (left == 0))),
        ]
        with m.If(native.cmd_ready):
            m.d.sync += [native.cmd_addr.eq(native.cmd_addr + 1), left.eq(left - 1)]
        with m.If(next_burst):
            m.d.sync += [
                busy.eq(waiting),
                native.cmd_we.eq(writes),
                native.cmd_addr.eq(word),
                left.eq(beats_minus_1),
            ]
            with m.If(waiting):
                m.d.sync += waiting.eq(0)

        # Read data: the burst that a word ends is known by counting.
        beat = Signal(8)
        m.d.comb += [
            lengths.w_en.eq(axi.arready),
            lengths.w_data.eq(axi.arlen),
            lengths.r_en.eq(axi.rvalid & axi.rlast),
            native.rdata_ready.eq(1),
            axi.rvalid.eq(native.rdata_valid),
            axi.rdata.eq(native.rdata_data),
            axi.rlast.eq(beat == lengths.r_data),
        ]
        with m.If(native.rdata_valid):
            m.d.sync += beat.eq(Mux(axi.rlast, 0, beat + 1))

        # Write data and responses.
        owed = Signal.like(under_way)  # responses
        missed, answered = Signal(), Signal()
        m.d.comb += [
            native.wdata_valid.eq(axi.wvalid),
            native.wdata_data.eq(axi.wdata),
            native.wdata_we.eq(Mux(axi.wvalid & ~missed, axi.wstrb, 0)),
            axi.wready.eq(native.wdata_ready),
            axi.bvalid.eq(owed != 0),
            axi.bresp.eq(Mux(missed, 2, 0)),
            answered.eq(axi.bvalid & axi.bready),
        ]
        m.d.sync += [
            under_way.eq(under_way + axi.awready - answered),
            owed.eq(owed + (axi.wvalid & axi.wready & axi.wlast) - answered),
        ]
        with m.If((native.wdata_ready & ~axi.wvalid) | self.late):
            m.d.sync += missed.eq(1)
        return m
