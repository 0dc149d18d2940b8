"""Running sums against plain ones, rows and branches in any order."""

import random

import pytest

from hw.config import Config
from hw.sums import SUM, Sums

from .streams import simulate, ticked


@pytest.mark.parametrize("requantisers", [1, 2, 8])
def test_sums(requantisers):
    rng = random.Random(requantisers)
    dut = Sums(Config(requantisers=requantisers))
    sums = {}

    async def bench(ctx):
        before = None
        for _ in range(1000):
            branch, row = rng.getrandbits(1), rng.randrange(dut.rows)
            # An addition takes two cycles.
            if (branch, row) == before:
                continue
            before = branch, row
            add, first = rng.getrandbits(1), before not in sums or rng.random() < 0.05
            data = [rng.randrange(256) for _ in range(dut.channels)]
            for name, value in (("branch", branch), ("row", row), ("add", add), ("first", first),
                                ("bytes", data)):
                ctx.set(getattr(dut, name), value)
            found = await ticked(ctx, dut.sums)
            if before in sums:
                assert list(found) == sums[before]
            if add:
                old = [0] * dut.channels if first else sums[before]
                sums[before] = [(a + b) % (1 << SUM) for a, b in zip(old, data, strict=True)]
        assert len(sums) == 2 * dut.rows

    simulate(dut, bench)
