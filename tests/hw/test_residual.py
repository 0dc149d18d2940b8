"""The residual reader: the bypass operand in the order of the results, at full rate."""

import random

import pytest

from hw.config import Config
from hw.residual import ResidualReader

from .streams import bits, read_server, receive, send, simulate


def vector(address):
    return address << 64 | address ^ 0x1234


def ref_residual(work, lanes):
    """External addresses in the order in which the pass gives results."""
    walk, residual = work["walk"], work["residual"]
    order = []
    for group in range(max(walk["groups_a"], walk["groups_b"])):
        start = 0
        for strip in range(walk["strips"]):
            steps = walk["steps"] + (strip < walk["long_strips"])
            end = min(start + steps * (1 if work["single"] else lanes), work["pixels"])
            for branch in "ab":
                if group < walk[f"groups_{branch}"]:
                    base = residual[f"address_{branch}"] + group * residual["plane"]
                    order += [(base + i) % 2**28 for i in range(start, end)]
            start = end
        assert start == work["pixels"]
    return order


def work_of(pixels, lanes, groups_a, groups_b, longest, single, rng):
    """A pass over ``pixels`` in strips as equal as possible, of at most ``longest`` steps."""
    all_steps = -(-pixels // (1 if single else lanes))
    strips = -(-all_steps // longest)
    return {
        "walk": {
            "groups_a": groups_a, "groups_b": groups_b, "planes": 3, "kernel": 3,
            "strips": strips, "long_strips": all_steps % strips, "steps": all_steps // strips,
        },
        "residual": {
            "address_a": rng.randrange(1 << 28), "address_b": rng.randrange(1 << 28),
            "plane": rng.randrange(1 << 24),
        },
        "pixels": pixels, "single": single,
    }


def rtl_residual(works, lanes, rate=1.0, latency=3):
    """Vectors of the passes, and the cycles from the first to the last."""
    dut = ResidualReader(Config(pixels=lanes))
    total = sum(len(ref_residual(work, lanes)) for work in works)
    vectors, cycles = [], []

    async def requests(ctx):
        await send(ctx, dut.command, works, random.Random(1), rate)

    async def results(ctx):
        vectors.extend(map(bits, await receive(ctx, dut.output, total, random.Random(2), rate)))
        await ctx.tick().repeat(2)
        assert ctx.get(dut.idle) and not ctx.get(dut.output.valid)

    async def watch(ctx):
        cycle = 0
        while True:
            _, _, valid, ready, idle = await ctx.tick().sample(
                dut.output.valid, dut.output.ready, dut.idle)
            if valid and ready:
                cycles.append(cycle)
                assert not idle
            cycle += 1

    simulate(dut, requests, results, background=[
        watch, read_server(dut.client, vector, random.Random(3), rate, latency)])
    return vectors, cycles[-1] - cycles[0] + 1


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_equals_reference(lanes, rate):
    rng = random.Random(lanes)
    works = [
        work_of(pixels, lanes, groups_a, groups_b, longest, single, rng)
        for pixels, groups_a, groups_b, longest, single in (
            (1, 1, 0, 32, 0), (169, 0, 2, 32, 0), (55, 2, 1, 7, 0), (100, 1, 3, 16, 1),
            (35, 2, 2, 4, 0), (33, 3, 0, 32, 1), (5, 1, 1, 1, 0),
        )
    ]
    vectors, _ = rtl_residual(works, lanes, rate)
    assert vectors == [vector(a) for work in works for a in ref_residual(work, lanes)]


def test_full_rate():
    """One vector a cycle across strips, branches, groups and passes, 16 cycles to the memory."""
    rng = random.Random(5)
    works = [work_of(169, 1, 2, 2, 29, 0, rng), work_of(108, 1, 0, 3, 27, 0, rng)]
    for work in works:
        for name in ("address_a", "address_b", "plane"):
            work["residual"][name] &= ~15
    vectors, cycles = rtl_residual(works, 1, latency=16)
    assert len(vectors) == cycles == 169 * 4 + 108 * 3


def test_largest_pass():
    """Group counts and strips at the ends of their fields."""
    rng = random.Random(6)
    work = work_of(1, 1, 255, 254, 1, 0, rng)
    many = work_of(4000, 1, 1, 0, 1, 0, rng)
    vectors, _ = rtl_residual([work, many], 1)
    assert vectors == [vector(a) for w in (work, many) for a in ref_residual(w, 1)]
