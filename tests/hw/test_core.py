"""The whole core with a compiled network against the golden model, and its errors, on Verilator."""

import dataclasses

from hw.config import Config
from hw.core import Core
from tests.cocotb_run import run_bench
from tests.netlist import ECP5

from .axi_ids import WithIds

CONFIG = Config(co_lanes=8, requantisers=4, act_vectors=256, weight_vectors=512, line_vectors=64,
                image_width=32)


def test_core(tmp_path):
    run_bench(WithIds(Core(CONFIG)), "tests.hw.bench_core", tmp_path)


def test_core_on_ecp5(tmp_path):
    """With the primitives and the registers on long ways: the same results, errors and resets."""
    config = dataclasses.replace(CONFIG, multiplier="mult18", table_rows=12)
    run_bench(WithIds(Core(config)), "tests.hw.bench_core", tmp_path, models=ECP5.cells)
