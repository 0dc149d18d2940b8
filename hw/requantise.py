"""One lane of exact requantisation: sums and byte pairs to bytes, as ONNX Runtime rounds them.

A value ``v`` (an exact product or sum) is rounded to 24 significant bits and then to an integer,
both half to even. The lane does it in one step: with ``v = i + f``, ``0 <= f < 1`` and the leading
one of ``|v|`` at ``2**k`` (``k = -1`` below 1), the 24-bit number is exactly ``i + 1/2`` if
``|f - 1/2| <= 2**(k - 24)``, and then the tie goes to even; everywhere else the first rounding
cannot change the second. The interval is symmetric, so ``v`` may be negative.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import Config
from .ecp5 import Product
from .isa import ADD_POINT, MANTISSA, POINT, SHIFT, Correction

LATENCY = 11
"""Cycles from ``operand`` to ``result``."""
LIMITS_AT = 7
"""Cycles from ``operand`` to its ``zero`` and ``low``."""

INSERT_AT = 8
"""Cycles from ``operand`` to its ``insert`` and ``second``."""

OPERAND = 25
"""Bits of a signed sum, with and without its bias: those that float32 holds."""
FACTOR = MANTISSA + 1
LOW = 9
"""Bits of the factor for the first DSP; in an add a byte stands above them."""
ADD_PLACES = (POINT - ADD_POINT - LOW) // 2
"""``Parameters.places`` of an add: its sum stands ``LOW`` bits up."""

NEAR = 9
"""Lowest bits of a fraction: down to ``2**(k - 24)`` they matter for a tie."""
FIXED = 15
"""Bits between the half and those."""
FRACTION = 1 + FIXED + NEAR
INTEGER = 10
"""Signed bits of the integer part. What they do not hold is outside all limits."""
PRODUCT = OPERAND + FACTOR
HALF = 17
"""Bits of an operand that a MULT18X18D takes without a sign."""


class Parameters(data.Struct):
    """An ``isa.Record`` as the lanes use it: scale ``factor * 2**(2 * places - POINT)``."""

    bias: signed(OPERAND)
    factor: FACTOR
    places: SHIFT - 1


def prepared(record) -> Value:
    """The bits of the ``Parameters`` of a record."""
    factor = Mux(record.shift[0], record.mantissa << 1, record.mantissa)
    return Cat(record.bias[:OPERAND], factor[:FACTOR], record.shift[1:])


class AddTerms(wiring.Component):
    """The constants of an add in step with its operands, 0 for everything else; for all lanes.

    ``constants`` are fields of ``isa.Finish``. ``scale_a`` follows ``add`` by a cycle, ``scale_b``
    by 2, ``addend`` by 3.
    """

    add: In(1)
    constants: In(data.StructLayout({"add_a": MANTISSA, "add_b": MANTISSA, "add_c": signed(36)}))
    scale_a: Out(MANTISSA)
    scale_b: Out(MANTISSA)
    addend: Out(signed(36 + LOW))

    def elaborate(self, platform):
        m = Module()
        add1, add2 = Signal(), Signal()
        m.d.sync += [
            add1.eq(self.add),
            add2.eq(add1),
            self.scale_a.eq(Mux(self.add, self.constants.add_a, 0)),
            self.scale_b.eq(Mux(add1, self.constants.add_b, 0)),
            self.addend.eq(Mux(add2, self.constants.add_c << LOW, 0)),
        ]
        return m


def _select(choices, index):
    """A multiplexer as a tree, which is what fits into LUTs."""
    if len(choices) == 1:
        return choices[0]
    return _select([Mux(index[0], b, a) for a, b in zip(choices[::2], choices[1::2], strict=True)],
                   index[1:])


def _agree(bits):
    """Whether all bits are equal."""
    return bits.all() | ~bits.any()


class Requantiser(wiring.Component):
    """A pipeline without stalls: one value a cycle, ``LATENCY`` cycles, two DSP48E1.

    With ``add`` clear ``result`` is ``clamp(zero + round(x * factor * 2**(2 * places - POINT)),
    low, 255)`` where ``x = operand + bias`` must fit ``OPERAND`` bits; ``a`` must be 0.

    With ``add`` set operand and bias must be 0, the factor ``b << LOW`` and ``places``
    ``ADD_PLACES``; ``result`` is ``clamp(round((a * add_a + b * add_b + add_c) * 2**-ADD_POINT) +
    correction, low, 255)``; ``zero`` must be 0.

    ``scale_a``, ``scale_b`` and ``addend`` come from ``AddTerms``, whose constants must not change
    while an add is under way, like ``corrections``. ``zero`` and ``low`` are those of the
    operand ``LIMITS_AT`` cycles before.

    With ``insert`` the result is one of ``words`` (a cycle later than ``insert``), chosen by
    ``second``; operand, bias, factor and ``zero`` must be 0.

    Raises ``ValueError`` if the accumulators of ``config`` are wider than ``OPERAND``.
    """

    operand: In(signed(OPERAND))
    parameters: In(Parameters)
    a: In(8)
    add: In(1)
    scale_a: In(MANTISSA)
    scale_b: In(MANTISSA)
    addend: In(signed(36 + LOW))
    correction: In(Correction)
    zero: In(signed(9))
    low: In(8)
    insert: In(1)
    second: In(1)
    words: In(data.ArrayLayout(8, 2))
    result: Out(8)

    def __init__(self, config: Config):
        if config.acc_width > OPERAND:
            raise ValueError(f"accumulators of {config.acc_width} bits, operands of {OPERAND}")
        self._width = config.acc_width
        self._halves = config.vendor == "ecp5"
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        def after(value, cycles, name):
            for cycle in range(cycles):
                register = Signal.like(value, name=f"{name}_{cycle + 1}", reset_less=True)
                m.d.sync += register.eq(value)
                value = register
            return value

        def product(scale, factor, name):
            """A cycle later. Two multipliers of an ECP5, whose sum is left to the next adder."""
            if not self._halves:
                return after(scale * factor, 1, name)
            parts = {"lower": scale[:HALF], "upper": scale[HALF:].as_signed()}
            for part, value in parts.items():
                m.submodules[f"{name}_{part}"] = half = Product(value.shape(), factor.shape())
                m.d.comb += [half.a.eq(value), half.b.eq(factor)]
                parts[part] = half.product
            return parts["lower"] + (parts["upper"] << HALF)

        def select(value, cycles, name):
            """Two copies, for bits that would share a part of their multiplexers: with it each
            takes one and a half LUTs instead of one."""
            value = after(value, cycles - 1, name)
            return after(value, 1, f"{name}_last"), ~after(~value, 1, f"{name}_too")

        # 1 to 4: the biased sum times the low part of the factor. One of the two terms is 0: the
        # adder is that of the DSP, a multiplexer would not be.
        factor = self.parameters.factor
        x = (self.parameters.bias[:self._width] + self.operand[:self._width])[:self._width]
        x = after(x.as_signed(), 1, "x")
        scale = after((x + self.scale_a)[:OPERAND].as_signed(), 1, "low_scale")
        low_factor = after(Cat(factor[:LOW], self.a), 2, "low_factor")
        low_product = product(scale, low_factor, "low_product")
        low_sum = after((low_product + self.addend)[:48].as_signed(), 1, "low_sum")

        # 2 to 5: the same with the high part, and the sum.
        scale = after((after(x, 1, "x_late") + self.scale_b)[:OPERAND].as_signed(), 1, "high_scale")
        high_factor = after(factor[LOW:], 3, "high_factor")
        high_product = product(scale, high_factor, "high_product")
        high_sum = after((high_product + (low_sum >> LOW))[:PRODUCT - LOW], 1, "high_sum")
        value = Cat(after(low_sum[:LOW], 1, "lower"), high_sum)

        # Each of the following registers is what a LUT or two make of those before.
        # 6: shifted by eights, so that the point is at ``POINT - 2 * twos``; what falls off below,
        # and whether all that falls off above are copies of the sign.
        eights, eights_too = select(self.parameters.places[2:], 5, "eights")
        twos, twos_too = select(self.parameters.places[:2], 6, "twos")
        bottom, top = POINT - 6 - FRACTION, POINT + INTEGER
        extended = Cat(value, value[-1].replicate(top - PRODUCT))
        shifted = after(Cat(
            _select([(extended << 8 * n)[place] for n in range(4)],
                    eights if place & 16 else eights_too)
            for place in range(bottom, top)), 1, "shifted")
        rest = after(Cat(
            value[start:end].any() & (eights <= (bottom - end) // 8)
            for start, end in ((0, 1), (1, 5), (5, 9), (9, 13), (13, bottom))), 1, "rest")
        starts = top - 1 - 16, top - 1 - 24
        copies = after(Cat(_agree(value[start:][:6])
                           for first in starts for start in (first, first + 5)), 1, "copies")
        eights = after(eights, 1, "eights_late")
        negative = after(value[-1], 3, "negative")

        # 7: shifted by twos. ``near`` are the bits of the fraction that the interval of a tie may
        # reach; the fixed ones above must agree, and differ from the half.
        def at(place):
            return shifted[place - bottom]

        def window(start, size):
            return Cat(_select([at(place - 2 * n) for n in range(4)],
                               twos if place & 4 else twos_too)
                       for place in range(start, start + size))

        def rests(*places):
            return Cat(at(place) & (twos <= (POINT - FRACTION - 1 - place) // 2)
                       for place in places).any()

        def differs(*places):
            return Cat((at(place) ^ one)
                       & (twos <= (POINT - 2 - place) // 2)
                       & (twos >= (POINT - FIXED - place) // 2) for place in places).any()

        def overflows(*places):
            return Cat((at(place) ^ at(top - 1)) & (twos >= (top - place) // 2)
                       for place in places).any()

        near = after(window(POINT - FRACTION, NEAR), 1, "near")
        half = after(window(POINT - 1, 1), 1, "half")
        integer = after(window(POINT, INTEGER).as_signed(), 1, "integer")
        lowest = POINT - 6 - 1 - FIXED
        one = at(lowest + 6)  # fixed wherever the point is
        mixed = after(Cat(
            differs(*range(lowest + start, lowest + end))
            for start, end in ((0, 3), (3, 6), (7, 12), (12, 15), (15, 18), (18, 21))), 1, "mixed")
        one = after(one, 1, "one")
        rest = after(Cat(
            rest[:3].any(), rest[3:].any() | rests(bottom + 4, bottom + 5),
            rests(*range(bottom, bottom + 4))), 1, "rest_late")
        lost = after(Cat(
            ((eights >= 2) & ~copies[:2].all()) | ((eights == 3) & ~copies[2:].all()),
            overflows(*range(top - 7, top - 4)), overflows(*range(top - 4, top - 1))), 1, "lost")

        # 8: with a correction of -1 the zero of an add is -1, and what it does not hit gets 1.
        magnitude = integer[:8] ^ integer[-1].replicate(8)
        depth = Cat(after(Cat((magnitude[n:] == 0) for n in range(NEAR - 1)), 1, "depth"), 1)
        between = after(~mixed.any() & (one ^ half), 1, "between")
        exact = after(~rest.any(), 1, "exact")
        lost = after(lost.any(), 1, "lost_late")
        near = after(near, 1, "near_late")
        half = after(half, 1, "half_late")
        odd = after(integer[0], 1, "odd")
        hit = self._hit(after, factor)
        whole = Cat(1, integer).as_signed() + Cat(hit, self.zero).as_signed()
        whole = after(whole[1:].as_signed(), 1, "whole")
        low = after(self.low, 1, "low")

        # 9: inside or at the edge of the interval; outside the limits or not (being one below needs
        # no second look).
        distance = near ^ ~half.replicate(NEAR)
        deepest = depth & ~(depth << 1)
        parts = [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 9)]
        conditions = (between, half, exact, 1)
        inside = after(Cat(~(distance & depth)[part].any() for part in parts), 1, "inside")
        edge = after(Cat((near[part] == deepest[part]) & condition
                         for part, condition in zip(parts, conditions, strict=True)), 1, "edge")
        between = after(between, 1, "between_late")
        half = after(half, 1, "half_last")
        odd = after(odd, 1, "odd_late")
        below = Mux(lost, negative, (whole < 0) | (~whole[8:].any() & (whole[:8] < low)))
        other = after(Mux(self.insert, self.second, below), 1, "other")
        insert = after(self.insert, 1, "insert")
        above = after(Mux(lost, ~negative, (whole >= 0) & (whole[8:-1].any() | whole[:8].all())),
                      1, "above")
        byte = after(whole[:8], 1, "byte")
        low = after(low, 1, "low_late")

        # 10: round up or not.
        tie = (between & inside.all()) | edge.all()
        up = after(Mux(tie, odd, half) & ~other, 1, "up")
        base = after(_select([byte, low, *self.words], Cat(other, insert)), 1, "base")
        above = after(above, 1, "above_late")

        # 11
        m.d.comb += self.result.eq(after(Mux(above, 255, (base + up)[:8]), 1, "result"))
        return m

    def _hit(self, after, factor):
        """Whether a correction of 1 hits the bytes of an add, or one of -1 does not."""
        entry = self.correction
        differ = Cat(self.a, factor[LOW:LOW + 8]) ^ Cat(entry.a, entry.b)
        differ = after(Cat(differ[n:n + 3].any() for n in range(0, 16, 3)), 1, "differ")
        equal = after(~differ.any(), 1, "equal")
        add = after(self.add, 2, "add")
        return after(add & ((entry.valid & equal) ^ (entry.valid & ~entry.up)), 5, "hit")
