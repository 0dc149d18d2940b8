"""The Verilated core: registers, results, errors by name, recovery."""

import dataclasses

import numpy as np
import pytest

from hw import csr
from hw.config import Config
from hw.isa import Error, Opcode
from sim.check import check_run
from sim.golden import graph as golden
from sim.harness import Memory
from sim.simulator import CoreError, CoreSimulator, build_core
from sw.assembler import assemble
from sw.compiler import compile_graph
from sw.errors import UserError
from sw.importer import import_proto
from tests.models import small_squeezenet

CONFIG = Config()


@pytest.fixture(scope="module")
def library():
    return build_core(CONFIG)


@pytest.fixture(scope="module")
def graph():
    return import_proto(small_squeezenet(2).model("scores"))


@pytest.fixture(scope="module")
def program(graph):
    return compile_graph(graph, CONFIG)


@pytest.fixture
def simulator(library):
    with CoreSimulator(CONFIG, library=library) as simulator:
        yield simulator


def image(graph, seed=0):
    tensor = graph.tensors[graph.input_node.output]
    return np.random.default_rng(seed).integers(0, 256, tensor.shape).astype(np.uint8).view(
        tensor.quant.dtype)


def with_code(program, *instructions):
    return dataclasses.replace(program, code=b"".join(instructions))


def test_identity(simulator, program):
    simulator.load(program)
    assert simulator.read_register("ID") == csr.ID
    assert simulator.read_register("CONFIG") == CONFIG.digest
    assert simulator.read_register("SHAPE") >> 16 == CONFIG.lanes


def test_a_program_for_another_configuration_is_refused(simulator, graph):
    other = compile_graph(graph, dataclasses.replace(CONFIG, act_vectors=4096))
    with pytest.raises(UserError, match=f"{other.digest:08x}, the core is {CONFIG.digest:08x}"):
        simulator.load(other)


@pytest.mark.parametrize("memory", [
    Memory(), Memory(latency=1, width=32), Memory(latency=150, width=3, stalls=40, seed=7)])
def test_every_value_under_any_memory(library, graph, program, memory):
    with CoreSimulator(CONFIG, library=library, memory=memory) as simulator:
        simulator.load(program)
        for seed in range(2):
            integers = image(graph, seed)
            run = simulator.infer(integers)
            check = check_run(program, golden.run(graph, integers), run.results, run.outputs)
            assert check.mismatches == 0, check.first
            assert check.checked > 5000 and not check.unknown


def test_counters_agree_with_the_probe(simulator, graph, program):
    simulator.load(program)
    run = simulator.infer(image(graph))
    states = run.states.sum(axis=0)
    assert run.cycles == run.counters["CYCLES"] == states.sum()
    for state in csr.ARRAY_COUNTERS:
        assert states[state.value] == run.counters[state.name]
    assert simulator.infer(image(graph)).cycles == run.cycles


def test_errors_are_named(simulator, graph, program):
    end = assemble(Opcode.END)
    beyond = assemble(Opcode.LOAD, {}, {"address": program.memory_vectors - 2, "count": 16,
                                        "planes": 1})
    for code, error, index, words in (
            ((bytes([77]) + bytes(127), end), Error.OPCODE, 0, "OPCODE at instruction 0"),
            ((beyond, end), Error.WINDOW, 0, "WINDOW at instruction 0 \\(LOAD of layer"),
            ((assemble(Opcode.LOAD, {"writes": 1}, {"count": 1, "planes": 1}), end),
             Error.TIMEOUT, None, "TIMEOUT")):
        simulator.load(with_code(program, *code))
        with pytest.raises(CoreError, match=words) as caught:
            simulator.infer(image(graph))
        assert caught.value.error == error
        assert index is None or caught.value.instruction == index


def test_bus_errors_and_recovery(simulator, graph, program):
    integers = image(graph)
    simulator.load(program)
    first = simulator.infer(integers)
    base = simulator.read_register("WINDOW_BASE")
    for address, error in ((program.constants_address, Error.READ),
                           (program.outputs[0].address, Error.WRITE)):
        byte = base + 16 * address
        simulator.harness.inject_errors(byte, byte)
        with pytest.raises(CoreError) as caught:
            simulator.infer(integers)
        assert caught.value.error == error
        simulator.harness.inject_errors(1, 0)
        simulator.soft_reset()
        assert simulator.read_register("STATUS") == 0
        again = simulator.infer(integers)
        assert again.cycles == first.cycles
        np.testing.assert_array_equal(again.results, first.results)


def test_a_wrong_image_is_refused(simulator, graph, program):
    simulator.load(program)
    with pytest.raises(UserError, match="given"):
        simulator.infer(np.zeros((3, 4, 4), np.uint8))
