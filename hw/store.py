"""The store: finished vectors to the activation memory or, as bursts, to external memory."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import VECTOR, Config
from .fifo import BlockFifo, TwoPlaces
from .interfaces import ActWrite, Axi4, OutputVector
from .isa import COUNT, EXTERNAL_ADDRESS, Error, Target

IDLE_CYCLES = 32
"""A burst is sent as it is when no vector joined it for so many cycles."""
QUEUED = 16
"""Bursts that may wait for AXI, and bursts that may wait for their response."""
AHEAD = 4
"""Bursts whose address may be sent before the data of the first of them."""
PAGE_VECTORS = 4096 // VECTOR

Command = data.StructLayout({"target": Target, "groups_a": 8, "groups_b": 8, "index": COUNT})
"""A pass: where its results go and how many groups each branch has; ``index`` is for faults."""

Burst = data.StructLayout({
    "address": EXTERNAL_ADDRESS,
    "beats_minus_1": 8,
    "index": COUNT,
    "to_act": 1,  # no burst: a mark among the bursts for something in the activation memory
    "outside": 1,  # some vector is outside the window, or outside the activation memory
    "end": 1,  # last of its pass
})
Sent = data.StructLayout({"index": COUNT, "to_act": 1, "end": 1})


class Axi4Write(wiring.Signature):
    """The address, data and response channels of writes of ``Axi4``, under the same names."""

    def __init__(self):
        super().__init__({
            name: member for name, member in Axi4().members.items()
            if name.startswith(("aw", "w", "b"))
        })


class Store(wiring.Component):
    """Places vector after vector: group ``g`` of a branch from ``address_x + g * plane`` on.

    Branches may alternate in the input at any vector, ``last`` ends a group of its branch. The
    input is taken at one vector a cycle, passes without gaps, while the queue to AXI (two of the
    longest bursts, ``QUEUED`` bursts) has room and the activation memory takes what is for it.

    External vectors of one branch that follow one another are one burst of up to
    ``config.burst`` beats; it also ends at a page of 4 KiB, at the end of a group, when the other
    branch comes in between, and after ``IDLE_CYCLES`` without a vector. AW and W do not wait for
    one another. ``window_base`` is a multiple of 4096.

    Faults: a vector at ``window_vectors`` or above (WINDOW) or outside the activation memory
    (ACT_RANGE) is not written, neither is anything after its burst until reset; a bad response
    (WRITE). ``fault_index`` is the ``index`` of the pass; ``fault`` stays high for the first two.

    Members
    -------
    command : In(stream(Command)), one for every pass in order, at least one group
    input : In(stream(OutputVector))
    write : Out(stream(ActWrite))
    axi : Out(Axi4Write())
    window_base : In(32), bytes; window_vectors : In(28)
    done : Out(1)
        High for one cycle for every pass, in order, when all its vectors were taken by the
        activation memory (4 cycles after the last, if no external write is under way) or
        acknowledged.
    fault : Out(1), fault_code : Out(Error), fault_index : Out(16)
    halt : In(1), issue no new burst; those under way complete
    idle : Out(1)
        No burst is under way, and unless halted none is waiting and no pass is unfinished.
    beats : Out(1), a beat was written
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(Command)),
            "input": In(stream.Signature(OutputVector)),
            "write": Out(stream.Signature(ActWrite)),
            "axi": Out(Axi4Write()),
            "window_base": In(32),
            "window_vectors": In(EXTERNAL_ADDRESS),
            "done": Out(1),
            "fault": Out(1),
            "fault_code": Out(Error),
            "fault_index": Out(COUNT),
            "halt": In(1),
            "idle": Out(1),
            "beats": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        queued = max(32, 2 * self.config.burst)
        late = self.config.vendor == "ecp5"
        kind = BlockFifo if late else fifo.SyncFIFOBuffered
        m.submodules.bytes = vectors = kind(width=8 * VECTOR, depth=queued)
        m.submodules.bursts = bursts = fifo.SyncFIFO(width=Burst.size, depth=QUEUED)
        m.submodules.lengths = lengths = fifo.SyncFIFO(width=8, depth=AHEAD)
        m.submodules.sent = sent = fifo.SyncFIFO(width=Sent.size, depth=QUEUED)
        axi = self.axi

        # Place: the address of every vector.
        busy = Signal()
        index = Signal(COUNT)
        to_act = Signal()
        limit = Signal(EXTERNAL_ADDRESS, reset_less=True)  # the first address that is outside
        plane = Signal.like(self.command.payload.target.plane, reset_less=True)
        groups = Signal(9)  # still to come, of both branches
        each = data.ArrayLayout(EXTERNAL_ADDRESS, 2)  # for each branch
        starts = Signal(each, reset_less=True)  # of the group
        places = Signal(each, reset_less=True)  # of the next vector
        vector = self.input.payload
        address, next_start = Signal(EXTERNAL_ADDRESS), Signal(EXTERNAL_ADDRESS)
        taken, ends, outside = Signal(), Signal(), Signal()
        write = stream.Signature(ActWrite).create(path=("to_memory",))
        held = Signal()  # a vector on its way to the activation memory
        if late:
            m.submodules.leaving = leaving = TwoPlaces(ActWrite)
            wiring.connect(m, write, leaving.i)
            wiring.connect(m, leaving.o, wiring.flipped(self.write))
            m.d.comb += held.eq(leaving.o.valid)
        else:
            wiring.connect(m, write, wiring.flipped(self.write))
        room = Signal()  # for a burst and a vector
        m.d.comb += [
            address.eq(places[vector.branch]),
            next_start.eq(starts[vector.branch] + plane),
            outside.eq(Cat(place >= limit for place in places).bit_select(vector.branch, 1)),
            write.valid.eq(self.input.valid & busy & to_act & room),
            write.payload.skip.eq(outside),
            write.payload.address.eq(address),
            write.payload.data.eq(vector.data),
            self.input.ready.eq(busy & room & (~to_act | write.ready)),
            taken.eq(self.input.valid & self.input.ready),
            ends.eq(taken & vector.last & (groups == 1)),
            vectors.w_en.eq(taken & ~to_act),
            vectors.w_data.eq(Value.cast(vector.data)),
            self.command.ready.eq(~busy | ends),
        ]
        with m.If(taken):
            m.d.sync += places[vector.branch].eq(Mux(vector.last, next_start, address + 1))
            with m.If(vector.last):
                m.d.sync += [starts[vector.branch].eq(next_start), groups.eq(groups - 1)]
        with m.If(self.command.ready):
            cmd = self.command.payload
            m.d.sync += [
                busy.eq(self.command.valid),
                index.eq(cmd.index),
                to_act.eq(cmd.target.to_act),
                limit.eq(Mux(cmd.target.to_act, self.config.act_vectors, self.window_vectors)),
                plane.eq(cmd.target.plane),
                groups.eq(cmd.groups_a + cmd.groups_b),
                starts[0].eq(cmd.target.address_a),
                starts[1].eq(cmd.target.address_b),
                places[0].eq(cmd.target.address_a),
                places[1].eq(cmd.target.address_b),
            ]

        # Gather: the burst at hand grows by a vector or makes room for the next one. Passes and
        # faults of the activation memory become marks, so that everything is reported in order.
        burst = Signal(Burst)
        present, complete, branch = Signal(), Signal(), Signal()
        waited = Signal(range(IDLE_CYCLES))
        joins, leaves = Signal(), Signal()
        # A register, for it stalls all units before: with places for what it does not know yet.
        m.d.sync += room.eq((bursts.level < QUEUED - 1) & (vectors.level < queued - 1))
        m.d.comb += [
            joins.eq(taken & present & ~complete & ~to_act & (branch == vector.branch)),
            leaves.eq(present & bursts.w_rdy & (complete | (taken & ~joins))),
            bursts.w_en.eq(leaves),
            bursts.w_data.eq(Value.cast(burst)),
        ]
        beats_minus_1 = Mux(joins, burst.beats_minus_1 + 1, 0)
        m.d.sync += waited.eq(waited + 1)
        with m.If(leaves):
            m.d.sync += present.eq(0)
        with m.If(present & (waited == IDLE_CYCLES - 1)):
            m.d.sync += complete.eq(1)
        with m.If(taken & (~to_act | outside | ends)):
            m.d.sync += [
                present.eq(1),
                complete.eq(
                    to_act | vector.last
                    | (beats_minus_1 == self.config.burst - 1)
                    | (address % PAGE_VECTORS == PAGE_VECTORS - 1)
                ),
                waited.eq(0),
                branch.eq(vector.branch),
                burst.beats_minus_1.eq(beats_minus_1),
                burst.outside.eq(outside),  # addresses rise: the last vector speaks for all
                burst.index.eq(index),
                burst.to_act.eq(to_act),
                burst.end.eq(ends),
            ]
            with m.If(~joins):
                m.d.sync += burst.address.eq(address)

        # Issue: a burst starts on AW and W at once, which then run on their own.
        head = data.View(Burst, bursts.r_data)
        refused, issue, starts_burst = Signal(), Signal(), Signal()
        now_sent = data.View(Sent, sent.w_data)
        m.d.comb += [
            refused.eq(bursts.r_rdy & head.outside),
            issue.eq(
                bursts.r_rdy & ~head.outside & ~self.halt & sent.w_rdy
                & (head.to_act | ((~axi.awvalid | axi.awready) & lengths.w_rdy))
            ),
            starts_burst.eq(issue & ~head.to_act),
            bursts.r_en.eq(issue),
            lengths.w_en.eq(starts_burst),
            lengths.w_data.eq(head.beats_minus_1),
            sent.w_en.eq(issue),
            now_sent.index.eq(head.index),
            now_sent.to_act.eq(head.to_act),
            now_sent.end.eq(head.end),
        ]
        m.d.comb += [axi.awsize.eq(4), axi.awburst.eq(1), axi.awcache.eq(0b0011)]
        with m.If(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(starts_burst):
            m.d.sync += [
                axi.awvalid.eq(1),
                axi.awaddr.eq(self.window_base + head.address * VECTOR),
                axi.awlen.eq(head.beats_minus_1),
            ]

        beat = Signal(8)
        m.d.comb += [
            axi.wvalid.eq(lengths.r_rdy & vectors.r_rdy),
            axi.wdata.eq(vectors.r_data),
            axi.wstrb.eq(-1),
            axi.wlast.eq(beat == lengths.r_data),
            self.beats.eq(axi.wvalid & axi.wready),
            vectors.r_en.eq(self.beats),
            lengths.r_en.eq(self.beats & axi.wlast),
        ]
        with m.If(self.beats):
            m.d.sync += beat.eq(Mux(axi.wlast, 0, beat + 1))

        # Retire: responses come in the order of the bursts; marks need none.
        oldest = data.View(Sent, sent.r_data)
        retire, write_fault = Signal(), Signal()
        m.d.comb += [
            axi.bready.eq(sent.r_rdy & ~oldest.to_act),
            retire.eq(sent.r_rdy & Mux(oldest.to_act, ~held, axi.bvalid)),
            sent.r_en.eq(retire),
            write_fault.eq(axi.bready & axi.bvalid & axi.bresp.any()),
            self.idle.eq(~sent.r_rdy & (
                self.halt | refused
                | ~(self.command.valid | busy | present | bursts.r_rdy | self.done)
            )),
        ]
        m.d.sync += [self.done.eq(retire & oldest.end), self.fault.eq(write_fault | refused)]
        with m.If(write_fault):
            m.d.sync += [self.fault_code.eq(Error.WRITE), self.fault_index.eq(oldest.index)]
        with m.Else():
            m.d.sync += [
                self.fault_code.eq(Mux(head.to_act, Error.ACT_RANGE, Error.WINDOW)),
                self.fault_index.eq(head.index),
            ]
        return m
