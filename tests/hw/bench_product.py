"""cocotb bench of a multiplier with the register of its output: a product every cycle."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge


@cocotb.test()
async def products(dut):
    """2,000 products of random and extreme operands, each a cycle later."""
    shapes = [tuple(int(os.environ[f"{name}_{what}"]) for what in ("WIDTH", "SIGNED"))
              for name in "AB"]
    rng = random.Random(3)
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    expected = None
    for _ in range(2_000):
        bits = [rng.choice((0, (1 << width) - 1, 1 << width - 1, rng.getrandbits(width)))
                for width, _ in shapes]
        dut.a.value, dut.b.value = bits
        await ReadOnly()
        if expected is not None:
            assert int(dut.product.value) == expected
        a, b = (value - (1 << width if signed and value >> width - 1 else 0)
                for value, (width, signed) in zip(bits, shapes, strict=True))
        expected = a * b & (1 << len(dut.product)) - 1
        await RisingEdge(dut.clk)
