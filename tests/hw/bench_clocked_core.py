"""cocotb bench of the core with a clock of its own: the same network at several ratios."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from .bench_core import CONFIG, Bench

PERIODS = 7.3, 18.1, 10.0
"""Of the core's clock in ns; the memory's is 10."""


@cocotb.test()
async def network_equals_golden_model(dut):
    """A core that is faster than the memory, one that is slower, and one of the same frequency; the
    memory stalls at random from the second run on."""
    clock = Clock(dut.core_clk, PERIODS[0], "ns")
    clock.start()
    dut.rst.value = dut.core_rst.value = 1
    for core_reset in (1, 0):
        dut.core_rst.value = core_reset
        for _ in range(8):
            await RisingEdge(dut.core_clk)
    bench = await Bench(dut, 1).start()
    assert await bench.read("CONFIG") == CONFIG.digest
    for run, period in enumerate(PERIODS):
        clock.stop()
        clock = Clock(dut.core_clk, period, "ns")
        clock.start()
        await bench.good_run(run % 2)
        bench.ram.pause(bench.rng, 30)
