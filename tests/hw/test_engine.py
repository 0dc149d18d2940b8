"""The convolution engine against NumPy, on Verilator: results, order and exact cycles."""

import pytest

from hw.config import Config
from hw.engine import Engine
from tests.cocotb_run import run_bench

CONFIGS = {
    "256": Config(),
    "256_packed_tables": Config(multiplier="dsp48-packed", table_rows=7),
    "512": Config(pixels=2),
    "128": Config(co_lanes=8, requantisers=4),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_engine(name, tmp_path):
    config = CONFIGS[name]
    run_bench(Engine(config), "tests.hw.bench_engine", tmp_path, {
        "co_lanes": config.co_lanes, "pixels": config.pixels, "table_rows": config.table_rows})
