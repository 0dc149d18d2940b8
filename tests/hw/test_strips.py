"""Strips: their pace, and the jumps of their raster against counting pixel by pixel."""

import random

import pytest

from hw.config import Config
from hw.strips import StripWalker

from .streams import send, simulate, ticked


def test_strips_as_fast_as_their_steps():
    """With a strip taken at once the next one is there after its steps, a new group's after one
    more."""
    config = Config(pixels=2)
    dut = StripWalker(config)
    walk = {"groups_b": 3, "planes": 1, "kernel": 1, "strips": 4, "long_strips": 2, "steps": 6}
    source = {"width": 13, "height": 9, "out_width": 13, "pixels": 51, "stride": 1}
    times, strips = [], []

    async def bench(ctx):
        ctx.set(dut.strip.ready, 1)
        await send(ctx, dut.command, [{"walk": walk, "source": source}])
        cycle = 0
        while len(times) < 12:
            valid, strip = await ticked(ctx, dut.strip.valid, dut.strip.payload)
            if valid:
                times.append(cycle)
                strips.append((strip.steps, strip.lanes, strip.last, strip.start.address))
            cycle += 1

    simulate(dut, bench)
    group = [(7, 2, 0, 0), (7, 2, 0, 14), (6, 2, 0, 28), (6, 1, 1, 40)]
    assert strips == group * 3
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert all(gap <= steps for gap, (steps, *_) in zip(gaps, strips, strict=False))


@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_jumps(pixels):
    """From every pixel of rasters down to one column wide; ``single`` steps by one pixel."""
    config, rng = Config(pixels=pixels), random.Random(pixels)
    checked = 0
    for _ in range(25):
        stride, out_width = rng.randint(1, 4), rng.choice((1, 2, 3, 5, rng.randint(6, 40)))
        width = (out_width - 1) * stride + rng.randint(1, 5)
        single = rng.getrandbits(1)
        source = {"width": width, "height": 9, "out_width": out_width, "pixels": 3 * out_width,
                  "stride": stride, "single": single}
        walk = {"groups_b": 1, "planes": 1, "kernel": 1, "strips": 1, "steps": 1}
        dut = StripWalker(config)
        raster = None

        async def bench(ctx, dut=dut, walk=walk, source=source):
            nonlocal raster
            await send(ctx, dut.command, [{"walk": walk, "source": source}])
            while not await ticked(ctx, dut.strip.valid):
                pass
            raster = ctx.get(dut.raster)

        simulate(dut, bench)
        jumps = {1 if single else pixels: raster["step"]}
        jumps |= {n: jump for n, jump in enumerate(raster["lanes"], 1)}
        for count, jump in jumps.items():
            for x in range(out_width):
                rows, after = divmod(x + count, out_width)
                way = jump["wrapped" if x * stride >= jump["limit"] else "direct"]
                assert (x * stride + way["column"]) % 4096 == after * stride
                assert way["row"] == rows * stride
                assert way["address"] == (rows * width + after - x) * stride % 65536
                checked += 1
    assert checked > 150
