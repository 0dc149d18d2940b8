"""cocotb bench of a multiplier block: streaming activations, loads and swaps, against sums."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hw.multiplier import TERM

LANES = 8


def packed(values, bits):
    return sum((value & (1 << bits) - 1) << bits * i for i, value in enumerate(values))


@cocotb.test()
async def streaming(dut):
    """20,000 activations, new weights every few dozen cycles, extremes among them."""
    channels, load_cycles, latency = (
        int(os.environ[name]) for name in ("CHANNELS", "LOAD_CYCLES", "LATENCY"))
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    rng = random.Random(5)
    extremes = (-128, 127, 0, -1)
    shadow, active, expected = None, None, []
    age = 0
    dut.rst.value = 0
    compared = 0
    for _ in range(20_000):
        load = shadow is None and rng.random() < 0.3
        swap = shadow is not None and age >= load_cycles and rng.random() < 0.1
        xs = [rng.choice((0, 255, rng.randrange(256))) for _ in range(channels)]
        dut.x.value = packed(xs, 8)
        dut.swap.value = swap
        dut.load.value = (1 << channels) - 1 if load else 0
        if swap:
            active, shadow = shadow, None
        if load:
            shadow = [[rng.choice((*extremes, rng.randint(-128, 127))) for _ in range(LANES)]
                      for _ in range(channels)]
            age = 0
            dut.weights.value = packed([packed(row, 8) for row in shadow], 8 * LANES)
        age += 1
        expected.append(active and [
            sum(w[lane] * x for w, x in zip(active, xs, strict=True)) for lane in range(LANES)])
        await ReadOnly()
        if len(expected) > latency and expected[-1 - latency] is not None:
            terms, carries = int(dut.terms.value), int(dut.carries.value)
            found = [((terms >> TERM.width * i) + (1 << TERM.width - 1)) % (1 << TERM.width)
                     - (1 << TERM.width - 1) + (carries >> i & 1) for i in range(LANES)]
            assert found == expected[-1 - latency]
            compared += 1
        await RisingEdge(dut.clk)
    assert compared > 19_000
