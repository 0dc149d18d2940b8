"""cocotb bench of a ternary adder: sums of random and extreme operands."""

import os
import random

import cocotb
from cocotb.triggers import Timer

from hw.ternary_adder import CARRIES


@cocotb.test()
async def sums(dut):
    """5,000 sums; long carries among them."""
    width, negative = (int(os.environ[name]) for name in ("WIDTH", "NEGATIVE"))
    rng = random.Random(7)
    full = (1 << width) - 1
    for _ in range(5_000):
        a, b, c = (rng.choice((0, 1, full, full >> 1, rng.getrandbits(width))) for _ in range(3))
        carries = rng.getrandbits(CARRIES - negative) if negative < CARRIES else 0
        dut.operands.value = a | b << width | c << 2 * width
        if negative < CARRIES:
            dut.carries.value = carries
        await Timer(1, "ns")
        total = a + (-b if negative == 2 else b) + (-c if negative else c) + carries.bit_count()
        assert int(dut.total.value) == total & full
