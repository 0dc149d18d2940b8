"""The accumulator against plain sums over the tiles of random strips."""

import random
from collections import deque

import pytest

from hw.accumulator import Accumulator
from hw.array import SUM, array_latency
from hw.config import Config

from .streams import go, put, simulate, ticked

DEPTH = 32
CONFIGS = {
    "one pixel": Config(),
    "two halves": Config(co_lanes=8, acc_width=20),
    "four pixels in halves": Config(co_lanes=8, pixels=4),
}
LIMIT = 2 ** (SUM.width - 1)


class Strip:
    """Random tiles of one branch and group against ``steps`` steps."""

    def __init__(self, rng, config):
        self.config = config
        self.steps, self.tiles = rng.choice((1, 5, 32)), rng.choice((1, 3))
        self.lanes = rng.randint(1, config.pixels)
        self.branch, self.parity, self.group_end = (rng.getrandbits(1) for _ in range(3))
        limit = min(LIMIT, 2 ** (config.acc_width - 1) // self.tiles)
        self.sums = [[[[[rng.choice((-limit, limit - 1, rng.randrange(-limit, limit)))
                         for _ in range(config.co_lanes)] for _ in range(config.pixels)]
                       for _ in range(self.steps)] for _ in range(self.tiles)]
                     for _ in range(config.halves)]

    def issue(self):
        """(step, its sums) in order; None where the array waits for the next tile."""
        for half in range(self.config.halves):
            for tile in range(self.tiles):
                last = tile == self.tiles - 1
                for index in range(self.steps):
                    yield {
                        "valid": 1, "index": index, "first": int(tile == 0), "last": int(last),
                        "half": half, "branch": self.branch, "parity": self.parity,
                        "lanes": self.lanes if index == self.steps - 1 else self.config.pixels,
                        "group_end": self.group_end & (index == self.steps - 1),
                    }, self.sums[half][tile][index]
                # No tile follows the start of another sooner than it can be loaded.
                yield from [None] * max(0, self.config.tile_vectors + 1 - self.steps)

    def results(self):
        """(sums of 16 output channels, branch, parity, last) of every pixel."""
        for index in range(self.steps):
            lanes = self.lanes if index == self.steps - 1 else self.config.pixels
            for lane in range(lanes):
                sums = [sum(self.sums[half][tile][index][lane][o] for tile in range(self.tiles))
                        for half in range(self.config.halves)
                        for o in range(self.config.co_lanes)]
                last = self.group_end & (index == self.steps - 1) & (lane == lanes - 1)
                yield sums, self.branch, self.parity, last


def rtl_results(config, strips, rng, rate):
    """Results in order; ``idle`` is checked at both ends."""
    dut = Accumulator(config, DEPTH)
    expected = sum(len(list(strip.results())) for strip in strips)
    issues = deque(issue for strip in strips for issue in strip.issue())
    results, room = [], [DEPTH] * config.halves

    async def bench(ctx):
        assert ctx.get(dut.idle)
        # The sums follow their step by the latency of the array.
        pipe = deque([None] * array_latency(config))
        while len(results) < expected:
            step = None
            if issues:
                step = issues[0]
                if step is None or not step[0]["last"] or room[step[0]["half"]]:
                    issues.popleft()
                else:
                    step = None
            ctx.set(dut.step, step[0] if step else {"valid": 0, "last": 1, "index": 3})
            if step and step[0]["last"]:
                room[step[0]["half"]] -= 1
            pipe.append(step[1] if step else None)
            sums = pipe.popleft()
            bits = 0
            for i in range(config.pixels * config.co_lanes):
                value = sums[i // config.co_lanes][i % config.co_lanes] if sums else i
                bits |= (value & 2 * LIMIT - 1) << SUM.width * i
            put(ctx, dut.sums, bits)
            ctx.set(dut.results.ready, go(rng, rate))
            valid, ready, payload, credit, idle = await ticked(
                ctx, dut.results.valid, dut.results.ready, dut.results.payload, dut.credit,
                dut.idle)
            if valid and ready:
                assert not idle
                results.append(([each for each in payload.sums], payload.branch, payload.parity,
                                payload.last))
            for half in range(config.halves):
                room[half] += credit >> half & 1
                assert room[half] <= DEPTH
        assert ctx.get(dut.idle)
        assert room == [DEPTH] * config.halves

    simulate(dut, bench)
    return results


@pytest.mark.parametrize("rate", [1.0, 0.6])
@pytest.mark.parametrize("name", CONFIGS)
def test_equals_reference(name, rate):
    config, rng = CONFIGS[name], random.Random(f"{name}{rate}")
    strips = [Strip(rng, config) for _ in range(4)]
    assert rtl_results(config, strips, rng, rate) == [
        result for strip in strips for result in strip.results()]


@pytest.mark.filterwarnings("ignore:<hw.accumulator")
def test_a_strip_of_one_half_must_fit():
    """Results wait for their second half, so a whole strip of the first waits."""
    with pytest.raises(ValueError, match="32.*64"):
        Accumulator(Config(co_lanes=8, strip_steps=64), 32)
