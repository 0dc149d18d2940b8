"""The operand check: good operands pass, each rule alone is found, whatever comes before."""

import random
from copy import deepcopy

import pytest

from hw.config import Config
from hw.isa import HEADER_BITS, Average, Fire, Opcode
from hw.operand_check import OperandCheck
from tests.hw.programs import good, instruction
from tests.hw.streams import put, simulate, ticked

CONFIGS = Config(), Config(co_lanes=8, pixels=4, strip_steps=64, weight_vectors=512,
                           line_vectors=64, image_width=64)
COMPUTE = Opcode.CONV, Opcode.FIRE


def change(operand: dict, path: str, value) -> dict:
    """A copy of the operand with one field changed; the path has dots."""
    operand = deepcopy(operand)
    *parents, name = path.split(".")
    inner = operand
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[name] = value(inner.get(name, 0)) if callable(value) else value
    return operand


def changed(opcode, config, *changes):
    operand = good(opcode, config)
    for path, value in changes:
        operand = change(operand, path, value)
    return instruction(opcode, operand)


def subtractions(word) -> int:
    """How many a good CONV or FIRE takes."""
    fire = Fire.from_bits(word >> HEADER_BITS & (1 << Fire.as_shape().size) - 1)
    walk, pool = fire.main.walk, fire.main.pool
    walks = [walk, fire.squeeze.walk] if word & 255 == Opcode.FIRE.value else [walk]
    taps = (walk.kernel ** 2 if walk.groups_b else 0) + (walk.groups_a != 0)
    pooled = pool.rows + walk.groups_a + walk.groups_b if pool.enable else 0
    return (0 if walk.refetch else taps) + sum(1 + each.steps for each in walks) + pooled


def run(config, cases):
    """Check the instructions of (name, bits, (opcode fault, operand fault)) one after another."""
    dut = OperandCheck(config)

    async def bench(ctx):
        for name, word, expected in cases:
            put(ctx, dut.instruction, word)
            ctx.set(dut.start, 1)
            await ticked(ctx, dut.done)
            ctx.set(dut.start, 0)
            cycles, done = 0, False
            while not done:
                cycles += 1
                done, *answers = await ticked(
                    ctx, dut.done, dut.opcode_fault, dut.operand_fault)
            # An unknown opcode leaves the operand out of question.
            assert tuple(answers)[:1 if expected[0] else 2] == expected[:1 if expected[0] else 2], (
                name)
            compute = (word & 255) in [each.value for each in COMPUTE]
            assert cycles >= 15 if compute else cycles == 1, name
            if compute and expected == (0, 0):
                assert cycles == 15 + subtractions(word), name

    simulate(dut, bench, deadline=60_000)


@pytest.mark.parametrize("config", CONFIGS)
def test_opcodes(config):
    """Every opcode with a good operand passes; every other value is a fault."""
    known = {opcode.value for opcode in Opcode}
    cases = [(opcode, instruction(opcode, good(opcode, config)), (0, 0))
             for opcode in Opcode if opcode != Opcode.END]
    cases += [("end", instruction(Opcode.END), (0, 0))]
    cases += [(code, instruction(code), (1, 0)) for code in range(256) if code not in known]
    run(config, cases)


def zeros(prefix, *fields):
    return [[(f"{prefix}{field}", 0)] for field in fields]


def loops(prefix, config):
    """Broken rules of a walk and its source."""
    return [
        *zeros(f"{prefix}walk.", "planes", "kernel", "strips", "steps"),
        *zeros(f"{prefix}source.", "width", "height", "out_width", "pixels", "stride"),
        [(f"{prefix}walk.groups_a", 0), (f"{prefix}walk.groups_b", 0)],
        [(f"{prefix}walk.steps", lambda n: n + 1)],
        [(f"{prefix}walk.steps", lambda n: n - 1)],
        [(f"{prefix}walk.strips", lambda n: n + 1)],
        [(f"{prefix}walk.long_strips", 1)],
        [(f"{prefix}walk.strips", 1), (f"{prefix}walk.steps", config.strip_steps + 1),
         (f"{prefix}source.single", 1), (f"{prefix}source.pixels", config.strip_steps + 1)],
        [(f"{prefix}walk.strips", 2), (f"{prefix}walk.steps", config.strip_steps),
         (f"{prefix}walk.long_strips", 1), (f"{prefix}source.single", 1),
         (f"{prefix}source.pixels", 2 * config.strip_steps + 1)],
        [(f"{prefix}walk.strips", 1), (f"{prefix}walk.long_strips", 2),
         (f"{prefix}walk.steps", 3), (f"{prefix}source.single", 1),
         (f"{prefix}source.pixels", 5)],
        [(f"{prefix}source.pixels", lambda n: n + 1)],
        [(f"{prefix}source.pixels", lambda n: n - config.pixels)],
        [(f"{prefix}source.single", lambda n: 1 if config.pixels > 1 else 0),
         (f"{prefix}source.pixels", lambda n: n if config.pixels > 1 else n + 7)],
    ]


