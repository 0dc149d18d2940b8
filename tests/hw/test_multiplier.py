"""One bench for every multiplier block: the same activations, loads and swaps, one equality."""

import random

import pytest
from amaranth.sim import Simulator

from hw.config import VECTOR, Config
from hw.multiplier import (
    EXCESS,
    LATENCY,
    GenericBlock,
    PackedBlock,
    TableBlock,
    make_blocks,
)
from tests.cocotb_run import run_bench

BLOCKS = {
    "generic": lambda config: GenericBlock(config),
    "packed": lambda config: PackedBlock(config, 1),
    "packed-pair": lambda config: PackedBlock(config, 2),
    "table": lambda config: TableBlock(config),
}
EXTREMES = (-128, 127, 0, -1, 1)
JUNK = 85


def reference(channels, cycles):
    """Sums of each cycle's activations; a cycle is (xs, weights to load by channel, swap)."""
    shadow, active = [None] * channels, None
    expected = []
    for xs, loads, swap in cycles:
        if swap:
            active = list(shadow)
        for c, load in loads.items():
            shadow[c] = load
        expected.append(None if active is None else [
            sum(w * x for w, x in zip(ws, xs, strict=True)) for ws in zip(*active, strict=True)])
    return expected


def run(dut, cycles):
    """Terms as they leave a block, one list for each of the cycles."""
    seen = []

    async def bench(ctx):
        idle = ([0] * dut.channels, {}, False)
        for xs, loads, swap in [*cycles, *[idle] * LATENCY]:
            for c in range(dut.channels):
                ctx.set(dut.x[c], xs[c])
                # Weights are only there in the cycle of the load.
                for lane, weight in enumerate(loads.get(c, [JUNK] * dut.lanes)):
                    ctx.set(dut.weights[c][lane], weight)
            ctx.set(dut.load, sum(1 << c for c in loads))
            ctx.set(dut.swap, swap)
            seen.append([ctx.get(term) for term in dut.terms])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return seen[LATENCY:]


def sums(dut, cycles):
    """Whole sums of each cycle's activations, None before the first swap."""
    first = next(i for i, (_, _, swap) in enumerate(cycles) if swap)
    return [
        [term + (dut.center - EXCESS * sum(xs) if dut.center and lane % 2 == 0 else 0)
         for lane, term in enumerate(terms)] if t >= first else None
        for t, (terms, (xs, _, _)) in enumerate(zip(run(dut, cycles), cycles, strict=True))
    ]


def weights_of(rng, lanes):
    return [rng.choice([*EXTREMES, *[rng.randint(-128, 127)] * 5]) for _ in range(lanes)]


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("co_lanes", [8, 16])
def test_every_activation(kind, co_lanes):
    """All 256 activations, those of a second channel random, extremes among the weights."""
    rng = random.Random(1)
    dut = BLOCKS[kind](Config(co_lanes=co_lanes))
    pairs = [w for a in EXTREMES for b in EXTREMES for w in (a, b)]
    pairs += [rng.randint(-128, 127) for _ in range(-len(pairs) % co_lanes + co_lanes)]
    others = [0, 255]
    cycles = []
    for i in range(0, len(pairs), co_lanes):
        loads = {0: pairs[i:i + co_lanes]}
        if dut.channels == 2:
            loads[1] = rng.sample(pairs, co_lanes)
        cycles += [([0] * dut.channels, loads, False)]
        cycles += [([rng.randrange(256)] * dut.channels, {}, False)] * (dut.LOAD_CYCLES - 1)
        cycles += [([x, rng.choice([*others, rng.randrange(256)])][:dut.channels], {}, x == 0)
                   for x in range(256)]
    assert sums(dut, cycles) == reference(dut.channels, cycles)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("seed", range(3))
def test_loads_and_swaps_while_streaming(kind, seed):
    """Swaps as early as allowed or later, loads in the cycle of a swap or later, by channel."""
    rng = random.Random(seed)
    dut = BLOCKS[kind](Config(co_lanes=8))
    cycles = []
    ready, missing = None, set(range(dut.channels))
    for now in range(1000):
        swap = ready is not None and now >= ready and rng.random() < 0.5
        if swap:
            ready, missing = None, set(range(dut.channels))
        loads = {c: weights_of(rng, 8) for c in sorted(missing) if rng.random() < 0.5}
        missing -= set(loads)
        if loads and not missing:
            ready = now + dut.LOAD_CYCLES
        xs = [rng.randrange(256) for _ in range(dut.channels)]
        cycles.append((xs, loads, swap))
    assert sums(dut, cycles) == reference(dut.channels, cycles)


def test_extreme_sums_fit_a_term():
    """Both ends of the range of two products, in the lower and in the upper lane."""
    dut = PackedBlock(Config(co_lanes=8), 2)
    for weight in (-128, 127):
        cycles = [([0, 0], {0: [weight] * 8, 1: [weight] * 8}, False), ([255, 255], {}, True)]
        assert sums(dut, cycles)[-1] == [2 * weight * 255] * 8


@pytest.mark.parametrize("config, kinds", [
    (Config(), [GenericBlock] * VECTOR),
    (Config(multiplier="dsp48-packed"), [PackedBlock] * 8),
    (Config(multiplier="dsp48-packed", table_rows=7), [TableBlock] * 7 + [PackedBlock] * 5),
    (Config(table_rows=4), [TableBlock] * 4 + [GenericBlock] * 12),
])
def test_make_blocks(config, kinds):
    """The kinds asked for, all channels exactly once."""
    blocks = make_blocks(config)
    assert [type(block) for block in blocks] == kinds
    assert sum(block.channels for block in blocks) == VECTOR


@pytest.mark.parametrize("kind", ["packed", "packed-pair", "table"])
def test_netlist(kind, tmp_path):
    """What Yosys makes of a block (DSP48E1 or LUT RAM) multiplies like its RTL."""
    block = BLOCKS[kind](Config(co_lanes=8))
    run_bench(block, "tests.hw.bench_multiplier", tmp_path,
              {"channels": block.channels, "center": block.center,
               "load_cycles": block.LOAD_CYCLES}, synthesised=True)
