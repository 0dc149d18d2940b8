"""One lane against float32 (requantise) and exact two-step rounding (add), a value every cycle."""

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, Signal

from hw.config import Config
from hw.isa import ADD_POINT, CORRECTIONS, POINT, Record
from hw.requantise import (
    ADD_PLACES,
    LATENCY,
    LIMITS_AT,
    LOW,
    OPERAND,
    AddTerms,
    Requantiser,
    prepared,
)

from .streams import simulate, ticked


def requantise(values, multiplier="generic"):
    """(operand, bias, mantissa, shift, zero, low) to bytes."""
    return run([(operand, {"bias": bias & 0xFFFFFFFF, "mantissa": mantissa, "shift": shift}, 0,
                 zero, low) for operand, bias, mantissa, shift, zero, low in values],
               multiplier=multiplier)


def add(pairs, constants, low):
    down = any(entry["valid"] and not entry["up"] for entry in constants["corrections"])
    return run([(pair, None, 1, -down, low) for pair in pairs], constants)


class Lane(Elaboratable):
    """A requantiser for a record or the constants of an add."""

    def __init__(self, multiplier):
        self.lane = Requantiser(Config(acc_width=25, multiplier=multiplier))
        self.terms = AddTerms()
        self.record, self.b = Signal(Record), Signal(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.lane, m.submodules.terms = lane, terms = self.lane, self.terms
        m.d.comb += terms.add.eq(lane.add)
        with m.If(lane.add):
            m.d.comb += [lane.parameters.factor.eq(self.b << LOW),
                         lane.parameters.places.eq(ADD_PLACES)]
        with m.Else():
            m.d.comb += lane.parameters.as_value().eq(prepared(self.record))
        m.d.comb += [getattr(lane, name).eq(getattr(terms, name))
                     for name in ("scale_a", "scale_b", "addend")]
        return m


def run(values, constants=None, multiplier="generic"):
    """One value a cycle: (operand or pair, record, add, zero, low), the limits when due."""
    whole = Lane(multiplier)
    dut = whole.lane
    results = []

    async def drive(ctx):
        if constants:
            ctx.set(whole.terms.constants,
                    {name: value for name, value in constants.items() if name != "corrections"})
            for correction in constants["corrections"]:
                ctx.set(dut.correction, correction)
        for cycle in range(len(values) + LIMITS_AT):
            if cycle < len(values):
                operand, record, is_add, _, _ = values[cycle]
                a, b = operand if is_add else (0, 0)
                ctx.set(dut.operand, 0 if is_add else operand)
                ctx.set(whole.record, {} if is_add else record)
                ctx.set(dut.a, a)
                ctx.set(whole.b, b)
                ctx.set(dut.add, is_add)
            if cycle >= LIMITS_AT:
                *_, zero, low = values[cycle - LIMITS_AT]
                ctx.set(dut.zero, zero)
                ctx.set(dut.low, low)
            await ctx.tick()

    async def observe(ctx):
        for cycle in range(len(values) + LATENCY):
            result = await ticked(ctx, dut.result)
            if cycle >= LATENCY:
                results.append(result)

    simulate(whole, drive, observe)
    return results


def float32_model(values):
    results = []
    for operand, bias, mantissa, shift, zero, low in values:
        scale = np.float32(mantissa) * np.float32(2.0 ** (shift - POINT))
        value = np.float32(operand + bias) * scale
        results.append(int(np.clip(np.rint(value) + zero, low, 255)))
    return results


def split(rng, x):
    """``x`` as operand and bias."""
    operand = rng.randrange(-(1 << 23), 1 << 23)
    return operand, x - operand


def limits(rng):
    zero = rng.choice((0, 128, rng.randrange(256)))
    return zero, rng.choice((0, zero, rng.randrange(256)))


def scale_record(scale):
    fraction, exponent = np.frexp(np.float32(scale))
    return int(np.float64(fraction) * 2**24), int(exponent) + POINT - 24


def two_steps(value):
    """A Fraction rounded to 24 significant bits, then to an integer, both half to even."""
    if value == 0:
        return 0
    # Python rounds Fractions half to even.
    exponent = 0
    while abs(value) * Fraction(2)**exponent < 1 << 23:
        exponent += 1
    while abs(value) * Fraction(2)**exponent >= 1 << 24:
        exponent -= 1
    return round(Fraction(round(value * Fraction(2)**exponent)) / Fraction(2)**exponent)


@pytest.mark.parametrize("multiplier", ["generic", "mult18"])
def test_random(multiplier):
    rng = random.Random(1)
    values = []
    for _ in range(4000):
        x = rng.randrange(-(1 << 24) + 1, 1 << 24) >> rng.randrange(24)
        # Scales of every size, but mostly those that give something between 0 and 1000.
        scale = 2.0 ** rng.choice((rng.uniform(-25, 7), rng.uniform(-2, 10) - np.log2(abs(x) + 1)))
        mantissa, shift = scale_record(np.clip(scale, 2.0**-25, 127.9))
        values.append((*split(rng, x), mantissa, shift, *limits(rng)))
    expected = float32_model(values)
    assert len(set(expected)) == 256
    assert requantise(values, multiplier) == expected


def test_near_ties():
    # Products within a few units of the 24th bit of n + 1/2, of both signs.
    rng = random.Random(2)
    values, ties = [], 0
    for _ in range(4000):
        half = rng.randrange(1 << rng.randrange(10)) + 0.5
        x = rng.randrange(1 << rng.randrange(8, 24), 1 << 24)
        scale = np.float32(half / x * (1 + rng.randrange(-2, 3) * 2.0**-24))
        value = np.float32(x) * scale
        ties += value % 1 == 0.5 and Fraction(x) * Fraction(float(scale)) % 1 != Fraction(1, 2)
        values.append((*split(rng, rng.choice((x, -x))), *scale_record(scale), *limits(rng)))
    assert ties > 1000
    assert requantise(values) == float32_model(values)


def factors(product):
    """Two factors of at most 24 bits, or None."""
    candidates = np.arange(max(1, product >> 24) + 1, 1 << 18)
    found = candidates[product % candidates == 0]
    return (product // int(found[0]), int(found[0])) if len(found) else None


def test_exact_edges_of_the_tie():
    # |f - 1/2| just inside, at and just beyond 2**(k - 24), for every place of the leading one.
    fine = 11  # bits of the distances below that
    values, expected, seen = [], [], set()
    for k in range(-1, 9):
        integers = [0] if k < 0 else [1 << k, (1 << k) + 1, (2 << k) - 2, (2 << k) - 1]
        for integer, side, beyond in itertools.product(integers, (1, -1), (-1, 0, 1)):
            edge = ((2 * integer + 1 << 23 - k) + side) << fine
            product = next((product for off in range(1, 100)
                            if factors(product := edge + side * beyond * off)), None)
            if product is None:
                continue
            seen.add((k, side, beyond))
            x, mantissa = factors(product)
            for sign in (1, -1):
                zero = 0 if sign > 0 else 255
                values.append((0, sign * x, mantissa, POINT - 24 + k - fine, zero, 0))
                exact = Fraction(sign * product, 1 << 24 - k + fine)
                expected.append(min(max(zero + two_steps(exact), 0), 255))
    assert len(seen) == 10 * 2 * 3
    assert requantise(values) == expected


def test_saturation():
    rng = random.Random(4)
    values = []
    for mantissa in (1 << 23, (1 << 24) - 1):
        for shift in range(32):
            for place in (0, 8, 9, 10, 15, 22, 23):
                x = (1 << place) + rng.randrange(1 << place)
                for signed in (x, -x):
                    values.append((*split(rng, signed), mantissa, shift, *limits(rng)))
    assert requantise(values) == float32_model(values)


def test_whole_range_of_sums():
    # Mantissas need not be normalised, sums may be those that float32 just holds.
    rng = random.Random(5)
    limit = 1 << OPERAND - 1
    values, expected = [], []
    for _ in range(1000):
        x = rng.choice((-limit, limit - 1, rng.randrange(-limit, limit)))
        operand = rng.randrange(-limit, limit)
        mantissa = rng.randrange(1 << rng.randrange(1, 25))
        shift = rng.choice((0, 1, 2, 3, rng.randrange(32)))
        zero, low = limits(rng)
        values.append((operand, x - operand, mantissa, shift, zero, low))
        exact = Fraction(x * mantissa << shift, 1 << POINT)
        expected.append(min(max(zero + two_steps(exact), low), 255))
    assert requantise(values) == expected


def test_scale_zero():
    rng = random.Random(6)
    values = [(rng.randrange(-(1 << 23), 1 << 23), rng.randrange(-(1 << 31), 1 << 31), 0, 0,
               *limits(rng)) for _ in range(100)]
    assert requantise(values) == [max(zero, low) for *_, zero, low in values]


def add_model(pairs, constants, low):
    results = []
    for a, b in pairs:
        total = a * constants["add_a"] + b * constants["add_b"] + constants["add_c"]
        value = two_steps(Fraction(total, 1 << ADD_POINT))
        for entry in constants["corrections"]:
            if entry["valid"] and (entry["a"], entry["b"]) == (a, b):
                value += 1 if entry["up"] else -1
        results.append(min(max(value, low), 255))
    return results


@pytest.mark.parametrize("seed", range(4))
def test_add(seed):
    rng = random.Random(seed)
    pairs = [(rng.randrange(256), rng.randrange(256)) for _ in range(1000)]
    pairs += [(a, b) for a in (0, 1, 127, 255) for b in (0, 1, 127, 255)]
    # Correct different pairs, up or down; in the last seed the corrections are disabled.
    chosen = rng.sample(sorted(set(pairs)), CORRECTIONS)
    constants = {
        "add_a": [rng.randrange(1 << 23), (1 << 24) - 1, 1 << 22, 1 << 22][seed],
        "add_b": [rng.randrange(1 << 23), (1 << 24) - 1, (1 << 22) + 1, 3 << 20][seed],
        "add_c": [rng.randrange(-(1 << 30), 1 << 28), -(1 << 32), 1, (1 << 22) - 3][seed],
        "corrections": [{"valid": seed != 3, "up": (n + seed) % 2, "a": a, "b": b}
                        for n, (a, b) in enumerate(chosen)],
    }
    low = rng.choice((0, 30))
    assert add(pairs, constants, low) == add_model(pairs, constants, low)


@pytest.mark.parametrize("add_c", [-(1 << 35), (1 << 35) - 1])
def test_add_far_outside(add_c):
    constants = {"add_a": 1 << 22, "add_b": 1 << 22, "add_c": add_c, "corrections": []}
    pairs = [(0, 0), (255, 255), (255, 0)]
    assert add(pairs, constants, 7) == [7 if add_c < 0 else 255] * 3


def test_modes_alternate():
    rng = random.Random(8)
    constants = {"add_a": 5 << 20, "add_b": 3 << 20, "add_c": -(9 << 20), "corrections": []}
    values, expected = [], []
    for n in range(200):
        zero, low = limits(rng)
        if n % 3 == 0:
            pair = rng.randrange(256), rng.randrange(256)
            values.append((pair, None, 1, 0, low))
            expected += add_model([pair], constants, low)
        else:
            x, record = rng.randrange(-1000, 1000), scale_record(0.37)
            values.append((x, {"mantissa": record[0], "shift": record[1]}, 0, zero, low))
            expected += float32_model([(x, 0, *record, zero, low)])
    assert run(values, constants) == expected
