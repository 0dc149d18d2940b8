"""The engine after synthesis for both vendors' parts, in its own bench: equal to the RTL."""

import pytest

from hw.config import Config
from hw.engine import Engine
from tests.cocotb_run import run_bench
from tests.netlist import ECP5, XILINX

LAYERS = "1,3,5,6"
"""1x1, both branches of a FIRE, 3x3 with a stride of 2, 5x5 with stride and padding."""


@pytest.mark.parametrize("vendor, multiplier", [
    pytest.param(XILINX, "dsp48-packed", id="xilinx"), pytest.param(ECP5, "mult18", id="ecp5")])
def test_engine(vendor, multiplier, tmp_path):
    """Every result of four layers in the same cycle with the same bits, with stalls on both sides.

    DSPs of four and one input channels, tables of two and one; multipliers of two and one, adders
    of two and one.
    """
    config = Config(co_lanes=8, multiplier=multiplier, table_rows=3, requantisers=4)
    traces = []
    for name, synthesised in (("rtl", None), ("netlist", vendor)):
        folder = tmp_path / name
        trace = folder / "trace"
        run_bench(Engine(config), "tests.hw.bench_engine", folder, {
            "co_lanes": config.co_lanes, "pixels": config.pixels, "table_rows": config.table_rows,
            "multiplier": multiplier, "layers": LAYERS, "ready": 60, "trace": trace,
            "cocotb_test_filter": "results_with_random_stalls",
        }, synthesised=synthesised, models=vendor.cells, optimise="-O0")
        traces.append(trace.read_text().splitlines())
    rtl, netlist = traces
    assert len(rtl) > 100
    assert netlist == rtl
