"""Adder trees and the array against plain sums of products."""

import random

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator

from hw.array import ARRAY_LATENCY, TREE_LEVELS, AdderTree, Array, add_with_carry
from hw.config import VECTOR, Config
from hw.multiplier import TableRow

from .streams import simulate

EXTREMES = (-128, 127, 0)


def test_adder_tree():
    """A sum and carry for every cycle's products, ``TREE_LEVELS`` cycles later."""
    rng = random.Random(1)
    low, high = -128 * 255, 127 * 255
    inputs = [([low] * VECTOR, 0), ([high] * VECTOR, 2**VECTOR - 1),
              ([low] * VECTOR, 2**VECTOR - 1)]
    inputs += [([rng.choice((low, high, rng.randint(low, high))) for _ in range(VECTOR)],
                rng.getrandbits(VECTOR)) for _ in range(200)]
    sums = []
    dut = AdderTree()

    async def bench(ctx):
        for products, carries in [*inputs, *[inputs[0]] * TREE_LEVELS]:
            ctx.set(dut.products, products)
            ctx.set(dut.carries, carries)
            sums.append(ctx.get(dut.sum) + ctx.get(dut.carry))
            await ctx.tick()

    simulate(dut, bench)
    assert sums[TREE_LEVELS:] == [sum(p) + c.bit_count() for p, c in inputs]


def test_add_with_carry_keeps_the_sign():

    m = Module()
    a, b, carry, total = Signal(signed(4)), Signal(signed(4)), Signal(), Signal(signed(5))
    m.d.comb += total.eq(add_with_carry(a, b, carry))

    async def bench(ctx):
        for x in range(-8, 8):
            for y in range(-8, 8):
                for c in range(2):
                    ctx.set(a, x)
                    ctx.set(b, y)
                    ctx.set(carry, c)
                    assert ctx.get(total) == x + y + c

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


CONFIGS = {
    "generic": Config(),
    "packed": Config(co_lanes=8, multiplier="dsp48-packed"),
    "mixed": Config(co_lanes=8, pixels=2, multiplier="dsp48-packed", table_rows=9),
}


def tile_of(rng, config):
    """Weights [ci][co]."""
    return [[rng.choice((*EXTREMES, *(rng.randint(-128, 127) for _ in range(5))))
             for _ in range(config.co_lanes)] for _ in range(VECTOR)]


@pytest.mark.parametrize("name", CONFIGS)
def test_array(name):
    """Tiles loaded while the one before is at work, dot products of every pixel with every
    output channel, the swap in the cycle of the first pixel."""
    config = CONFIGS[name]
    rng = random.Random(name)
    rows_per_vector = VECTOR // config.tile_vectors
    settle = TableRow.LOAD_CYCLES if config.table_rows else 1
    cycles = []
    tiles = [tile_of(rng, config) for _ in range(5)]
    expected = []

    def pixels():
        return [[rng.choice((0, 255, rng.randrange(256))) for _ in range(VECTOR)]
                for _ in range(config.pixels)]

    for number, tile in enumerate(tiles):
        # The tile's vectors, the time the last row needs, then its swap with the first pixels.
        steps = config.tile_vectors + settle - 1
        for step in range(steps + 1):
            load = weights = None
            if step < config.tile_vectors:
                load = sum(1 << step * rows_per_vector + i for i in range(rows_per_vector))
                weights = tile[step * rows_per_vector:][:rows_per_vector]
            swap = step == steps
            x = pixels()
            cycles.append((load, weights, swap, x))
            active = tile if swap else tiles[number - 1] if number else None
            expected.append(active and [
                [sum(x[p][i] * active[i][o] for i in range(VECTOR)) for o in range(config.co_lanes)]
                for p in range(config.pixels)])
    dut = Array(config)
    seen = []

    async def bench(ctx):
        idle = (None, None, False, pixels())
        for load, weights, swap, x in [*cycles, *[idle] * ARRAY_LATENCY]:
            ctx.set(dut.load, load or 0)
            if weights:
                ctx.set(dut.weights, [[w & 255 for w in row] for row in weights])
            ctx.set(dut.swap, swap)
            ctx.set(dut.x, x)
            seen.append([[ctx.get(dut.sums[p][o]) + ctx.get(dut.carries[p][o])
                          for o in range(config.co_lanes)] for p in range(config.pixels)])
            await ctx.tick()

    simulate(dut, bench)
    for found, wanted in zip(seen[ARRAY_LATENCY:], expected, strict=True):
        assert wanted is None or found == wanted
    assert sum(wanted is not None for wanted in expected) > 4 * config.tile_vectors
