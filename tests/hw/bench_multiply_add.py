"""cocotb bench of a DSP slice that multiplies and adds."""

import os
import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

BITS = {"a": 25, "b": 18, "addend": 48, "cascade_in": 48}


@cocotb.test()
async def products(dut):
    """5,000 cycles, loads and swaps at any time, extremes among all operands."""
    chained, delay, registered = (
        int(os.environ[name]) for name in ("CHAINED", "DELAY", "REGISTERED"))
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    rng = random.Random(2)
    held, active, addend, product, total = 0, 0, 0, 0, 0
    pipe = deque([0] * delay, maxlen=delay)
    dut.rst.value = 0
    for cycle in range(5_000):
        values = {}
        for name, bits in BITS.items():
            low, high = -(1 << bits - 1), (1 << bits - 1) - 1
            values[name] = rng.choice((low, high, 0, -1, rng.randint(low, high)))
            getattr(dut, name).value = values[name] & (1 << bits) - 1
        load, swap = cycle == 0 or rng.random() < 0.3, cycle == 1 or rng.random() < 0.3
        dut.load.value, dut.swap.value = load, swap
        await ReadOnly()
        direct = product + (values["cascade_in"] if chained else addend)
        if cycle > 6:
            expected = (total if registered else direct) & (1 << 48) - 1
            assert int(dut.total.value) == expected
            assert int(dut.cascade_out.value) == expected
        total, product = direct, active * pipe[0]
        active = held if swap else active
        held = values["a"] if load else held
        addend = values["addend"]
        pipe.append(values["b"])
        await RisingEdge(dut.clk)
