"""DSP slices as plain hardware and as primitives: the same bench."""

import pytest

from hw.dsp48 import MultiplyAdd
from tests.cocotb_run import run_bench
from tests.netlist import XILINX


@pytest.mark.parametrize("synthesised", [None, XILINX], ids=["plain", "primitive"])
@pytest.mark.parametrize("chained, delay, registered", [
    (False, 1, False), (True, 2, True)], ids=["first", "last"])
def test_multiply_add(chained, delay, registered, synthesised, tmp_path):
    run_bench(MultiplyAdd(chained, delay, registered), "tests.hw.bench_multiply_add", tmp_path,
              {"chained": int(chained), "delay": delay, "registered": int(registered)},
              synthesised=synthesised)


def test_registers():
    with pytest.raises(ValueError, match="3 registers of b, supported: 1 or 2"):
        MultiplyAdd(chained=False, delay=3, registered=True)
