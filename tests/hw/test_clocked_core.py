"""The core with a clock of its own: a compiled network against the golden model, on Verilator."""

from hw.clocked_core import ClockedCore
from tests.cocotb_run import run_bench

from .axi_ids import WithIds
from .test_core import CONFIG


def test_clocked_core(tmp_path):
    run_bench(WithIds(ClockedCore(CONFIG)), "tests.hw.bench_clocked_core", tmp_path)
