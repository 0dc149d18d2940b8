"""Tiles against a plain loop nest over groups, strips, branches, halves, taps and planes."""

import random

import pytest

from hw.config import Config
from hw.isa import Average, ParameterKind
from hw.walker import TileCommand, TileWalker

from .programs import bits_of
from .streams import receive, send, simulate, ticked

CONFIGS = {"one pixel": Config(), "two halves": Config(co_lanes=8, pixels=2),
           "four pixels": Config(pixels=4)}


def random_pass(rng, config) -> dict:
    """A pass of the size of a band; fields as in ``TileCommand``."""
    kernel = rng.choice((1, 2, 3, 3, 5))
    stride = rng.choice((1, 1, 1, 2, 3))
    pad_top, pad_left = (rng.randrange(kernel) for _ in range(2))
    pad_right = rng.choice((0, kernel - 1 - pad_left, kernel - 1))
    # A map may be narrower than the window.
    width, height = rng.randint(max(1, kernel - pad_left - pad_right), 14), rng.randint(1, 14)
    out_width = (width + pad_left + pad_right - kernel) // stride + 1
    row, rows = rng.randrange(3), rng.randint(1, 4)
    pixels = rows * out_width
    # Pixels that are read at once must be in distinct banks.
    banks = [(y * width + x) * stride % config.pixels for y in range(rows)
             for x in range(out_width)]
    steps = [banks[i:i + config.pixels] for i in range(0, pixels, config.pixels)]
    single = int(config.pixels > 1 and (rng.randrange(4) == 0
                                        or any(len(set(step)) < len(step) for step in steps)))
    steps = -(-pixels // (1 if single else config.pixels))
    strips = rng.randint(-(-steps // config.strip_steps), min(steps, 5))
    groups_a, groups_b = rng.choice(((0, 1), (1, 0), (1, 2), (3, 1), (2, 2)))
    return {
        "walk": {"groups_a": groups_a, "groups_b": groups_b, "planes": rng.randint(1, 3),
                 "kernel": kernel, "strips": strips, "long_strips": steps % strips,
                 "steps": steps // strips, "refetch": int(rng.randrange(4) == 0)},
        "source": {"address": rng.randrange(1 << 16), "plane": rng.randrange(1 << 16),
                   "width": width, "height": height, "out_width": out_width, "row": row,
                   "pixels": pixels, "stride": stride, "pad_top": pad_top, "pad_left": pad_left,
                   "pad_value": rng.randrange(256), "single": single},
        "rescale": rng.getrandbits(1), "average": rng.choice(list(Average)),
        "chained": rng.getrandbits(1), "layer": rng.randrange(1 << 16),
    }


def strips_of(work, config):
    """(first pixel, steps, lanes of the last step, whether it is the last strip)."""
    walk, source = work["walk"], work["source"]
    each = 1 if source["single"] else config.pixels
    first = 0
    for strip in range(walk["strips"]):
        steps = walk["steps"] + (strip < walk["long_strips"])
        last = strip == walk["strips"] - 1
        yield first, steps, source["pixels"] - first - (steps - 1) * each if last else each, last
        first += steps * each
    assert first >= source["pixels"] > first - each


def cursor(source, pixel, ky, kx, plane):
    """Where a tap of an output pixel reads."""
    y, x = divmod(pixel, source["out_width"])
    row, column = y * source["stride"], x * source["stride"]
    return {"row": (source["row"] + y) * source["stride"] - source["pad_top"] + ky,
            "column": column,
            "address": (source["address"] + (row + ky) * source["width"] + column + kx
                        + plane * source["plane"]) % 65536}


def jump(source, pixels):
    """From an output pixel to that so many further on; one pixel on wraps at the last column."""
    stride, width, last_x = source["stride"], source["width"], source["out_width"] - 1
    rows, columns = (0, 1) if pixels == 1 else divmod(pixels, source["out_width"])
    limit = last_x * stride if pixels == 1 else (last_x - columns) * stride + 1

    def move(y, x):
        return {"column": x * stride % 4096, "row": y * stride,
                "address": (y * width + x) * stride % 65536}

    return {"limit": limit,
            "direct": move(rows, columns),
            "wrapped": move(rows + 1, columns - source["out_width"])}


def raster_of(source, config):
    return {"step": jump(source, 1 if source["single"] else config.pixels),
            "lanes": [jump(source, n) for n in range(1, config.pixels)],
            "height": source["height"], "pad_value": source["pad_value"],
            "single": source["single"]}


class Reference:
    """Tiles of passes one after the other; slots of parameters alternate over all of them."""

    def __init__(self, config):
        self.config = config
        self.group_parity = self.pass_parity = 0

    def block(self, kind, parity):
        return {"parameters": 1, "kind": kind, "parity": parity, "offset": 0, "release": 1}

    def tiles(self, work):
        walk, source = work["walk"], work["source"]
        counts = walk["groups_a"], walk["groups_b"]
        for count, kind in zip(counts, (ParameterKind.RESCALE_A, ParameterKind.RESCALE_B),
                               strict=True):
            if work["rescale"] and count:
                yield self.block(kind, self.pass_parity)
        if work["average"] == Average.QUANTISED:
            yield self.block(ParameterKind.AVERAGE, self.pass_parity)
        self.pass_parity ^= 1
        begins = 1
        groups = max(counts)
        for group in range(groups):
            for count, kind in zip(counts, (ParameterKind.BRANCH_A, ParameterKind.BRANCH_B),
                                   strict=True):
                if group < count:
                    yield self.block(kind, self.group_parity)
            for first_pixel, steps, lanes, last_strip in strips_of(work, self.config):
                loops = [
                    (branch, half, ky, kx, plane)
                    for branch in (0, 1) if group < counts[branch]
                    for half in range(self.config.halves)
                    for ky in (range(walk["kernel"]) if branch else [source["pad_top"]])
                    for kx in (range(walk["kernel"]) if branch else [source["pad_left"]])
                    for plane in range(walk["planes"])]
                leaves = last_strip or walk["refetch"]
                for number, (branch, half, ky, kx, plane) in enumerate(loops):
                    sums = [each[2:] for each in loops if each[:2] == (branch, half)]
                    final = number == len(loops) - 1
                    yield {
                        "parameters": 0, "parity": self.group_parity,
                        # The tiles of a last strip leave the ring as they are read.
                        "offset": 0 if leaves else number * self.config.tile_vectors,
                        "release": int(leaves),
                        "start": cursor(source, first_pixel, ky, kx, plane),
                        "left": source["pad_left"] - kx,
                        "right": source["width"] + source["pad_left"] - kx,
                        "raster": raster_of(source, self.config),
                        "steps": steps, "lanes": lanes, "half": half, "branch": branch,
                        "first": int((ky, kx, plane) == sums[0]),
                        "last": int((ky, kx, plane) == sums[-1]),
                        "group_end": int(last_strip), "begins": begins,
                        "ends": int(final and last_strip and group == groups - 1),
                        "chained": work["chained"], "layer": work["layer"],
                    }
                    begins = 0
            self.group_parity ^= 1


def fields(found, like):
    """The fields of a payload that ``like`` names, as plain numbers."""
    if isinstance(like, dict):
        return {name: fields(found[name], value) for name, value in like.items()}
    if isinstance(like, list):
        return [fields(found[n], value) for n, value in enumerate(like)]
    return type(like)(found)


def rtl_tiles(config, works, counts, rng, rate):
    """Payloads of all tiles."""
    dut = TileWalker(config)
    tiles = []

    async def commands(ctx):
        assert ctx.get(dut.idle)
        await send(ctx, dut.command, [bits_of(TileCommand, work) for work in works], rng, rate)

    async def taker(ctx):
        tiles.extend(await receive(ctx, dut.tile, counts, rng, rate))
        await ctx.tick().repeat(3)
        assert ctx.get(dut.idle) and not ctx.get(dut.tile.valid)

    simulate(dut, commands, taker)
    return tiles


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_equals_loop_nest(name, rate):
    config, rng = CONFIGS[name], random.Random(f"{name}{rate}")
    works = [random_pass(rng, config) for _ in range(30)]
    reference = Reference(config)
    expected = [tile for work in works for tile in reference.tiles(work)]
    tiles = rtl_tiles(config, works, len(expected), rng, rate)
    for number, (found, wanted) in enumerate(zip(tiles, expected, strict=True)):
        assert fields(found, wanted) == wanted, number
    assert sum(not tile["parameters"] for tile in expected) > 1000


def test_a_tile_every_two_cycles():
    """Inside a strip; parameters come one a cycle before it."""
    config, dut = Config(), TileWalker(Config())
    rng = random.Random(1)
    work = random_pass(rng, config) | {"rescale": 1, "average": Average.QUANTISED}
    work["walk"] |= {"groups_a": 1, "groups_b": 1, "planes": 3, "kernel": 3}
    expected = list(Reference(config).tiles(work))
    times = []

    async def bench(ctx):
        ctx.set(dut.tile.ready, 1)
        await send(ctx, dut.command, [bits_of(TileCommand, work)])
        cycle = 0
        while len(times) < len(expected):
            if await ticked(ctx, dut.tile.valid):
                times.append(cycle)
            cycle += 1

    simulate(dut, bench)
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    tiles_of_strip = (1 + 9) * 3
    assert gaps[:4] == [1] * 4, "five blocks of parameters"
    for start in range(5, len(times), tiles_of_strip):
        assert gaps[start:start + tiles_of_strip - 1] == [2] * (tiles_of_strip - 1)
