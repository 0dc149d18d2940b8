"""The ranges of instruction fields that the engines rely on."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR, Config
from .isa import (
    ACT_ADDRESS,
    HEADER_BITS,
    INSTRUCTION_BYTES,
    Average,
    Fire,
    Gather,
    Header,
    Load,
    Opcode,
    Weights,
)

FACTOR = 12
"""Bits of what is subtracted: the widest is ``Walk.strips``."""
TIMES = 11
"""Bits of how often: the widest is ``Pool.rows``."""
ROW_PIXELS = VECTOR // 4
"""Pixels in a vector of an image row."""


class Term(data.Struct):
    """A step of a rule: ``a`` is subtracted ``times`` from ``limit`` (if it ``begins`` the rule)
    or from what the term before left. That must not become negative, and be 0 in the end if
    ``exact``."""

    a: FACTOR
    times: TIMES
    limit: 17
    begins: 1
    exact: 1


class OperandCheck(wiring.Component):
    """Tells whether an instruction can be given to its engine.

    Faults are fields with which an engine would hang or lose its place: loops without an
    iteration, sizes that contradict each other, a buffer that is too small. Addresses are checked
    where they are used. The rules:

    * WEIGHTS: ``count`` at least 1.
    * LOAD: ``count`` and ``planes`` at least 1.
    * GATHER: all sizes at least 1; ``width`` at most ``image_width`` and inside the row.
    * CONV, FIRE, each walk: some group, ``planes``, ``kernel``, ``strips`` and ``steps`` at least
      1; ``steps`` (one more with long strips) at most ``strip_steps``; ``long_strips`` at most
      ``strips``; the steps of all strips are those of ``pixels``; ``pixels``, ``width``,
      ``height``, ``out_width`` and ``stride`` at least 1.
    * The parameters and tiles of a group fit the weight ring, if not ``refetch``.
    * ``average`` is defined, and excludes pooling.
    * With pooling: ``stride``, ``width`` and ``out_width`` at least 1; ``kernel`` is ``stride`` or
      ``stride + 1``; ``pad_left`` and ``phase`` below ``kernel``; ``width * rows`` is ``pixels``;
      ``out_width`` times the groups fits the line buffer.
    * An activation target has no bits beyond the activation address.
    * A squeeze has branch B only, with a 1x1 kernel.

    Products are checked by subtracting one factor as often as the other says. Latency: 1 cycle
    from ``start`` to ``done``, for CONV and FIRE 15 and one for each subtraction at most: taps,
    steps of a strip, rows and groups. ``instruction`` is held meanwhile.

    Members
    -------
    instruction : the bits of an instruction
    start : one cycle
    done : one cycle; the answers are valid in it
    opcode_fault : the opcode is not in the set
    operand_fault : a rule above is broken
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "instruction": In(8 * INSTRUCTION_BYTES),
            "start": In(1),
            "done": Out(1),
            "opcode_fault": Out(1),
            "operand_fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        header = data.View(Header, self.instruction[:HEADER_BITS])
        operand = self.instruction[HEADER_BITS:]

        def view(layout):
            return data.View(layout, operand[:data.Layout.cast(layout).size])

        # CONV is the beginning of FIRE, so one view serves both.
        fire = view(Fire)
        faults = {
            Opcode.END: [],
            Opcode.WEIGHTS: [view(Weights).count == 0],
            Opcode.LOAD: [view(Load)[field] == 0 for field in ("count", "planes")],
            Opcode.GATHER: self._gather(view(Gather)),
            Opcode.CONV: [],
            Opcode.FIRE: [],
        }
        computes = header.opcode.matches(Opcode.CONV.value, Opcode.FIRE.value)
        # Those of CONV and FIRE are many, and looked at with their terms, from registers.
        of_pass, of_squeeze = self._pass(fire.main), self._squeeze(fire.squeeze)
        passes, squeezes = Signal(len(of_pass)), Signal(len(of_squeeze))
        m.d.sync += [passes.eq(Cat(of_pass)), squeezes.eq(Cat(of_squeeze))]
        broken_pass = passes.any() | ((header.opcode == Opcode.FIRE.value) & squeezes.any())

        terms = self._terms(fire, header.opcode == Opcode.FIRE.value)
        place = Signal(range(len(terms)))
        left, term, now = Signal(signed(18)), Signal(Term), Signal(Term)
        with m.Switch(place):
            for index, values in enumerate(terms):
                with m.Case(index):
                    m.d.comb += [now[name].eq(value) for name, value in values.items()]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += place.eq(0)
                with m.If(self.start):
                    m.d.sync += [self.opcode_fault.eq(1), self.operand_fault.eq(0)]
                    with m.Switch(header.opcode):
                        for opcode, broken in faults.items():
                            with m.Case(opcode.value):
                                m.d.sync += [
                                    self.opcode_fault.eq(0),
                                    self.operand_fault.eq(Cat(broken).any()),
                                ]
                    m.next = "DONE"
                    with m.If(computes):
                        m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += term.eq(now)
                with m.If(now.begins):
                    m.d.sync += left.eq(now.limit)
                with m.If(broken_pass):
                    m.d.sync += self.operand_fault.eq(1)
                m.next = "SUBTRACT"
            with m.State("SUBTRACT"):
                m.d.sync += term.times.eq(term.times - 1)
                with m.If(term.times.any() & (left >= 0)):
                    m.d.sync += left.eq(left - term.a)
                with m.Else():
                    with m.If((left < 0) | (term.exact & left.any())):
                        m.d.sync += self.operand_fault.eq(1)
                    m.d.sync += place.eq(place + 1)
                    m.next = "LOAD"
                    with m.If(place == len(terms) - 1):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m

    def _terms(self, fire, is_fire) -> list[dict]:
        """The rules with products. One that does not apply subtracts nothing from 0."""
        config, main = self.config, fire.main
        walk, pool = main.walk, main.pool
        taps = Array([k * k for k in range(1 << len(walk.kernel))])[walk.kernel]

        def steps(each, applies):
            """The steps of all strips are those of the pixels."""
            pixels = each.source.pixels
            rounded = (pixels + config.pixels - 1) >> exact_log2(config.pixels)
            return [
                {"a": each.walk.long_strips, "times": applies, "begins": 1,
                 "limit": Mux(applies, Mux(each.source.single, pixels, rounded), 0)},
                {"a": each.walk.strips, "times": Mux(applies, each.walk.steps, 0), "exact": 1},
            ]

        return [
            # In units of 16 vectors: a tile of each plane and tap, and one for the parameters.
            {"a": walk.planes, "times": Mux(
                walk.refetch, 0, Mux(walk.groups_b != 0, taps, 0) + (walk.groups_a != 0)),
             "limit": config.weight_vectors // VECTOR - 1, "begins": 1},
            *steps(main, 1),
            *steps(fire.squeeze, is_fire),
            {"a": pool.width, "times": Mux(pool.enable, pool.rows, 0),
             "limit": Mux(pool.enable, main.source.pixels, 0), "begins": 1, "exact": 1},
            {"a": pool.out_width, "times": Mux(pool.enable, walk.groups_a + walk.groups_b, 0),
             "limit": config.line_vectors, "begins": 1},
        ]

    def _walk(self, each):
        """Rules of the loops of a pass or squeeze."""
        walk, source = each.walk, each.source
        return [
            (walk.groups_a | walk.groups_b) == 0,
            *(walk[field] == 0 for field in ("planes", "kernel", "strips", "steps")),
            walk.long_strips > walk.strips,
            walk.steps + (walk.long_strips != 0) > self.config.strip_steps,
            *(source[field] == 0 for field in ("width", "height", "out_width", "pixels", "stride")),
        ]

    def _pass(self, main):
        walk, finish, pool, target = main.walk, main.finish, main.pool, main.target
        average = Value.cast(finish.average)
        averaged = average != Average.NONE.value
        return [
            *self._walk(main),
            average > max(mode.value for mode in Average),
            pool.enable & (
                averaged
                | (pool.stride == 0) | (pool.width == 0) | (pool.out_width == 0)
                | ((pool.kernel != pool.stride) & (pool.kernel != pool.stride + 1))
                | (pool.pad_left >= pool.kernel) | (pool.phase >= pool.kernel)
            ),
            target.to_act & (
                ((walk.groups_a != 0) & target.address_a[ACT_ADDRESS:].any())
                | ((walk.groups_b != 0) & target.address_b[ACT_ADDRESS:].any())
            ),
        ]

    def _squeeze(self, squeeze):
        walk = squeeze.walk
        return [
            *self._walk(squeeze),
            walk.groups_a != 0,
            walk.kernel != 1,
            ~walk.refetch & (walk.planes >= self.config.weight_vectors // VECTOR),
        ]

    def _gather(self, gather):
        width = self.config.image_width
        sizes = ("row_vectors", "width", "height", "out_width", "rows", "kernel", "stride")
        return [
            *(gather[field] == 0 for field in sizes),
            gather.width > width,
            gather.width > gather.row_vectors << exact_log2(ROW_PIXELS),
            gather.row_vectors > width // ROW_PIXELS,
        ]
