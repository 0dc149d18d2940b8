"""The bank of requantisers: from sums to finished vectors, through the stages a pass asks for."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import VECTOR, Config
from .interfaces import Bytes, OutputVector, ParameterWrite, ResultProbe, Stage, result_layout
from .isa import Average, Finish, ParameterKind, Record, Walk
from .requantise import ADD_SHIFT, LATENCY, LIMITS_AT, OPERAND, PAIR, AddTerms, Requantiser

DEPTH = 32
"""Vectors taken in and not yet given out: what the loop-back and the output FIFO can hold."""
SUM = 24
"""Bits of an unsigned sum of bytes over the pixels of a group."""


class Tag(data.Struct):
    """What travels with a vector: its stage, and whether it is the last of its branch or group."""

    stage: Stage
    branch: 1
    last: 1
    closes: 1


class Slots(wiring.Component):
    """Requantisation records in LUT RAM, two slots for each kind.

    ``records[u]`` is that of channel ``phase * requantisers + u`` in the slot of ``kind`` and
    ``parity``, in the same cycle. Writes take one cycle. 61 * 10 * 16 bits.
    """

    def __init__(self, config: Config):
        self._lanes = config.requantisers
        super().__init__({
            "write": In(stream.Signature(ParameterWrite, always_ready=True)),
            "kind": In(ParameterKind),
            "parity": In(1),
            "phase": In(range(config.phases)),
            "records": Out(data.ArrayLayout(Record, config.requantisers)),
        })

    def elaborate(self, platform):
        m = Module()
        # Channel c lives in memory c % count, row c // count: a pair has two memories.
        count = max(self._lanes, 2)
        rows = VECTOR // count
        width = Record.as_shape().size - 3
        write = self.write.payload
        pair_bits = ceil_log2(count // 2)
        read = []
        for n in range(count):
            m.submodules[f"memory_{n}"] = memory = Memory(
                shape=width, depth=2 * len(ParameterKind) * rows, init=[])
            port = memory.write_port()
            row_bits = ceil_log2(rows)
            m.d.comb += [
                port.addr.eq(Cat(write.index[pair_bits:], write.parity, write.kind)),
                port.data.eq(write.records[n % 2].as_value()[:width]),
                port.en.eq(self.write.valid & (write.index[:pair_bits] == n // 2)),
            ]
            port = memory.read_port(domain="comb")
            row = self.phase[len(self.phase) - row_bits:]
            m.d.comb += port.addr.eq(Cat(row, self.parity, self.kind))
            read.append(port.data)
        if self._lanes == 1:
            read = [Mux(self.phase[0], read[1], read[0])]
        for record, bits in zip(self.records, read, strict=True):
            m.d.comb += record.as_value().eq(bits)
        return m


class Sums(wiring.Component):
    """Running sums of finished bytes for two branches, ``requantisers`` channels a cycle.

    ``sums`` are those of ``branch`` and ``phase`` before this cycle; with ``add`` the bytes are
    added (to 0 if ``first``). 2 * 16 * 24 bits of LUT RAM.
    """

    def __init__(self, config: Config):
        self._config = config
        lanes = config.requantisers
        super().__init__({
            "branch": In(1),
            "phase": In(range(config.phases)),
            "add": In(1),
            "first": In(1),
            "bytes": In(data.ArrayLayout(8, lanes)),
            "sums": Out(data.ArrayLayout(SUM, lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=data.ArrayLayout(SUM, self._config.requantisers),
            depth=2 * self._config.phases, init=[])
        read = memory.read_port(domain="comb")
        write = memory.write_port()
        address = Cat(self.phase, self.branch)
        m.d.comb += [
            read.addr.eq(address),
            write.addr.eq(address),
            write.en.eq(self.add),
            self.sums.eq(read.data),
        ]
        for new, old, byte in zip(write.data, read.data, self.bytes, strict=True):
            m.d.comb += new.eq(Mux(self.first, 0, old) + byte)
        return m


class Finisher(wiring.Component):
    """``config.requantisers`` lanes, each used up to three times by a vector.

    A vector enters once every ``config.phases`` cycles: first those that come back for their next
    stage, then new results. So a pass takes ``phases * (1 + rescale + add)`` cycles a vector, and
    a vector ``LATENCY + phases + 1`` cycles a stage and one more to the output. Nothing stalls
    once taken: a result is taken only when the FIFOs have room for it at every stage, so neither
    they nor a slow ``output`` can lock the loop.

    With an average the results of the next branch or group wait until the sums of this one are
    given out (about 20 cycles a group). A pass begins when the one before has left the lanes.
    The sums of an average hold 2**24 - 1.

    * ``command``: one a pass, in order.
    * ``results``: sums in the order group, strip, branch, pixel.
    * ``residual``: second operand of the add, in the order of the results.
    * ``parameters``: never refused; a slot must not be written while a result still needs it.
    * ``group_done``: pulse when the last vector of a group has left the last stage.
    * ``probe``: every vector that leaves a stage (of averages: quantised ones).
    * ``idle``: no pass under way and no vector held.
    * ``taking``: a phase enters the lanes; ``starved``: an add waits for its residual.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "command": In(stream.Signature(data.StructLayout({"walk": Walk, "finish": Finish}))),
            "results": In(stream.Signature(result_layout(config))),
            "residual": In(stream.Signature(Bytes)),
            "parameters": In(stream.Signature(ParameterWrite, always_ready=True)),
            "output": Out(stream.Signature(OutputVector)),
            "group_done": Out(1),
            "probe": Out(ResultProbe),
            "idle": Out(1),
            "taking": Out(1),
            "starved": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, phases = self._config.requantisers, self._config.phases
        loop_layout = data.StructLayout({"data": Bytes, "tag": Tag})

        m.submodules.slots = slots = Slots(self._config)
        m.submodules.sums = sums = Sums(self._config)
        m.submodules.loop = loop = SyncFIFO(width=loop_layout.size, depth=DEPTH)
        m.submodules.given = given = SyncFIFO(width=OutputVector.as_shape().size, depth=DEPTH)
        wiring.connect(m, wiring.flipped(self.parameters), slots.write)

        # The pass under way.
        finish = Signal(Finish)
        groups_b, groups, group = Signal(8), Signal(8), Signal(8)
        active = Signal()
        parity = Signal(init=1)
        blocked = Signal()
        """The last result of an average is taken and its sums are not yet given out."""
        in_flight = Signal(range(DEPTH + 1))
        walk = self.command.p.walk
        m.d.comb += self.command.ready.eq(~active)
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [
                finish.eq(self.command.p.finish),
                groups_b.eq(walk.groups_b),
                groups.eq(Mux(walk.groups_a > walk.groups_b, walk.groups_a, walk.groups_b)),
                group.eq(0),
                active.eq(1),
                parity.eq(~parity),
            ]
        with m.Elif((group == groups) & (in_flight == 0) & ~blocked):
            m.d.sync += active.eq(0)
        averages = finish.average != Average.NONE

        # Take: choose a source in the first phase, keep it through the others.
        room = Signal()
        m.d.sync += room.eq(in_flight + given.level < DEPTH - 1)
        average = Signal()
        """The sums of a group wait for requantisation."""
        average_tag = Signal(Tag)
        returned = data.View(loop_layout, loop.r_data)
        is_add = returned.tag.stage == Stage.ADD
        phase = Signal(range(phases))
        from_average, from_loop, from_results = Signal(), Signal(), Signal()
        with m.If(phase == 0):
            m.d.comb += [
                from_average.eq(average & room),
                from_loop.eq(~average & loop.r_rdy & (~is_add | self.residual.valid)),
                from_results.eq(~average & ~from_loop & room & ~blocked & active
                                & (group != groups) & self.results.valid),
            ]
        sources = (from_average, from_loop, from_results)
        kept = [Signal() for _ in sources]
        for source, keep in zip(sources, kept, strict=True):
            m.d.sync += keep.eq(source)
            with m.If(phase != 0):
                m.d.comb += source.eq(keep)
        taking = from_average | from_loop | from_results
        ends = taking & (phase == phases - 1)
        m.d.comb += [
            self.taking.eq(taking),
            self.starved.eq(loop.r_rdy & is_add & ~self.residual.valid),
        ]
        if phases > 1:
            m.d.sync += phase.eq(phase + taking)
        result = self.results.payload
        closes = result.last & (result.branch | (group >= groups_b))
        m.d.comb += [
            self.results.ready.eq(from_results & ends),
            loop.r_en.eq(from_loop & ends),
            self.residual.ready.eq(from_loop & is_add & ends),
        ]
        with m.If(self.results.ready):
            m.d.sync += group.eq(group + closes)
            with m.If(result.last & averages):
                m.d.sync += blocked.eq(1)

        # The operands and records of one phase.
        tag = Signal(Tag)
        with m.If(from_average):
            m.d.comb += [
                tag.eq(average_tag),
                slots.kind.eq(ParameterKind.AVERAGE),
                slots.parity.eq(parity),
            ]
        with m.Elif(from_loop):
            m.d.comb += [
                tag.eq(returned.tag),
                slots.kind.eq(Mux(tag.branch, ParameterKind.RESCALE_B, ParameterKind.RESCALE_A)),
                slots.parity.eq(parity),
            ]
        with m.Else():
            m.d.comb += [
                tag.eq(Cat(Stage.CONV, result.branch, result.last, closes)),
                slots.kind.eq(Mux(tag.branch, ParameterKind.BRANCH_B, ParameterKind.BRANCH_A)),
                slots.parity.eq(result.parity),
            ]
        m.d.comb += slots.phase.eq(phase)
        adds, from_add = Signal(), from_loop & is_add
        m.d.sync += adds.eq(from_add)

        def of_phase(vector, shape):
            """The elements that the lanes take in this phase."""
            layout = data.ArrayLayout(shape, lanes)
            return data.View(layout, vector.as_value().word_select(phase, layout.size))

        new = of_phase(result.sums, signed(self._config.acc_width))
        byte = of_phase(returned.data, 8)
        other = of_phase(self.residual.payload, 8)
        results = Signal(data.ArrayLayout(8, lanes))
        zero, low = Signal(8), Signal(8)
        m.submodules.terms = terms = AddTerms()
        m.d.comb += terms.add.eq(adds)
        for name in ("add_a", "add_b", "add_c"):
            m.d.comb += terms.constants[name].eq(finish[name])
        for u in range(lanes):
            m.submodules[f"lane_{u}"] = lane = Requantiser(self._config)
            operand = Signal(signed(OPERAND), reset_less=True)
            record = Signal(Record, reset_less=True)
            # Flat, so that the constant is the registers' reset.
            m.d.sync += record.eq(slots.records[u])
            with m.If(from_add):
                m.d.sync += record.eq(Record.const({"shift": ADD_SHIFT}))
            with m.If(from_average):
                m.d.sync += operand.eq(sums.sums[u])
            with m.Elif(from_loop):
                m.d.sync += operand.eq(byte[u] | (Mux(is_add, other[u], 0) << PAIR))
            with m.Else():
                m.d.sync += operand.eq(new[u])
            m.d.comb += [
                lane.operand.eq(operand),
                lane.record.eq(record),
                lane.add.eq(adds),
                lane.scale_a.eq(terms.scale_a),
                lane.scale_b.eq(terms.scale_b),
                lane.addend.eq(terms.addend),
                lane.corrections.eq(finish.corrections),
                lane.zero.eq(zero),
                lane.low.eq(low),
                results[u].eq(lane.result),
            ]

        # The tags follow through the lanes, and fetch the limits on their way.
        layout = data.StructLayout({"valid": 1, "phase": phase.shape(), "tag": Tag})
        travel = [Signal(layout, name=f"travel_{n}") for n in range(LATENCY + 1)]
        m.d.sync += travel[0].eq(Cat(taking, phase, tag))
        for before, after in zip(travel, travel[1:], strict=False):
            m.d.sync += after.eq(before)
        soon = travel[LIMITS_AT - 1].tag
        with m.Switch(soon.stage):
            with m.Case(Stage.CONV):
                m.d.sync += [
                    zero.eq(Mux(soon.branch, finish.zero_b, finish.zero_a)),
                    low.eq(Mux(soon.branch, finish.low_b, finish.low_a)),
                ]
            with m.Case(Stage.RESCALE):
                m.d.sync += [zero.eq(finish.zero_c), low.eq(finish.low_c)]
            with m.Case(Stage.ADD):
                m.d.sync += [zero.eq(0), low.eq(finish.low_d)]
            with m.Case(Stage.AVERAGE):
                m.d.sync += [zero.eq(finish.zero_g), low.eq(finish.low_g)]

        # Leave: the vector is whole in its last phase. Back for another stage, into the sums, out.
        left = travel[LATENCY]
        vector = results.as_value()
        if phases > 1:
            held = Signal(8 * (VECTOR - lanes), reset_less=True)
            vector = Cat(held, vector)
            m.d.sync += held.eq(vector[8 * lanes:])
        whole = left.valid & (left.phase == phases - 1)
        leaving = left.tag
        was_conv = leaving.stage == Stage.CONV
        to_rescale = was_conv & finish.rescale
        to_add = (was_conv | (leaving.stage == Stage.RESCALE)) & ~to_rescale & finish.add
        to_sums = ~to_rescale & ~to_add & averages & (leaving.stage != Stage.AVERAGE)
        to_output = ~to_rescale & ~to_add & ~to_sums
        m.d.comb += [
            self.probe.valid.eq(whole),
            self.probe.stage.eq(leaving.stage),
            self.probe.branch.eq(leaving.branch),
            self.probe.data.eq(vector),
            loop.w_en.eq(whole & (to_rescale | to_add)),
            loop.w_data.eq(Cat(vector, Mux(to_rescale, Stage.RESCALE, Stage.ADD),
                               leaving.as_value()[2:])),
        ]
        starts = (from_average | from_results) & (phase == 0)
        m.d.sync += in_flight.eq(in_flight + starts - (whole & (to_sums | to_output)))

        # Sums of groups: four words a vector, or back into the lanes.
        first = Signal(2)
        spill = Signal()
        """Sums are given out as they are."""
        words, read, pushes = self._words(m, sums.sums, spill, given.w_rdy)
        m.d.comb += [
            sums.bytes.eq(results),
            sums.add.eq(left.valid & to_sums),
            sums.first.eq(first.bit_select(leaving.branch, 1)),
        ]
        with m.If(average | spill):
            m.d.comb += [
                sums.branch.eq(average_tag.branch),
                sums.phase.eq(Mux(spill, read, phase)),
            ]
        with m.Else():
            m.d.comb += [sums.branch.eq(leaving.branch), sums.phase.eq(left.phase)]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += first.eq(0b11)
        with m.If(whole & to_sums):
            m.d.sync += first.bit_select(leaving.branch, 1).eq(leaving.last)
            with m.If(leaving.last):
                m.d.sync += [
                    average.eq(finish.average == Average.QUANTISED),
                    spill.eq(finish.average == Average.SUMS),
                    average_tag.eq(Cat(Stage.AVERAGE, leaving.as_value()[2:])),
                ]
        spilt = pushes.last & given.w_rdy
        with m.If(spilt):
            m.d.sync += spill.eq(0)
        with m.If(spilt | (from_average & ends)):
            m.d.sync += [average.eq(0), blocked.eq(0)]

        # Out.
        with m.If(spill):
            m.d.comb += [
                given.w_en.eq(pushes.valid),
                given.w_data.eq(Cat(words, average_tag.branch, pushes.last)),
            ]
        with m.Else():
            m.d.comb += [
                given.w_en.eq(whole & to_output),
                given.w_data.eq(Cat(vector, leaving.branch, leaving.last)),
            ]
        m.d.comb += [
            self.output.valid.eq(given.r_rdy),
            self.output.payload.eq(OutputVector(given.r_data)),
            given.r_en.eq(self.output.ready),
            self.group_done.eq(Mux(spill, spilt & average_tag.closes,
                                   whole & to_output & leaving.closes)),
            self.idle.eq(~active & ~given.r_rdy),
        ]
        return m

    def _words(self, m, sums, spill, ready):
        """The sums as four vectors of four int32, and in which phase they are read."""
        lanes, phases = self._config.requantisers, self._config.phases
        flags = Signal(data.StructLayout({"valid": 1, "last": 1}))
        step = Signal(range(max(4, phases)))
        if lanes >= 4:
            part_bits = ceil_log2(lanes // 4)
            words = sums.as_value().word_select(step[:part_bits], 4 * SUM)
            read = step[part_bits:]
            m.d.comb += flags.valid.eq(spill)
        else:
            held = Signal(SUM * (4 - lanes), reset_less=True)
            words = Cat(held, sums)
            read = step
            m.d.comb += flags.valid.eq(spill & step[:ceil_log2(4 // lanes)].all())
        m.d.comb += flags.last.eq(flags.valid & step.all())
        with m.If(spill & (ready | ~flags.valid)):
            m.d.sync += step.eq(step + 1)
            if lanes < 4:
                m.d.sync += held.eq(words[SUM * lanes:])
        vector = Cat(Cat(words.word_select(n, SUM), Const(0, 32 - SUM)) for n in range(4))
        return vector, read, flags
