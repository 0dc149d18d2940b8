"""The ternary adder: every combination of few bits, and as primitives of a 7-series part."""

import pytest
from amaranth.sim import Simulator

from hw.ternary_adder import CARRIES, TernaryAdder
from tests.cocotb_run import run_bench
from tests.netlist import XILINX


@pytest.mark.parametrize("negative", range(CARRIES + 1))
def test_all_sums(negative):
    """All operands of three bits with all carries."""
    width = 3
    dut = TernaryAdder(width, negative)
    values = range(-(1 << width - 1), 1 << width - 1)

    async def bench(ctx):
        for a in values:
            for b in values:
                for c in values:
                    for carries in range(1 << CARRIES - negative):
                        ctx.set(dut.operands, [a, b, c])
                        ctx.set(dut.carries, carries)
                        total = (a + (-b if negative == 2 else b) + (-c if negative else c)
                                 + carries.bit_count())
                        assert (ctx.get(dut.total) - total) % (1 << width) == 0

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("width, negative", [(3, 1), (9, 2), (20, 0)])
def test_primitives(width, negative, tmp_path):
    run_bench(TernaryAdder(width, negative), "tests.hw.bench_ternary_adder", tmp_path,
              {"width": width, "negative": negative}, synthesised=XILINX)


def test_too_many_negative_operands():
    with pytest.raises(ValueError, match="3 operands to subtract, supported: 0 to 2"):
        TernaryAdder(8, 3)
