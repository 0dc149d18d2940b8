"""The array against plain sums of products."""

import random

import pytest

from hw.array import Array, array_latency
from hw.config import VECTOR, Config
from hw.multiplier import TableBlock

from .streams import simulate

EXTREMES = (-128, 127, 0)


CONFIGS = {
    "generic": Config(),
    "packed": Config(co_lanes=8, multiplier="dsp48-packed"),
    "tables": Config(co_lanes=8, table_rows=VECTOR),
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
    settle = TableBlock.LOAD_CYCLES if config.table_rows else 1
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
        for load, weights, swap, x in [*cycles, *[idle] * array_latency(config)]:
            ctx.set(dut.load, load or 0)
            if weights:
                ctx.set(dut.weights, [[w & 255 for w in row] for row in weights])
            ctx.set(dut.swap, swap)
            ctx.set(dut.x, x)
            seen.append([[ctx.get(dut.sums[p][o]) for o in range(config.co_lanes)]
                         for p in range(config.pixels)])
            await ctx.tick()

    simulate(dut, bench)
    for found, wanted in zip(seen[array_latency(config):], expected, strict=True):
        assert wanted is None or found == wanted
    assert sum(wanted is not None for wanted in expected) > 4 * config.tile_vectors