def broken(opcode, config):
    if opcode == Opcode.WEIGHTS:
        return zeros("", "count")
    if opcode == Opcode.LOAD:
        return zeros("", "count", "planes")
    if opcode == Opcode.GATHER:
        return [
            *zeros("", "row_vectors", "width", "height", "out_width", "rows", "kernel", "stride"),
            [("width", 33)],
            [("width", config.image_width + 1), ("row_vectors", 255)],
            [("row_vectors", config.image_width // 4 + 1)],
        ]
    room = config.weight_vectors // 16
    cases = [
        *loops("main.", config),
        [("main.walk.planes", -(-room // 10))],
        [("main.walk.kernel", 15)],
        [("main.finish.average", 3)],
        [("main.finish.average", Average.SUMS)],
        [("main.pool.stride", 0), ("main.pool.kernel", 1)],
        *zeros("main.pool.", "width", "out_width", "rows", "kernel"),
        [("main.pool.kernel", 1)],
        [("main.pool.kernel", 4)],
        [("main.pool.pad_left", 3)],
        [("main.pool.phase", 3)],
        [("main.pool.rows", 11)],
        [("main.pool.width", 13)],
        [("main.pool.out_width", config.line_vectors // 5 + 1)],
        [("main.target.address_a", 1 << 16)],
        [("main.target.address_b", 1 << 27)],
    ]
    if opcode == Opcode.FIRE:
        cases += [
            *loops("squeeze.", config),
            [("squeeze.walk.groups_a", 1)],
            [("squeeze.walk.kernel", 3)],
            *([[("squeeze.walk.planes", room)]] if room < 256 else []),
        ]
    return cases


def limits(opcode, config):
    """Changes that go to the limit of a rule or switch it off."""
    room = config.weight_vectors // 16
    if opcode in (Opcode.WEIGHTS, Opcode.LOAD):
        return [[("count", 1)]]
    if opcode == Opcode.GATHER:
        return [[("width", 32)], [("kernel", 7)],
                [("width", config.image_width), ("row_vectors", config.image_width // 4)]]
    cases = [
        [("main.walk.planes", (room - 1) // 10)],
        [("main.walk.planes", 255), ("main.walk.refetch", 1)],
        [("main.walk.planes", (room - 1) // 9), ("main.walk.groups_a", 0)],
        [("main.walk.planes", room - 1), ("main.walk.groups_b", 0)],
        [("main.walk.strips", 2), ("main.walk.steps", config.strip_steps - 1),
         ("main.walk.long_strips", 2), ("main.source.single", 1), ("main.pool.enable", 0),
         ("main.source.pixels", 2 * config.strip_steps)],
        [("main.pool", {"enable": 0})],
        [("main.pool", {"kernel": 7}), ("main.finish.average", Average.QUANTISED)],
        [("main.pool.kernel", 2)],
        [("main.pool.out_width", config.line_vectors // 5)],
        [("main.target.address_a", 0xFFFF)],
        [("main.target.address_a", 1 << 27), ("main.walk.groups_a", 0)],
        [("main.target.address_a", 1 << 27), ("main.target.to_act", 0)],
        [("main.source.pixels", 120 - config.pixels + 1), ("main.pool.enable", 0)],
    ]
    if opcode == Opcode.FIRE:
        cases += [[("squeeze.walk.planes", min(room - 1, 255))],
                  [("squeeze.walk.planes", 255), ("squeeze.walk.refetch", 1)]]
    return cases


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("opcode", [op for op in Opcode if op != Opcode.END])
def test_rules(opcode, config):
    """Each broken rule is found, each limit is accepted, in random order (nothing lingers)."""
    cases = [(each, changed(opcode, config, *each), (0, 1)) for each in broken(opcode, config)]
    cases += [(each, changed(opcode, config, *each), (0, 0)) for each in limits(opcode, config)]
    cases += [("good", changed(opcode, config), (0, 0))] * (len(cases) // 2)
    random.Random(1).shuffle(cases)
    run(config, cases)
