"""One lane of exact requantisation: sums and byte pairs to bytes, as ONNX Runtime rounds them.

A value ``v`` (an exact product or sum) is rounded to 24 significant bits and then to an integer,
both half to even. The lane does it in one step: with ``v = i + f``, ``0 <= f < 1`` and the leading
one of ``|v|`` at ``2**k`` (``k = -1`` below 1), the 24-bit number is exactly ``i + 1/2`` if
``|f - 1/2| <= 2**(k - 24)``, and then the tie goes to even; everywhere else the first rounding
cannot change the second. The interval is symmetric, so ``v`` may be negative.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import Config
from .isa import ADD_POINT, CORRECTIONS, MANTISSA, POINT, Correction, Record

LATENCY = 10
"""Cycles from ``operand`` to ``result``."""
LIMITS_AT = 7
"""Cycles from ``operand`` to its ``zero`` and ``low``."""

OPERAND = 26
"""Bits of the signed operand: an accumulator, or two bytes ``PAIR`` bits apart."""
PAIR = 17
"""Place of the second byte of an add; also the bits of the low factor (one DSP port)."""
ADD_SHIFT = POINT - ADD_POINT - PAIR
"""Shift of the record of an add; its bias and mantissa are 0."""

SHIFTED = 35
"""Signed bits kept of a shifted sum: beyond, any normalised mantissa saturates."""
INTEGER = 14
"""Signed bits of the integer part of a value: those of the largest add."""


class AddTerms(wiring.Component):
    """The constants of an add in step with its operands, 0 for everything else; for all lanes.

    ``constants`` are fields of ``isa.Finish``. ``scale_a`` and ``scale_b`` follow ``add`` by 2
    cycles, ``addend`` by 4.
    """

    add: In(1)
    constants: In(data.StructLayout({"add_a": MANTISSA, "add_b": MANTISSA, "add_c": signed(36)}))
    scale_a: Out(MANTISSA)
    scale_b: Out(MANTISSA)
    addend: Out(signed(36 + ADD_SHIFT))

    def elaborate(self, platform):
        m = Module()
        add1, add2, add3 = (Signal(name=f"add{n}") for n in (1, 2, 3))
        m.d.sync += [
            add1.eq(self.add),
            add2.eq(add1),
            add3.eq(add2),
            self.scale_a.eq(Mux(add1, self.constants.add_a, 0)),
            self.scale_b.eq(Mux(add1, self.constants.add_b, 0)),
            self.addend.eq(Mux(add3, self.constants.add_c << ADD_SHIFT, 0)),
        ]
        return m


class Requantiser(wiring.Component):
    """A pipeline without stalls: one value a cycle, ``LATENCY`` cycles, two DSP48E1.

    With ``add`` clear ``result`` is ``clamp(zero + round(x * mantissa * 2**(shift - POINT)), low,
    255)`` where ``x = operand + bias``. If ``shift`` is above 1 the highest bit of the mantissa
    must be set: an ``x << shift`` of more than ``SHIFTED`` bits saturates.

    With ``add`` set ``operand`` is ``a + (b << PAIR)``, bias and mantissa are 0 and the shift is
    ``ADD_SHIFT``; ``result`` is ``clamp(round((a * add_a + b * add_b + add_c) * 2**-ADD_POINT) +
    correction, low, 255)``; ``zero`` must be 0.

    ``scale_a``, ``scale_b`` and ``addend`` come from ``AddTerms``, whose constants must not change
    while an add is under way, like ``corrections``. ``zero`` and ``low`` are those of the
    operand ``LIMITS_AT`` cycles before.

    Raises ``ValueError`` if the accumulators of ``config`` are wider than ``OPERAND``.
    """

    operand: In(signed(OPERAND))
    record: In(Record)
    add: In(1)
    scale_a: In(MANTISSA)
    scale_b: In(MANTISSA)
    addend: In(signed(36 + ADD_SHIFT))
    corrections: In(data.ArrayLayout(Correction, CORRECTIONS))
    zero: In(8)
    low: In(8)
    result: Out(8)

    def __init__(self, config: Config):
        if config.acc_width > OPERAND:
            raise ValueError(f"accumulators of {config.acc_width} bits, operands of {OPERAND}")
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        def after(value, cycles, name):
            for cycle in range(cycles):
                register = Signal.like(value, name=f"{name}_{cycle + 1}", reset_less=True)
                m.d.sync += register.eq(value)
                value = register
            return value

        # 1: the biased sum; the correction of an add.
        x = after(self.operand + self.record.bias.as_signed(), 1, "x")
        shift = after(self.record.shift, 1, "shift")
        mantissa = after(self.record.mantissa, 2, "mantissa")
        add1 = after(self.add, 1, "add1")
        add3 = after(add1, 2, "add3")
        correction = after(self._correction(after, add1), 5, "correction")
        add5 = after(add3, 2, "add5")

        # 2 and 3: shifted in two steps into the two factors; whether that lost anything.
        coarse = after((x << (shift[3:] << 3))[:SHIFTED].as_signed(), 1, "coarse")
        fine = after(shift[:3], 1, "fine")
        shifted = (coarse << fine)[:SHIFTED]
        low_factor = after(shifted[:PAIR], 1, "low_factor")
        high_factor = after(shifted[PAIR:].as_signed(), 1, "high_factor")
        # One of the two terms is 0: the adder is that of the DSP, a multiplexer would not be.
        low_scale = after((mantissa + self.scale_a)[:MANTISSA], 1, "low_scale")
        high_scale = after((mantissa + self.scale_b)[:MANTISSA], 1, "high_scale")

        coarse_lost = after(self._lost(m, x, shift[3:], 8), 1, "coarse_lost")
        lost = after(coarse_lost | self._lost(m, coarse, fine, 1), 6, "lost")
        negative = after(x[-1], 7, "negative")

        # 4 and 5: the products.
        low_product = after(low_factor * low_scale, 1, "low_product")
        high_sum = after(high_factor * high_scale, 3, "high_sum")
        low_sum = after((low_product + self.addend)[:48].as_signed(), 1, "low_sum")

        # 6 and 7: the value. In an add the low product has the weight of the high one.
        aligned = after(Mux(add5, low_sum, low_sum >> PAIR), 1, "aligned")
        lower = after(Mux(add5, 0, low_sum[:PAIR]), 2, "lower")
        upper = after((high_sum + aligned)[:POINT - PAIR + INTEGER], 1, "upper")
        value = Cat(lower, upper)

        # 8: what decides the rounding. ``near`` are the bits of the fraction that must agree for
        # a tie, down to 2**(k - 24): the fixed ones, and those chosen by the leading one.
        fraction = value[:POINT]
        integer = value[POINT:].as_signed()
        magnitude = Mux(integer < 0, ~integer, integer)
        near = after(fraction[POINT - 25:POINT - 15], 1, "near")
        depth = after(Cat((magnitude[i:9] == 0) for i in range(10)), 1, "depth")
        fixed = fraction[POINT - 15:POINT - 1]
        fixed_zeros = after(fixed == 0, 1, "fixed_zeros")
        fixed_ones = after(fixed.all(), 1, "fixed_ones")
        exact = after(fraction[:POINT - 25] == 0, 1, "exact")
        half = after(fraction[-1], 1, "half")
        odd = after(integer[0], 1, "odd")
        # The zero of an add is 0: the correction takes its place.
        whole = after(integer + (self.zero | correction).as_signed(), 1, "whole")
        low = after(self.low, 1, "low")

        # 9: round up or not; outside the limits or not (being one below needs no second look).
        deepest = depth & ~(depth << 1)
        above_half = half & fixed_zeros & (((near & depth) == 0) | ((near == deepest) & exact))
        below_half = ~half & fixed_ones & ((~near & depth) == 0)
        up = after(Mux(above_half | below_half, odd, half), 1, "up")
        below = after(Mux(lost, negative, whole < low), 1, "below")
        above = after(Mux(lost, ~negative, whole >= 255), 1, "above")
        byte = after(whole[:8], 1, "byte")
        low = after(low, 1, "low_9")

        # 10
        m.d.comb += self.result.eq(
            after(Mux(below, low, Mux(above, 255, (byte + up)[:8])), 1, "result"))
        return m

    def _lost(self, m, value, places, unit):
        """Whether ``value << places * unit`` needs more than ``SHIFTED`` bits."""
        lost = Signal()
        with m.Switch(places):
            for n in range(1, 1 << len(places)):
                top = value[SHIFTED - 1 - n * unit:]
                with m.Case(n):
                    m.d.comb += lost.eq(top.any() & ~top.all())
        return lost

    def _correction(self, after, add1):
        """-1, 0 or 1 for the pair on ``operand``, two cycles later."""
        pair = Cat(self.operand[:8], self.operand[PAIR:PAIR + 8])
        entries = self.corrections
        hits = after(Cat(entry.valid & (pair == Cat(entry.a, entry.b)) for entry in entries),
                     1, "hits")
        ups = Cat(entry.up for entry in entries)
        down = add1 & (hits & ~ups).any()
        return after(Cat(add1 & hits.any(), down).as_signed(), 1, "correction")
