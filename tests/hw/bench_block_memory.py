"""cocotb bench of a block memory: random reads and writes against a list."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

LATENCY = 2


@cocotb.test()
async def random_access(dut):
    """Both ends of the memory and a few addresses in between, most of them again and again."""
    width, depth = int(os.environ["WIDTH"]), int(os.environ["DEPTH"])
    rng = random.Random(width)
    places = [0, 1, depth - 1, depth // 2, *rng.sample(range(depth), 12)]
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 0
    content, expected, compared = {}, [], 0
    for _ in range(3000):
        reading, written = rng.choice(places), rng.choice(places)
        writing, word = rng.random() < 0.5, rng.getrandbits(width)
        known = reading in content and not (writing and written == reading)
        dut.read_enable.value = 1
        dut.read_address.value = reading
        dut.write_enable.value = writing
        dut.write_address.value = written
        dut.write_data.value = word
        expected.append(content[reading] if known else None)
        if writing:
            content[written] = word
        await ReadOnly()
        if len(expected) > LATENCY and expected[-1 - LATENCY] is not None:
            assert int(dut.read_data.value) == expected[-1 - LATENCY]
            compared += 1
        await RisingEdge(dut.clk)
    assert compared > 2000
