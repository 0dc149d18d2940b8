"""One bench for every multiplier row: the same activations, loads and swaps, one equality."""

import random

import pytest
from amaranth.sim import Simulator

from hw.config import Config
from hw.multiplier import LATENCY, GenericRow, PackedRow, TableRow, make_row

ROWS = (GenericRow, PackedRow, TableRow)
EXTREMES = (-128, 127, 0, -1, 1)


def ref_row(cycles):
    """Products of each cycle's activation; a cycle is (x, weights to load or None, swap)."""
    shadow = active = None
    expected = []
    for x, load, swap in cycles:
        if swap:
            active = shadow
        if load is not None:
            shadow = load
        expected.append(None if active is None else [w * x for w in active])
    return expected


def run(dut, cycles):
    """(products, carries) as they leave a row, one pair for each of the cycles."""
    seen = []

    async def bench(ctx):
        for x, load, swap in [*cycles, *[(0, None, False)] * LATENCY]:
            ctx.set(dut.x, x)
            ctx.set(dut.load, load is not None)
            # Weights are only there in the cycle of the load.
            ctx.set(dut.weights, (load * 2 if load else [85] * 16)[:dut.lanes])
            ctx.set(dut.swap, swap)
            seen.append(([ctx.get(p) for p in dut.products], ctx.get(dut.carries)))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return seen[LATENCY:]


def rtl_row(dut, cycles):
    """Whole products of each cycle's activation, None before the first swap."""
    first = next(i for i, (_, _, swap) in enumerate(cycles) if swap)
    return [
        [p + (carries >> i // 2 & i & 1) for i, p in enumerate(products)] if t >= first else None
        for t, (products, carries) in enumerate(run(dut, cycles))
    ]


def weights_of(rng, lanes):
    return [rng.choice([*EXTREMES, *[rng.randint(-128, 127)] * 5]) for _ in range(lanes)]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("co_lanes", [8, 16])
def test_every_activation(row, co_lanes):
    """All 256 activations against every ordered pair of extremes and random weights."""
    rng = random.Random(1)
    dut = row(Config(co_lanes=co_lanes))
    pairs = [w for a in EXTREMES for b in EXTREMES for w in (a, b)]
    pairs += [rng.randint(-128, 127) for _ in range(-len(pairs) % co_lanes + co_lanes)]
    cycles = []
    for i in range(0, len(pairs), co_lanes):
        cycles += [(rng.randrange(256), pairs[i:i + co_lanes], False)]
        cycles += [(rng.randrange(256), None, False)] * (row.LOAD_CYCLES - 1)
        cycles += [(x, None, x == 0) for x in range(256)]
    assert rtl_row(dut, cycles) == ref_row(cycles)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("seed", range(3))
def test_loads_and_swaps_while_streaming(row, seed):
    """Swaps as early as allowed or later, loads in the cycle of a swap or later."""
    rng = random.Random(seed)
    dut = row(Config(co_lanes=8))
    cycles = []
    ready = None  # the first cycle in which the shadow bank may be swapped in
    for now in range(1500):
        swap = ready is not None and now >= ready and rng.random() < 0.5
        if swap:
            ready = None
        load = ready is None and rng.random() < 0.5
        if load:
            ready = now + row.LOAD_CYCLES
        cycles.append((rng.randrange(256), weights_of(rng, 8) if load else None, swap))
    assert rtl_row(dut, cycles) == ref_row(cycles)


def test_only_packed_rows_carry():
    """A carry stands for the borrow of a negative low product."""
    cycles = [(0, [-1, 5] * 4, False), *[(0, None, False)] * 16, (3, None, True)]
    for row, carry in ((GenericRow, 0), (PackedRow, 0b1111), (TableRow, 0)):
        assert run(row(Config(co_lanes=8)), cycles)[-1] == ([-3, 15 - (carry & 1)] * 4, carry)


def test_make_row():
    mixed = Config(co_lanes=8, multiplier="dsp48-packed", table_rows=6)
    cycles = [(0, [7] * 8, False), *[(0, None, False)] * 16, (250, None, True)]
    for config, index, kind in (
        (mixed, 0, TableRow), (mixed, 5, TableRow), (mixed, 6, PackedRow),
        (mixed, 15, PackedRow), (Config(), 0, GenericRow),
    ):
        row = make_row(config, index)
        assert type(row) is kind
        assert run(row, cycles)[-1][0] == [1750] * config.co_lanes
    with pytest.raises(ValueError, match="row 16: the array has rows 0 to 15"):
        make_row(mixed, 16)
