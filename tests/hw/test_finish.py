"""The bank of requantisers against a plain model, with random waits on every stream."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.config import VECTOR, Config
from hw.finish import Finisher, depth
from hw.interfaces import Stage
from hw.isa import ADD_POINT, CORRECTIONS, POINT, Average, ParameterKind
from hw.requantise import LATENCY

from .streams import ticked


def requantise(x, record, zero, low):
    bias, mantissa, shift = record
    scale = np.float32(mantissa) * np.float32(2.0 ** (shift - POINT))
    value = np.float32(x + bias) * scale
    return int(np.clip(zero + np.rint(value), low, 255))


def add(a, b, finish):
    # The tests draw add constants of few bits, so that float64 holds every sum exactly.
    total = (a * finish["add_a"] + b * finish["add_b"] + finish["add_c"]) * 2.0**-ADD_POINT
    value = int(np.rint(np.float32(total)))
    for entry in finish["corrections"]:
        if entry["valid"] and (entry["a"], entry["b"]) == (a, b):
            value += 1 if entry["up"] else -1
            break
    return min(max(value, finish["low_d"]), 255)


@dataclass
class Pass:
    """Stimulus and expectation of one pass."""

    walk: dict
    finish: dict
    blocks: list = field(default_factory=list)  # (group or -1, kind, parity, records)
    results: list = field(default_factory=list)  # (group, sums, branch, last, parity)
    residual: list = field(default_factory=list)
    output: list = field(default_factory=list)  # (bytes, branch, last)
    probe: dict = field(default_factory=lambda: {stage: [] for stage in Stage})


def random_finish(rng, rescale, adds, average):
    def limits(name):
        zero = rng.choice((0, rng.randrange(256)))
        return {f"zero_{name}": zero, f"low_{name}": rng.choice((0, zero))}

    finish = {"rescale": rescale, "add": adds, "average": average,
              "low_d": rng.choice((0, 20)), "add_a": rng.randrange(1 << 14) << 9,
              "add_b": rng.randrange(1 << 14) << 9,
              "add_c": rng.randrange(-(1 << 24), 1 << 24) << 6,
              "corrections": [{"valid": rng.random() < 0.7, "up": rng.getrandbits(1),
                               "a": rng.randrange(4), "b": rng.randrange(4)}
                              for _ in range(CORRECTIONS)]}
    return finish | limits("a") | limits("b") | limits("c") | limits("g")


def random_record(rng, size):
    """Results of about 0 to 300 for values of ``size``."""
    scale = 2.0 ** rng.uniform(5, 8) / size
    exponent = int(np.floor(np.log2(scale)))
    return rng.randrange(-size // 4, size // 4), rng.randrange(1 << 23, 1 << 24), exponent + 25


def random_pass(rng, first_group, parity, groups, strips, stages):
    """A pass and everything it must give; ``strips`` are pixels of each strip."""
    walk = {"groups_a": groups[0], "groups_b": groups[1]}
    rescale, adds, average = stages
    finish = random_finish(rng, rescale, adds, average)
    this = Pass(walk, finish)
    size = 1 << rng.randrange(10, 20)

    def block(group, kind, slot, size):
        records = [random_record(rng, size) for _ in range(VECTOR)]
        this.blocks.append((group, kind, slot, records))
        return records

    rescales = [block(-1, kind, parity, 256) if rescale and count else None
                for kind, count in zip((ParameterKind.RESCALE_A, ParameterKind.RESCALE_B),
                                       groups, strict=True)]
    if average == Average.QUANTISED:
        averages = block(-1, ParameterKind.AVERAGE, parity, 128 * sum(strips))
    for group in range(max(groups)):
        slot = (first_group + group) % 2
        branches = [b for b in (0, 1) if group < groups[b]]
        records = {b: block(group, ParameterKind(b), slot, size) for b in branches}
        sums = {b: np.zeros(VECTOR, int) for b in branches}
        for n, pixels in enumerate(strips):
            for b in branches:
                for pixel in range(pixels):
                    last = n == len(strips) - 1 and pixel == pixels - 1
                    raw = [rng.randrange(-size, size) for _ in range(VECTOR)]
                    this.results.append((group, raw, b, last, slot))
                    name = "ab"[b]
                    data = [requantise(x, r, finish[f"zero_{name}"], finish[f"low_{name}"])
                            for x, r in zip(raw, records[b], strict=True)]
                    this.probe[Stage.CONV].append((data, b))
                    if rescale:
                        data = [requantise(x, r, finish["zero_c"], finish["low_c"])
                                for x, r in zip(data, rescales[b], strict=True)]
                        this.probe[Stage.RESCALE].append((data, b))
                    if adds:
                        other = [rng.choice((rng.randrange(256), rng.randrange(4)))
                                 for _ in range(VECTOR)]
                        this.residual.append(other)
                        data = [add(x, y, finish) for x, y in zip(data, other, strict=True)]
                        this.probe[Stage.ADD].append((data, b))
                    sums[b] += data
                    if average == Average.NONE:
                        this.output.append((data, b, last))
                    elif last and average == Average.SUMS:
                        words = sums[b].astype("<i4").tobytes()
                        this.output += [(list(words[i:i + 16]), b, i == 48)
                                        for i in range(0, 64, 16)]
                    elif last:
                        data = [requantise(x, r, finish["zero_g"], finish["low_g"])
                                for x, r in zip(sums[b].tolist(), averages, strict=True)]
                        this.probe[Stage.AVERAGE].append((data, b))
                        this.output.append((data, b, True))
    return this


def run(config, passes, rng, wait=0.0, timeout=20_000):
    """Plays ``passes``; gives outputs, probes by stage, and the cycle of each of these."""
    dut = Finisher(config)
    done, written, cycle = 0, 0, 0
    output, probe = [], {stage: [] for stage in Stage}
    cycles = {name: [] for name in (*Stage.__members__, "output", "group_done")}
    expected = sum(len(p.output) for p in passes)
    all_groups = sum(max(p.walk.values()) for p in passes)

    async def pause(ctx):
        while rng.random() < wait:
            await ctx.tick()

    async def send(ctx, port, payload):
        await pause(ctx)
        ctx.set(port.payload, payload)
        ctx.set(port.valid, 1)
        while not await ticked(ctx, port.ready):
            pass
        ctx.set(port.valid, 0)

    async def commands(ctx):
        for p in passes:
            await send(ctx, dut.command, {"walk": p.walk, "finish": p.finish})

    async def parameters(ctx):
        nonlocal written
        group = 0
        for p in passes:
            for in_pass, kind, slot, records in p.blocks:
                number = group + max(in_pass, 0)
                while done < number - 1:
                    await ctx.tick()
                for index in range(8):
                    pair = [{"bias": r[0] & 0xFFFFFFFF, "mantissa": r[1], "shift": r[2]}
                            for r in records[2 * index:2 * index + 2]]
                    await send(ctx, dut.parameters, {"kind": kind, "parity": slot,
                                                     "index": index, "records": pair})
                # Results of a group follow its last block.
                later = [b for b in p.blocks if b[0] == in_pass]
                if in_pass >= 0 and later[-1][1] == kind:
                    written = number + 1
            group += max(p.walk.values())

    async def results(ctx):
        group = 0
        for p in passes:
            for in_pass, sums, branch, last, slot in p.results:
                while written <= group + in_pass:
                    await ctx.tick()
                await send(ctx, dut.results, {"sums": sums, "branch": branch, "last": last,
                                              "parity": slot})
            group += max(p.walk.values())

    async def residual(ctx):
        for p in passes:
            for vector in p.residual:
                await send(ctx, dut.residual, vector)

    async def observe(ctx):
        nonlocal done, cycle
        probed = dut.probe
        while True:
            fires, valid, stage, branch, data = await ticked(
                ctx, dut.group_done, probed.valid, probed.stage, probed.branch, probed.data)
            cycle += 1
            if fires:
                done += 1
                cycles["group_done"].append(cycle)
            if valid:
                probe[stage].append((list(data), branch))
                cycles[stage.name].append(cycle)

    async def main(ctx):
        while len(output) < expected:
            vector, marks = [], set()
            while len(vector) < VECTOR:
                await pause(ctx)
                ctx.set(dut.output.ready, 1)
                valid, part = 0, None
                while not valid:
                    assert cycle < timeout, "no progress"
                    valid, part = await ticked(ctx, dut.output.valid, dut.output.payload)
                vector += list(part.data)
                marks.add((part.branch, bool(part.last)))
                ctx.set(dut.output.ready, 0)
            [(branch, last)] = marks
            output.append((vector, branch, last))
            cycles["output"].append(cycle)
        for _ in range(4):
            await ctx.tick()
        assert ctx.get(dut.idle)
        assert done == all_groups

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for bench in (commands, parameters, results, residual, observe):
        sim.add_testbench(bench, background=True)
    sim.add_testbench(main)
    sim.run()
    return output, probe, cycles


def check(config, passes, rng, wait):
    output, probe, _ = run(config, passes, rng, wait)
    assert output == [o for p in passes for o in p.output]
    for stage in Stage:
        assert probe[stage] == [v for p in passes for v in p.probe[stage]], stage


STAGES = [(rescale, adds, average)
          for rescale in (0, 1) for adds in (0, 1) for average in Average]


def passes_of(rng, stages, groups=None, strips=None):
    """One pass for each element of ``stages``."""
    passes, first_group = [], 0
    for n, stage in enumerate(stages):
        shape = groups or rng.choice(((1, 0), (0, 2), (2, 2), (1, 2), (2, 1)))
        pixels = strips or rng.choice(((3,), (5, 4), (1,), (2, 2, 1)))
        passes.append(random_pass(rng, first_group, n % 2, shape, pixels, stage))
        first_group += max(shape)
    return passes


@pytest.mark.parametrize("requantisers, wait", [
    (1, 0.3), (2, 0.0), (4, 0.4), (8, 0.0), (8, 0.4), (16, 0.0)])
def test_every_combination_of_stages(requantisers, wait):
    rng = random.Random(requantisers)
    stages = rng.sample(STAGES, len(STAGES))
    check(Config(requantisers=requantisers), passes_of(rng, stages), rng, wait)


@pytest.mark.parametrize("requantisers, wait", [(2, 0.3), (4, 0.0), (8, 0.0), (8, 0.4)])
def test_every_combination_of_stages_on_ecp5(requantisers, wait, plain_copies):
    rng = random.Random(23 + requantisers)
    passes = passes_of(rng, rng.sample(STAGES, len(STAGES)))
    check(Config(requantisers=requantisers, multiplier="mult18"), passes, rng, wait)


def test_narrow_accumulators():
    rng = random.Random(20)
    check(Config(acc_width=20), passes_of(rng, STAGES[:3]), rng, 0.2)


@pytest.mark.parametrize("average, groups, strips", [
    (Average.NONE, (1, 1), (2 * depth(Config()),)), (Average.SUMS, (6, 6), (1,))])
def test_slow_output_never_locks(average, groups, strips):
    # More vectors than the FIFOs hold, all stages, an output that takes one in about 12 cycles.
    rng = random.Random(21)
    passes = passes_of(rng, [(1, 1, average)], groups, strips)
    check(Config(), passes, rng, 0.92)


@pytest.mark.parametrize("requantisers, multiplier", [
    (4, "generic"), (8, "generic"), (16, "generic"), (4, "mult18"), (8, "mult18")])
@pytest.mark.parametrize("rescale, adds", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_throughput(requantisers, multiplier, rescale, adds, plain_copies):
    config = Config(requantisers=requantisers, multiplier=multiplier)
    rng = random.Random(22)
    pixels, stages = 48, 1 + rescale + adds
    passes = passes_of(rng, [(rescale, adds, Average.NONE)], (0, 1), (pixels,))
    _, _, cycles = run(config, passes, rng)
    first, last = cycles["CONV"][0], cycles["output"][-1]
    # The lanes are never idle but for the last vector's way back.
    busy = config.phases * (stages * pixels - 1) + 2
    late = multiplier == "mult18"
    assert busy <= last - first <= busy + (stages - 1) * (LATENCY + 2 + 2 * late)
    if stages == 1:
        assert last - first == busy


@pytest.mark.parametrize("requantisers", [4, 8, 16])
@pytest.mark.parametrize("average", [Average.SUMS, Average.QUANTISED])
def test_throughput_with_average(requantisers, average):
    rng = random.Random(26)
    passes = passes_of(rng, [(0, 0, average)], (0, 1), (20,))
    _, _, cycles = run(Config(requantisers=requantisers), passes, rng)
    start = cycles["CONV"][0]
    assert cycles["CONV"] == list(range(start, start + 80, 4))
    assert cycles["group_done"][0] - cycles["CONV"][-1] <= LATENCY + 25


@pytest.mark.parametrize("requantisers", [4, 8, 16])
def test_latency(requantisers):
    config = Config(requantisers=requantisers)
    rng = random.Random(23)
    passes = passes_of(rng, [(1, 1, Average.NONE)], (0, 1), (1,))
    _, _, cycles = run(config, passes, rng)
    turn = LATENCY + 2
    first = cycles["CONV"][0]
    assert cycles["RESCALE"] == [first + turn]
    assert cycles["ADD"] == cycles["group_done"] == [first + 2 * turn]
    assert cycles["output"] == [first + 2 * turn + 2]


def test_group_done_counts_groups():
    # Once a group, though both branches end; run() compares the count and the idle flag.
    rng = random.Random(24)
    passes = passes_of(rng, STAGES[:3], (2, 3), (4, 3))
    assert len(run(Config(), passes, rng)[2]["group_done"]) == 9


def test_empty_pass_ends():
    rng = random.Random(25)
    passes = passes_of(rng, STAGES[:1], (1, 1), (3,))
    passes[0:0] = [Pass({"groups_a": 0, "groups_b": 0}, passes[0].finish)] * 2
    check(Config(), passes, rng, 0.0)
