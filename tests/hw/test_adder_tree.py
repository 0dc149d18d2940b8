"""Trees of adders against plain sums."""

import random

import pytest
from amaranth.hdl import Module, Signal, signed

from hw.adder_tree import Term, add_up

from .streams import simulate


@pytest.mark.parametrize("levels, width, shapes, carries", [
    (1, 12, [(8, 0), (8, 0), (8, 0)], 2),
    (2, 18, [(10, bit) for bit in range(8)], 0),
    (2, 18, [(11, bit) for bit in range(0, 8, 2)], 0),
    (2, 20, [(18, 0)] * 4, 3),
    (2, 20, [(18, 0)] * 9, 6),
    (3, 10, [(8, 3), (12, 1), (4, 0), (5, 7)], 0),
    (2, 8, [(5, 2)], 0),
])
def test_sums(levels, width, shapes, carries):
    """Random and extreme terms, a set each cycle; the sum comes after ``levels`` cycles."""
    rng = random.Random(1)
    m = Module()
    values = [Signal(signed(bits), name=f"value{i}") for i, (bits, _) in enumerate(shapes)]
    bits = [Signal(name=f"bit{i}") for i in range(carries)]
    total = Signal(signed(width))
    m.d.comb += total.eq(add_up(m, "tree", levels, width, [
        Term(value, shift) for value, (_, shift) in zip(values, shapes, strict=True)], bits))
    expected, seen = [], []

    async def bench(ctx):
        for _ in range(300):
            wanted = 0
            for value, (size, shift) in zip(values, shapes, strict=True):
                low, high = -(1 << size - 1), (1 << size - 1) - 1
                chosen = rng.choice((low, high, rng.randint(low, high)))
                ctx.set(value, chosen)
                wanted += chosen << shift
            for bit in bits:
                chosen = rng.getrandbits(1)
                ctx.set(bit, chosen)
                wanted += chosen
            expected.append(wanted)
            seen.append(ctx.get(total))
            await ctx.tick()

    simulate(m, bench)
    for found, wanted in zip(seen[levels:], expected, strict=False):
        assert (found - wanted) % (1 << width) == 0


@pytest.mark.parametrize("terms, carries, message", [
    (10, 0, "10 terms: a tree of 2 levels takes 1 to 9"),
    (0, 0, "0 terms"),
    (2, 5, "3 carries find no adder in a tree of 2 levels"),
])
def test_no_room(terms, carries, message):
    with pytest.raises(ValueError, match=message):
        add_up(Module(), "tree", 2, 12, [Term(Signal(signed(8)))] * terms, [Signal()] * carries)
