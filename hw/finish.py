"""The bank of requantisers: from sums to finished vectors, through the stages a pass asks for."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .array import GROUP
from .config import VECTOR, Config
from .ecp5 import copies
from .fifo import HeadFifo
from .interfaces import Bytes, ParameterWrite, ResultProbe, Stage, result_layout
from .isa import Average, Finish, ParameterKind, Walk
from .requantise import (
    INSERT_AT,
    LATENCY,
    LIMITS_AT,
    LOW,
    AddTerms,
    Parameters,
    Requantiser,
)
from .slots import ZEROS, Slots, place_layout
from .sums import SUM, Sums

DEPTH = 16
"""Vectors taken in and not yet given out, at least: what loop-back and output FIFO can hold."""


def depth(config: Config) -> int:
    """``DEPTH``, or what keeps the lanes busy with a vector a cycle."""
    return max(DEPTH, 32 // config.phases)


def part_layout(config: Config) -> data.StructLayout:
    """A part of a finished vector; ``config.phases`` of them follow one another.

    ``branch`` (0 is A, 1 is B) and ``last`` (the last vector of this branch's group in this pass)
    are the same in all of them.
    """
    return data.StructLayout({
        "data": data.ArrayLayout(8, config.requantisers), "branch": 1, "last": 1})


class Tag(data.Struct):
    """What travels with a vector: its stage, and whether it is the last of its branch or group.

    ``row``: which four sums it is, of averages that are given out as sums.
    """

    stage: Stage
    branch: 1
    last: 1
    closes: 1
    row: 2


class Finisher(wiring.Component):
    """``config.requantisers`` lanes, each used up to three times by a vector.

    A vector enters in ``config.phases`` parts, one a cycle: first those that come back for their
    next stage, then new results. So a pass takes ``phases * (1 + rescale + add)`` cycles a vector,
    but at least 4 cycles a vector and stage if it has an average, and a stage ``LATENCY + 2``
    cycles to the next one, one more to the output. Nothing stalls once taken: a result is taken
    only when the FIFOs have room for it at every stage, so neither they nor a slow ``output`` can
    lock the loop.

    With an average the results of the next branch or group wait until the sums of this one are
    taken (about 30 cycles a group). A pass begins when the one before has left the lanes.
    The sums of an average hold 2**24 - 1.

    * ``command``: one a pass, in order.
    * ``results``: sums in the order group, strip, branch, pixel.
    * ``residual``: second operand of the add, in the order of the results.
    * ``parameters``: never refused; a slot must not be written while a result still needs it.
    * ``output``: vectors in parts (``part_layout``).
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
            "output": Out(stream.Signature(part_layout(config))),
            "group_done": Out(1),
            "probe": Out(ResultProbe),
            "idle": Out(1),
            "taking": Out(1),
            "starved": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, phases = self._config.requantisers, self._config.phases
        vectors = depth(self._config)
        late = self._config.vendor == "ecp5"
        start = 1 if late else 0  # registers before the lanes
        part_shape = data.ArrayLayout(8, lanes)
        loop_layout = data.StructLayout({
            "data": part_shape, "add": 1, "branch": 1, "last": 1, "closes": 1})

        m.submodules.slots = slots = Slots(self._config)
        m.submodules.sums = sums = Sums(self._config)
        # On an ECP5 each two lanes have their own, whose next entry is in a register.
        shares = slots.shares if late else 1
        widths = [8 * lanes // shares] * shares
        widths[-1] += loop_layout.size - 8 * lanes
        loops = [(HeadFifo if late else SyncFIFO)(width=width, depth=vectors * phases)
                 for width in widths]
        m.submodules.given = given = SyncFIFOBuffered(
            width=self.output.payload.shape().size, depth=vectors * phases)
        wiring.connect(m, wiring.flipped(self.parameters), slots.write)

        # The pass under way.
        finish = Signal(Finish, reset_less=True)
        groups_b, groups, group = Signal(8), Signal(8), Signal(8)
        active = Signal()
        parity = Signal(init=1)
        blocked = Signal()
        """The last result of an average is taken and its sums are not."""
        in_flight = Signal(range(vectors + 1))
        walk = self.command.p.walk
        m.d.comb += self.command.ready.eq(~active)
        with m.If(~active):
            # What comes is taken, valid or not.
            m.d.sync += [
                finish.eq(self.command.p.finish),
                groups_b.eq(walk.groups_b),
                groups.eq(Mux(walk.groups_a > walk.groups_b, walk.groups_a, walk.groups_b)),
                group.eq(0),
                active.eq(self.command.valid),
                parity.eq(parity ^ self.command.valid),
            ]
        with m.Elif((group == groups) & (in_flight == 0) & ~blocked):
            m.d.sync += active.eq(0)
        averages = finish.average != Average.NONE
        gives_sums = finish.average == Average.SUMS

        # Take: choose a source for a vector and keep it through its phases. With an average a
        # phase lasts until all its bytes are in the sums, ``turns`` cycles.
        turns = lanes // sums.channels
        room = Signal()
        m.d.sync += room.eq(
            in_flight + (given.level >> exact_log2(phases)) < vectors - 2)
        average = Signal()
        """The sums of a group wait for the lanes."""
        average_tag = Signal(Tag)
        back = Signal(loop_layout)
        goes_back, next_back = Signal(), Signal()
        given_bits = Value.cast(back)
        for n, loop in enumerate(loops):
            m.submodules[f"loop{n}"] = loop
            m.d.comb += [
                loop.w_en.eq(goes_back),
                loop.r_en.eq(next_back),
                loop.w_data.eq(given_bits),
            ]
            given_bits = given_bits[len(loop.w_data):]
        returned = data.View(loop_layout, Cat(loop.r_data for loop in loops))
        waits, adds = loops[0].r_rdy, returned.add
        if late:
            # What is taken next depends on these two: from registers instead of LUT RAM.
            m.submodules.head = head = HeadFifo(width=1, depth=vectors * phases)
            m.d.comb += [
                head.w_en.eq(goes_back),
                head.w_data.eq(back.add),
            ]
            waits, adds = head.r_rdy, head.r_data
        phase, turn, turn_now = Signal(range(phases)), Signal(range(turns)), Signal(range(turns))
        under_way, just_closed = Signal(), Signal()
        sources = from_average, from_loop, from_results = Signal(), Signal(), Signal()
        kept = [Signal(name=f"kept_{n}") for n in range(len(sources))]
        with m.If(~under_way):
            m.d.comb += [
                from_average.eq(average & room),
                from_loop.eq(~average & waits & (~adds | self.residual.valid)),
                from_results.eq(~average & ~from_loop & room & ~blocked & active & ~just_closed
                                & (group != groups) & self.results.valid),
            ]
        with m.Else():
            m.d.comb += [source.eq(keep) for source, keep in zip(sources, kept, strict=True)]
        taking = from_average | from_loop | from_results
        last_turn = ~averages | (turn == turns - 1)
        ends = taking & (phase == phases - 1) & last_turn
        if late:
            m.d.comb += head.r_en.eq(from_loop & last_turn)
        m.d.comb += [
            turn_now.eq(Mux(averages, turn, turns - 1)),
            self.taking.eq(taking),
            self.starved.eq(waits & adds & ~self.residual.valid),
        ]
        m.d.sync += [keep.eq(source) for source, keep in zip(sources, kept, strict=True)]
        m.d.sync += under_way.eq(taking & ~ends)
        if turns > 1:
            m.d.sync += turn.eq(turn + (taking & averages))
        if phases > 1:
            m.d.sync += phase.eq(phase + (taking & last_turn))
        # What was chosen, at once or from registers: what it moves may be far from the choice.
        now = Signal(data.StructLayout({
            "average": 1, "sums": 1, "loop": 1, "results": 1, "add": 1, "first": 1, "last_turn": 1,
            "phase": phase.shape(), "turn": turn.shape()}))
        chosen = Signal.like(now)
        m.d.comb += [
            now.average.eq(from_average),
            now.sums.eq(from_average & ~gives_sums),
            now.loop.eq(from_loop),
            now.results.eq(from_results),
            now.add.eq(from_loop & adds),
            now.first.eq(~under_way),
            now.last_turn.eq(last_turn),
            now.phase.eq(phase),
            now.turn.eq(turn_now),
        ]
        m.d["sync" if late else "comb"] += chosen.eq(now)
        result = self.results.payload
        taken = now.results & now.first
        takes = copies(m, "takes", taken, VECTOR // GROUP + 1) if late else [taken]
        m.d.comb += [
            self.results.ready.eq(takes[-1]),
            next_back.eq(chosen.loop & chosen.last_turn),
            self.residual.ready.eq(chosen.add & chosen.first),
        ]

        # The tags follow through the lanes, and fetch on their way what the lanes need.
        layout = data.StructLayout({
            "valid": 1, "phase": phase.shape(), "turn": turn.shape(), "tag": Tag})
        travel = [Signal(layout, name=f"travel_{n}") for n in range(start + LATENCY + 1)]
        tag = travel[0].tag
        row = Signal(2)
        last_row = ~gives_sums | (row == 3)
        m.d.sync += [
            travel[0].valid.eq(chosen.average | chosen.loop | chosen.results),
            travel[0].phase.eq(chosen.phase),
            travel[0].turn.eq(chosen.turn),
            *(after.eq(before) for before, after in zip(travel, travel[1:], strict=False)),
        ]
        # What the lanes are told where: to lanes far from one another by registers of their own.
        told_layout = data.StructLayout(
            {"place": place_layout(self._config), "add": 1, "results": 1})
        told, held = Signal(told_layout), Signal(told_layout)
        place = told.place
        m.d.sync += held.eq(told)
        tell = [data.View(told_layout, copy) for copy in copies(
            m, "told", told.as_value(), slots.shares)] if late else [held]
        m.d.comb += [
            place.kind.eq(held.place.kind),
            place.parity.eq(held.place.parity),
            place.phase.eq(chosen.phase),
            told.add.eq(chosen.add),
            told.results.eq(chosen.results),
            Cat(slots.places).eq(Cat(copy.place for copy in tell)),
        ]
        with m.If(chosen.first):
            with m.If(chosen.average):
                m.d.sync += [
                    tag.eq(average_tag),
                    tag.last.eq(average_tag.last & last_row),
                    tag.closes.eq(average_tag.closes & last_row),
                    tag.row.eq(row),
                ]
                m.d.comb += place.kind.eq(Mux(gives_sums, ZEROS, ParameterKind.AVERAGE))
            with m.Elif(chosen.loop):
                m.d.sync += [
                    tag.stage.eq(Mux(chosen.add, Stage.ADD, Stage.RESCALE)),
                    tag.branch.eq(returned.branch),
                    tag.last.eq(returned.last),
                    tag.closes.eq(returned.closes),
                ]
                m.d.comb += place.kind.eq(Mux(chosen.add, ZEROS, Mux(
                    returned.branch, ParameterKind.RESCALE_B, ParameterKind.RESCALE_A)))
            with m.Else():
                m.d.sync += [
                    tag.stage.eq(Stage.CONV),
                    tag.branch.eq(result.branch),
                    tag.last.eq(result.last),
                    tag.closes.eq(result.last & (result.branch | (group >= groups_b))),
                ]
                m.d.comb += place.kind.eq(Mux(
                    result.branch, ParameterKind.BRANCH_B, ParameterKind.BRANCH_A))
            m.d.comb += place.parity.eq(Mux(chosen.results, result.parity, parity))
        just_taken = Signal()
        m.d.sync += just_taken.eq(self.results.ready)
        m.d.comb += just_closed.eq(just_taken & tag.closes)
        with m.If(just_closed):
            m.d.sync += group.eq(group + 1)

        # Operands: ``other`` are sums of an average or bytes that come back, 0 for results; what a
        # lane adds to its bias comes without another register.
        raw = Signal(data.ArrayLayout(signed(self._config.acc_width), VECTOR), reset_less=True)
        share = VECTOR if len(takes) == 1 else GROUP
        for channel in range(VECTOR):
            with m.If(takes[channel // share]):
                m.d.sync += raw[channel].eq(result.sums[channel])
        residual = Signal(Bytes, reset_less=True)
        with m.If(self.residual.ready):
            m.d.sync += residual.eq(self.residual.payload)

        found = sums.sums
        if late:
            found = Signal.like(sums.sums, reset_less=True)
            m.d.sync += found.eq(sums.sums)

        def before(value, name):
            """What a lane takes, on an ECP5 from a register."""
            if not late:
                return value
            register = Signal.like(value, name=f"before_{name}", reset_less=True)
            m.d.sync += register.eq(value)
            return register

        results = Signal(part_shape)
        zero, low = Signal(signed(9)), Signal(8)
        m.submodules.terms = terms = AddTerms()
        m.d.comb += terms.add.eq(before(tell[0].add, "adding"))
        for name in ("add_a", "add_b", "add_c"):
            m.d.comb += terms.constants[name].eq(finish[name])
        [correction] = finish.corrections
        pieces = 4 * sums.channels // lanes
        piece_bits = exact_log2(pieces)
        given_out = travel[start + INSERT_AT]
        insert, before_insert = Signal(), travel[start + INSERT_AT - 1]
        m.d.sync += insert.eq(
            before_insert.valid & (before_insert.tag.stage == Stage.AVERAGE) & gives_sums)
        int32s = Cat(Cat(word, Const(0, 32 - SUM)) for word in sums.sums)
        words = Signal(16 * lanes if pieces > 1 else 8 * lanes, reset_less=True)
        m.d.sync += words.eq(int32s.word_select(
            given_out.phase[1:piece_bits], len(words)))
        for u in range(lanes):
            m.submodules[f"lane_{u}"] = lane = Requantiser(self._config)
            other = Signal(SUM, reset_less=True, name=f"other_{u}")
            a = Signal(8, reset_less=True, name=f"a_{u}")
            with m.If(chosen.sums):
                with m.If(chosen.turn == u // sums.channels):
                    m.d.sync += other.eq(found[u % sums.channels])
            with m.Else():
                m.d.sync += other.eq(Mux(chosen.loop & ~chosen.add, returned.data[u], 0))
            m.d.sync += a.eq(Mux(chosen.add, returned.data[u], 0))
            here = tell[u * len(tell) // lanes]
            own = Array(raw[channel] for channel in range(u, VECTOR, lanes))[here.place.phase]
            second = Array(residual[channel] for channel in range(u, VECTOR, lanes))[
                here.place.phase]
            parameters = Signal(Parameters, name=f"parameters_{u}")
            m.d.comb += [
                parameters.eq(slots.parameters[u]),
                parameters.factor.eq(
                    slots.parameters[u].factor | (Mux(here.add, second, 0) << LOW)),
                lane.operand.eq(before(
                    (other | Mux(here.results, own, 0)).as_signed(), f"operand_{u}")),
                lane.parameters.eq(before(parameters, f"parameters_{u}")),
                lane.a.eq(before(a, f"a_{u}")),
                lane.add.eq(before(here.add, f"adding_{u}")),
                lane.scale_a.eq(terms.scale_a),
                lane.scale_b.eq(terms.scale_b),
                lane.addend.eq(terms.addend),
                lane.correction.eq(correction),
                lane.zero.eq(zero),
                lane.low.eq(low),
                lane.insert.eq(insert),
                lane.second.eq(given_out.phase[:piece_bits][:1]),
                *(lane.words[n].eq(words[8 * (lanes * (n % pieces) + u):][:8]) for n in range(2)),
                results[u].eq(lane.result),
            ]

        # With a correction of -1 the zero of an add is -1.
        soon = travel[start + LIMITS_AT - 1].tag
        with m.Switch(soon.stage):
            with m.Case(Stage.CONV):
                m.d.sync += [
                    zero.eq(Mux(soon.branch, finish.zero_b, finish.zero_a)),
                    low.eq(Mux(soon.branch, finish.low_b, finish.low_a)),
                ]
            with m.Case(Stage.RESCALE):
                m.d.sync += [zero.eq(finish.zero_c), low.eq(finish.low_c)]
            with m.Case(Stage.ADD):
                m.d.sync += [
                    zero.eq(Mux(correction.valid & ~correction.up, -1, 0)), low.eq(finish.low_d)]
            with m.Case(Stage.AVERAGE):
                m.d.sync += [zero.eq(Mux(gives_sums, 0, finish.zero_g)), low.eq(finish.low_g)]

        # Leave: back for another stage, into the sums, out. Found a cycle ahead, for it moves much.
        left, leaving = travel[-1], travel[-1].tag
        due = travel[-2]
        was_conv, was_average = due.tag.stage == Stage.CONV, due.tag.stage == Stage.AVERAGE
        to_rescale = was_conv & finish.rescale
        to_add = (was_conv | (due.tag.stage == Stage.RESCALE)) & ~to_rescale & finish.add
        to_sums = ~to_rescale & ~to_add & averages & ~was_average
        to_output = ~to_rescale & ~to_add & ~to_sums
        is_part = due.valid & (due.turn == turns - 1)
        is_whole = is_part & (due.phase == phases - 1)
        part, whole, summed, completes, add_next = (Signal() for _ in range(5))
        m.d.sync += [
            part.eq(is_part),
            whole.eq(is_whole),
            add_next.eq(to_add),
            goes_back.eq(is_part & (to_rescale | to_add)),
            given.w_en.eq(is_part & to_output),
            self.group_done.eq(is_whole & to_output & due.tag.closes),
            sums.add.eq(due.valid & to_sums),
            summed.eq(is_whole & to_sums),
            completes.eq(is_whole & (to_sums | to_output)),
        ]
        starts = (from_average | from_results) & ~under_way
        m.d.comb += [
            back.eq(Cat(results, add_next, leaving.branch, leaving.last, leaving.closes)),
            given.w_data.eq(Cat(results, leaving.branch, leaving.last)),
            self.output.valid.eq(given.r_rdy),
            self.output.payload.eq(given.r_data),
            given.r_en.eq(self.output.ready),
            self.idle.eq(~active & (given.level == 0)),
        ]
        m.d.sync += in_flight.eq(in_flight + starts - completes)
        self._probe(m, part, whole & ~(gives_sums & (leaving.stage == Stage.AVERAGE)),
                    leaving, results)

        # Sums of groups: one user of their memory at a time, for the others are blocked.
        first = Signal(2)
        complete = Signal()
        m.d.comb += [
            sums.bytes.eq(results.as_value().word_select(left.turn, 8 * sums.channels)),
            sums.first.eq(first.bit_select(leaving.branch, 1)),
        ]
        with m.If(insert):
            m.d.comb += [
                sums.branch.eq(given_out.tag.branch),
                sums.row.eq(Cat(given_out.phase[piece_bits:], given_out.tag.row)),
            ]
        with m.Elif(average):
            m.d.comb += [sums.branch.eq(average_tag.branch),
                         sums.row.eq(Cat(turn, phase))]
        with m.Else():
            m.d.comb += [sums.branch.eq(leaving.branch), sums.row.eq(Cat(left.turn, left.phase))]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += first.eq(0b11)
        m.d.sync += complete.eq(summed & leaving.last)
        with m.If(summed):
            m.d.sync += [
                first.bit_select(leaving.branch, 1).eq(leaving.last),
                average_tag.eq(leaving),
                average_tag.stage.eq(Stage.AVERAGE),
            ]
        with m.If(complete):
            m.d.sync += average.eq(1)
        with m.If(from_average & ends):
            m.d.sync += row.eq(row + gives_sums)
            with m.If(last_row):
                m.d.sync += [average.eq(0), blocked.eq(0)]
        with m.If(just_taken & tag.last & averages):
            m.d.sync += blocked.eq(1)
        return m

    def _probe(self, m, part, valid, tag, results):
        """Vectors in one piece."""
        lanes = self._config.requantisers
        vector = results.as_value()
        if lanes < VECTOR:
            held = Signal(8 * (VECTOR - lanes), reset_less=True)
            vector = Cat(held, vector)
            with m.If(part):
                m.d.sync += held.eq(vector[8 * lanes:])
        m.d.comb += [
            self.probe.valid.eq(valid),
            self.probe.stage.eq(tag.stage),
            self.probe.branch.eq(tag.branch),
            self.probe.data.eq(vector),
        ]
