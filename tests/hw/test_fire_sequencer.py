"""The Fire sequencer against its description, on Verilator."""

from hw.fire_sequencer import FireSequencer
from tests.cocotb_run import run_bench


def test_fire_sequencer(tmp_path):
    run_bench(FireSequencer(), "tests.hw.bench_fire_sequencer", tmp_path)
