"""One bench for every multiplier block: the same activations, loads and swaps, one equality."""

import random

import pytest
from amaranth.sim import Simulator

from hw.config import VECTOR, Config
from hw.multiplier import (
    CarryBlock,
    GenericBlock,
    Mult18Block,
    PackedBlock,
    TableBlock,
    make_blocks,
)
from tests.cocotb_run import run_bench
from tests.netlist import XILINX

BLOCKS = {f"{name}-{channels}": (kind, channels)
          for name, kind in (("generic", GenericBlock), ("packed", PackedBlock),
                             ("table", TableBlock))
          for channels in kind.CHANNELS}
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
    """Sums as they leave a block, one list for each of the cycles."""
    seen = []

    async def bench(ctx):
        idle = ([0] * dut.channels, {}, False)
        for xs, loads, swap in [*cycles, *[idle] * dut.LATENCY]:
            for c in range(dut.channels):
                ctx.set(dut.x[c], xs[c])
                # Weights are only there in the cycle of the load.
                for lane, weight in enumerate(loads.get(c, [JUNK] * dut.lanes)):
                    ctx.set(dut.weights[c][lane], weight)
            ctx.set(dut.load, sum(1 << c for c in loads))
            ctx.set(dut.swap, swap)
            carries = ctx.get(dut.carries)
            assert not any(carries >> lane & 1 for lane in range(dut.lanes)
                           if lane not in dut.carry_lanes)
            seen.append([ctx.get(term) + (carries >> lane & 1)
                         for lane, term in enumerate(dut.terms)])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return seen[dut.LATENCY:]


def sums(dut, cycles):
    """Sums of each cycle's activations, None before the first swap."""
    first = next(i for i, (_, _, swap) in enumerate(cycles) if swap)
    return [found if t >= first else None for t, found in enumerate(run(dut, cycles))]


def weights_of(rng, lanes):
    return [rng.choice([*EXTREMES, *[rng.randint(-128, 127)] * 5]) for _ in range(lanes)]


def make(name, **options):
    kind, channels = BLOCKS[name]
    return kind(Config(**options), channels)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("co_lanes", [8, 16])
def test_every_activation(name, co_lanes):
    """All 256 activations, those of other channels random, extremes among the weights."""
    rng = random.Random(1)
    dut = make(name, co_lanes=co_lanes)
    pairs = [w for a in EXTREMES for b in EXTREMES for w in (a, b)]
    pairs += [rng.randint(-128, 127) for _ in range(-len(pairs) % co_lanes + co_lanes)]
    cycles = []
    for i in range(0, len(pairs), co_lanes):
        loads = {0: pairs[i:i + co_lanes]}
        loads |= {c: rng.sample(pairs, co_lanes) for c in range(1, dut.channels)}
        cycles += [([0] * dut.channels, loads, False)]
        cycles += [([rng.randrange(256)] * dut.channels, {}, False)] * (dut.LOAD_CYCLES - 1)
        cycles += [
            ([x, *(rng.choice((0, 255, rng.randrange(256))) for _ in range(1, dut.channels))],
             {}, x == 0) for x in range(256)]
    assert sums(dut, cycles) == reference(dut.channels, cycles)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("seed", range(3))
def test_loads_and_swaps_while_streaming(name, seed):
    """Swaps as early as allowed or later, loads in the cycle of a swap or later, by channel."""
    rng = random.Random(seed)
    dut = make(name, co_lanes=8)
    last = dut.channels - 1
    cycles = []
    ready, missing = None, set(range(dut.channels))
    for now in range(1000):
        swap = ready is not None and now >= ready and rng.random() < 0.5
        if swap:
            ready, missing = None, set(range(dut.channels))
        loads = {c: weights_of(rng, 8) for c in sorted(missing - {last}) if rng.random() < 0.5}
        missing -= set(loads)
        if missing == {last} and rng.random() < 0.5:
            loads[last] = weights_of(rng, 8)
            missing, ready = set(), now + dut.LOAD_CYCLES
        xs = [rng.randrange(256) for _ in range(dut.channels)]
        cycles.append((xs, loads, swap))
    assert sums(dut, cycles) == reference(dut.channels, cycles)


@pytest.mark.parametrize("name", BLOCKS)
def test_extreme_sums(name):
    """Both ends of the range of the sum, in lower and upper lanes, with equal and unlike signs."""
    dut = make(name, co_lanes=8)
    for weights in ([-128] * 8, [127] * 8, [-128, 127] * 4, [127, -128] * 4):
        cycles = [([0] * dut.channels, dict.fromkeys(range(dut.channels), weights), False)]
        cycles += [([0] * dut.channels, {}, False)] * (dut.LOAD_CYCLES - 1)
        cycles += [([255] * dut.channels, {}, True)]
        assert sums(dut, cycles)[-1] == [dut.channels * weight * 255 for weight in weights]


def test_unsupported_channels():
    with pytest.raises(ValueError, match="TableBlock: 3 channels, supported: 4, 2, 1"):
        TableBlock(Config(), 3)


@pytest.mark.parametrize("config, kinds", [
    (Config(), [(GenericBlock, 2)] * 8),
    (Config(multiplier="dsp48-packed"), [(PackedBlock, 4)] * 4),
    (Config(multiplier="dsp48-packed", table_rows=8),
     [(TableBlock, 4)] * 2 + [(PackedBlock, 4)] * 2),
    (Config(multiplier="dsp48-packed", table_rows=7),
     [(TableBlock, 4), (TableBlock, 2), (TableBlock, 1), (PackedBlock, 4), (PackedBlock, 4),
      (PackedBlock, 1)]),
    (Config(table_rows=4), [(TableBlock, 4)] + [(GenericBlock, 2)] * 6),
    (Config(multiplier="mult18", table_rows=9),
     [(CarryBlock, 2)] * 4 + [(CarryBlock, 1)] + [(Mult18Block, 2)] * 3 + [(Mult18Block, 1)]),
])
def test_make_blocks(config, kinds):
    """The kinds asked for, all channels exactly once."""
    blocks = make_blocks(config)
    assert [(type(block), block.channels) for block in blocks] == kinds
    assert sum(block.channels for block in blocks) == VECTOR


@pytest.mark.parametrize("name", ["packed-1", "packed-4", "table-4", "table-1"])
def test_netlist(name, tmp_path):
    """What Yosys makes of a block (DSP48E1, LUT RAM, ternary adders) multiplies like its RTL."""
    block = make(name, co_lanes=8)
    run_bench(block, "tests.hw.bench_multiplier", tmp_path,
              {"channels": block.channels, "load_cycles": block.LOAD_CYCLES,
               "latency": block.LATENCY}, synthesised=XILINX)
