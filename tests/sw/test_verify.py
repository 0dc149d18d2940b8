import dataclasses

import numpy as np
import pytest

from sw.errors import UserError
from sw.graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    HostOp,
    Input,
    MaxPool,
    Quant,
)
from sw.importer import import_proto
from sw.verify import RULES, verify
from tests.forms import FormBuilder
from tests.models import ModelBuilder


@pytest.fixture
def graph():
    """One node of each kind; its Conv is also read by the Add directly."""
    builder = ModelBuilder(seed=6)
    conv = builder.conv(builder.input(), 16, relu=True, quant=builder.low())
    pool = builder.max_pool(conv, pads=(1, 1, 1, 1))
    total = builder.add(pool, builder.fire(pool, 16, 8))
    builder.node("AveragePool", [total], "mean", kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    builder.channels["mean"] = 16
    mean = builder.quantized("mean", builder.quant())
    builder.node("Softmax", [builder.average(mean)], "scores", axis=1)
    return import_proto(builder.model("scores"))


def change(graph, kind, /, **values):
    """Replace fields of the first node of a kind."""
    index = next(i for i, node in enumerate(graph.nodes) if isinstance(node, kind))
    graph.nodes[index] = dataclasses.replace(graph.nodes[index], **values)


def retype(graph, kind, **values):
    """Replace fields of the output tensor of the first node of a kind."""
    node = next(node for node in graph.nodes if isinstance(node, kind))
    graph.tensors[node.output] = dataclasses.replace(graph.tensors[node.output], **values)


def quant(scale, zero_point=0):
    return Quant(np.float32(scale) if not isinstance(scale, float) else scale, zero_point, False)


def test_every_kind_is_in_the_table(graph):
    verify(graph)
    assert {type(node) for node in graph.nodes} == set(RULES)


ILLEGAL = {
    "double scale": (lambda g: retype(g, Conv, quant=quant(0.5)), "Conv .*quantized maps"),
    "zero scale": (lambda g: retype(g, Input, quant=quant(0)), "Input 'image': the input is a qua"),
    "zero point": (lambda g: retype(g, Input, quant=quant(1, 256)), "Input 'image'"),
    "float map": (lambda g: retype(g, Conv, quant=None), "quantized maps"),
    "flat input": (lambda g: retype(g, Input, shape=(3, 144)), "Input 'image'"),
    "strides": (lambda g: change(g, Conv, strides=(2, 1)), "window gives the size"),
    "pads": (lambda g: change(g, Conv, pads=(1, 0, 0, 0)), "window gives the size"),
    "weights": (lambda g: change(g, Conv, weights=np.zeros((16, 4, 3, 3), np.int8)),
                "its channels"),
    "weight type": (
        lambda g: change(g, Conv, weights=g.nodes[1].weights.astype(np.int16)), "weights are int8"),
    "weight scale": (
        lambda g: change(g, Conv, weight_scale=-g.nodes[1].weight_scale), "float32 scale"),
    "weight scales": (
        lambda g: change(g, Conv, weight_scale=g.nodes[1].weight_scale[:1]), "float32 scale"),
    "bias": (lambda g: change(g, Conv, bias=np.zeros(16)), "int32 bias"),
    "sums": (lambda g: change(g, Conv, bias=np.full(16, -2**31, np.int32)), "fits int32"),
    "multiplier": (
        lambda g: change(g, Conv, weight_scale=np.full(16, 1e-45, np.float32)), "multipliers"),
    "pool scale": (lambda g: retype(g, MaxPool, quant=quant(1)), "same quantization"),
    "pool pads": (
        lambda g: change(g, MaxPool, pads=(3, 3, 3, 3)), "padding is smaller than the kernel"),
    "pool kernel": (lambda g: change(g, MaxPool, kernel=(2, 3)), "window gives the size"),
    "limit": (lambda g: change(g, Conv, clip=255), "upper limit lies inside"),
    "limit below the Relu": (lambda g: change(g, Conv, clip=-1), "upper limit lies inside"),
    "average pads": (
        lambda g: change(g, AveragePool, pads=(2, 0, 0, 0)), "padding is smaller than the kernel"),
    "average type": (
        lambda g: retype(g, AveragePool, quant=Quant(np.float32(1), 0, True)), "type of integers"),
    "concat": (
        lambda g: change(g, Concat, inputs=g.nodes[4].inputs * 2), "channels of its inputs add up"),
    "add of one": (lambda g: change(g, Add, inputs=g.nodes[1].inputs), "two inputs"),
    "add of other shapes": (
        lambda g: change(g, Add, inputs=(g.nodes[1].output, g.nodes[2].output)),
        "all shapes are equal"),
    "average": (lambda g: retype(g, GlobalAveragePool, shape=(16,)), "one value per channel"),
    "host kind": (lambda g: change(g, HostOp, kind="Sort"), "its kind is one of"),
    "host type": (lambda g: change(g, HostOp, kind="Quantize"), "from float to integers"),
    "host shape": (lambda g: change(g, HostOp, attributes={"shape": (7,)}), "as many values"),
    "softmax": (
        lambda g: g.nodes.__setitem__(-1, dataclasses.replace(
            g.nodes[-1], attributes={"shape": (1, 16, 1, 1)})), "Softmax has axes"),
    "order": (lambda g: g.nodes.insert(1, g.nodes.pop(2)), "not computed before it"),
    "second input": (lambda g: g.nodes.insert(3, g.nodes[0]), "defined twice"),
    "no input": (lambda g: g.nodes.pop(0), "not computed before it"),
    "tensor without producer": (lambda g: g.nodes.pop(), "no node computes this tensor"),
    "missing tensor": (lambda g: g.tensors.pop(g.nodes[1].output), "not among the tensors"),
    "output": (lambda g: setattr(g, "outputs", ("nothing",)), "output 'nothing'"),
    "no outputs": (lambda g: setattr(g, "outputs", ()), "no outputs"),
    "host tensor on the accelerator": (
        lambda g: g.nodes.append(Add("late", (g.nodes[-1].output,) * 2, "late", False)),
        "not among the tensors"),
}


@pytest.mark.parametrize("case", ILLEGAL)
def test_illegal(graph, case):
    damage, pattern = ILLEGAL[case]
    damage(graph)
    with pytest.raises(UserError, match=pattern):
        verify(graph)


def test_reading_the_host_tail(graph):
    late = graph.tensors[graph.nodes[1].output]
    graph.tensors["late"] = dataclasses.replace(late, name="late")
    graph.nodes.append(MaxPool("late", (graph.nodes[-1].output,), "late", (1, 1), (1, 1),
                               (0, 0, 0, 0), False))
    with pytest.raises(UserError, match="MaxPool 'late': it reads a tensor of the host tail"):
        verify(graph)


def test_the_message_prints_the_node(graph):
    change(graph, MaxPool, strides=(1, 2))
    with pytest.raises(UserError) as info:
        verify(graph)
    assert "MaxPool 'pool2_MaxPool'" in str(info.value) and "strides=(1,2)" in str(info.value)
    assert "from conv1_relu_q 16x10x10" in str(info.value)


def test_an_empty_graph():
    with pytest.raises(UserError, match="no nodes"):
        verify(Graph([], {}, "image", ()))


@pytest.mark.parametrize("name, value", [
    ("weights", np.zeros((5, 31), np.int8)), ("weights", np.zeros((4, 32), np.int8)),
    ("bias", np.zeros(4, np.int32)), ("scale", None)])
def test_gemm_of_the_host(name, value):
    builder = FormBuilder("qdq", (8, 2, 2))
    builder.gemm(builder.flatten(builder.input()), 32, 5)
    del builder.nodes[-2:]
    graph = import_proto(builder.model("gemm2"))
    verify(graph)
    graph.nodes[-1].attributes[name] = value
    with pytest.raises(UserError, match="Gemm 'gemm2_Gemm': it has one input"):
        verify(graph)
