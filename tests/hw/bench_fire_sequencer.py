"""cocotb bench of the Fire sequencer: random commands of random bits, random stalls."""

import random

import cocotb
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hw.dispatch import ComputeOperand
from hw.fire_sequencer import PassCommand
from hw.interfaces import command
from hw.isa import Fire
from sw.assembler import decode, encode

COMMANDS = 300
DEADLINE = 5000


def size(layout) -> int:
    return data.Layout.cast(layout).size


def random_command(rng) -> dict:
    """Index, layer and operand with every bit random, FIRE or CONV."""
    return {"index": rng.getrandbits(16), "layer": rng.getrandbits(16),
            "operand": {"is_fire": rng.getrandbits(1),
                        "fire": decode(Fire, rng.getrandbits(size(Fire)))}}


def passes_of(given: dict) -> list[dict]:
    """What a command should become. Fields of stages that are off are left out."""
    fire, common = given["operand"]["fire"], {k: given[k] for k in ("index", "layer")}
    main = {**common, "work": fire["main"]}
    if not given["operand"]["is_fire"]:
        return [{**main, "chained": 0}]
    squeeze = fire["squeeze"]
    first = {
        "walk": squeeze["walk"],
        "source": squeeze["source"],
        "finish": {"zero_b": squeeze["zero"], "low_b": squeeze["low"],
                   "rescale": 0, "add": 0, "average": 0},
        "pool": {"enable": 0},
        "target": {"to_act": 1, "address_b": squeeze["target"], "plane": squeeze["plane"]},
    }
    return [{**common, "work": first, "chained": 0}, {**main, "chained": 1}]


def fields(found: dict, like: dict) -> dict:
    """The fields of a pass that ``like`` names."""
    return {name: fields(found[name], value) if isinstance(value, dict) else found[name]
            for name, value in like.items()}


async def run(dut, commands, rng, valid_percent, ready_percent):
    """Passes taken, in order, and the cycles from the first to the last."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.command__valid.value = dut.passes__ready.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    pending = [encode(command(ComputeOperand), each) for each in commands]
    expected = sum(len(passes_of(each)) for each in commands)
    passes, cycles, offered, waiting = [], [], False, None
    for cycle in range(DEADLINE):
        offered = bool(pending) and (offered or rng.randrange(100) < valid_percent)
        dut.command__valid.value = int(offered)
        # Without a command the payload is noise.
        dut.command__payload.value = (
            pending[0] if offered else rng.getrandbits(size(command(ComputeOperand))))
        dut.passes__ready.value = int(rng.randrange(100) < ready_percent)
        await ReadOnly()
        payload = int(dut.passes__payload.value) if dut.passes__valid.value else None
        assert waiting is None or payload == waiting, "a pass changed before it was taken"
        waiting = payload if not dut.passes__ready.value else None
        if payload is not None and dut.passes__ready.value:
            passes.append(payload)
            cycles.append(cycle)
        if offered and dut.command__ready.value:
            pending.pop(0)
            offered = False
        await RisingEdge(dut.clk)
        if len(passes) >= expected and not pending:
            break
    await ReadOnly()
    return passes, cycles[-1] - cycles[0] + 1


async def check(dut, seed, valid_percent, ready_percent):
    rng = random.Random(seed)
    commands = [random_command(rng) for _ in range(COMMANDS)]
    expected = [each for given in commands for each in passes_of(given)]
    passes, cycles = await run(dut, commands, rng, valid_percent, ready_percent)
    assert len(passes) == len(expected)
    for found, wanted in zip(passes, expected, strict=True):
        assert fields(decode(PassCommand, found), wanted) == wanted
    return len(expected), cycles


@cocotb.test()
async def passes_in_order(dut):
    await check(dut, 1, 60, 50)


@cocotb.test()
async def a_pass_a_cycle(dut):
    passes, cycles = await check(dut, 2, 100, 100)
    assert cycles == passes
