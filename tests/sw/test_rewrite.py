"""Every rewrite keeps each result, bit for bit, and leaves a legal graph that compiles; the golden
machine gives the outputs of the golden graph."""

import numpy as np
import pytest

from hw.config import Config
from sim.golden import graph as golden
from sim.golden.machine import run_program
from sw.compiler import compile_graph
from sw.errors import UserError
from sw.graph import Concat, Conv, Quant, Tensor
from sw.lower import lower
from sw.rewrite import rewrite
from sw.verify import verify
from tests.graphs import GraphBuilder, random_graph

CONFIG = Config(acc_width=25)
CONFIGS = (CONFIG, Config(co_lanes=8, requantisers=4, act_vectors=1024, weight_vectors=512),
           Config(pixels=2, requantisers=16, act_vectors=2048), Config(pixels=4, act_vectors=4096))


def check(builder, *outputs, config=CONFIG, graph=None):
    """The rewritten graph."""
    graph = graph or builder.graph(*outputs)
    verify(graph)
    rewritten = rewrite(graph, config)
    verify(rewritten)
    assert rewritten.outputs == graph.outputs
    image = builder.image()
    wanted, found = golden.run(graph, image), golden.run(rewritten, image)
    for name in wanted.keys() & found.keys():
        np.testing.assert_array_equal(found[name], wanted[name], name)
    result = run_program(compile_graph(graph, config), image)
    for name in graph.outputs:
        np.testing.assert_array_equal(result.outputs[name], wanted[name], name)
    return rewritten


def convolutions(graph):
    return sum(isinstance(node, Conv) for node in graph.nodes)


@pytest.mark.parametrize("seed", range(1000, 1060))
def test_random_graph(seed):
    builder, graph = random_graph(seed)
    check(builder, config=CONFIGS[seed % 4], graph=graph)


SIZES = [((3, 3), (1, 1), (0, 0, 0, 0), False), ((5, 5), (3, 3), (2, 2, 2, 2), False),
         ((7, 7), (4, 4), (6, 1, 2, 3), True), ((2, 3), (1, 1), (0, 0, 0, 0), False),
         ((7, 1), (2, 3), (3, 0, 3, 0), False), ((1, 5), (1, 4), (0, 2, 0, 2), True),
         ((1, 1), (2, 2), (0, 0, 0, 0), False), ((2, 2), (3, 3), (1, 1, 1, 1), False),
         ((2, 2), (1, 1), (1, 1, 0, 0), False), ((3, 3), (2, 2), (2, 2, 2, 2), True)]


@pytest.mark.parametrize("signed", (False, True))
@pytest.mark.parametrize(("kernel", "strides", "pads", "ceil_mode"), SIZES)
def test_max_pools(kernel, strides, pads, ceil_mode, signed):
    builder = GraphBuilder((5, 13, 12), 1, signed)
    check(builder, builder.max_pool("image", kernel, strides, pads, ceil_mode))


def test_pool_of_more_channels_than_the_line_buffer_holds():
    builder = GraphBuilder((70, 4, 40), 1)
    graph = check(builder, builder.max_pool(builder.conv("image", 70, 1), 2, (2, 2)),
                  config=Config(line_vectors=64))
    assert sum(type(node).__name__ == "MaxPool" for node in graph.nodes) == 2
    wide = GraphBuilder((3, 4, 200), 1)
    with pytest.raises(UserError, match="MaxPool 'pool1': 100 columns of results; .* holds 64"):
        rewrite(wide.graph(wide.max_pool("image", 2, (2, 2))), Config(line_vectors=64))


def averaged(scale, kernel=(3, 3), strides=(1, 1), pads=(0, 0, 0, 0), ceil_mode=False,
             include=False, ratio=1.0, seed=1, signed=False):
    builder = GraphBuilder((3, 9, 8), seed, signed)
    builder.tensors["image"] = Tensor("image", (3, 9, 8), builder.quant(scale))
    quant = builder.quant(np.float32(scale) * np.float32(ratio))
    return builder, builder.average_pool("image", kernel, strides, pads, ceil_mode, include, quant)


@pytest.mark.parametrize("signed", (False, True))
@pytest.mark.parametrize(("kernel", "strides", "pads", "ceil_mode", "include"), [
    ((3, 3), (1, 1), (0, 0, 0, 0), False, False), ((3, 3), (1, 1), (1, 1, 1, 1), False, False),
    ((3, 3), (2, 2), (1, 1, 1, 1), False, True), ((2, 2), (2, 2), (0, 0, 0, 0), True, False),
    ((5, 2), (2, 1), (2, 1, 1, 0), False, False), ((7, 7), (2, 2), (0, 0, 0, 0), False, False)])
@pytest.mark.parametrize("scale", (2.0**-5, 0.0371))
def test_averages(scale, kernel, strides, pads, ceil_mode, include, signed):
    """With a power of two as scale all means are exact; with another, those without ties."""
    ratio = 1.0 if scale == 2.0**-5 or kernel == (7, 7) else 1.0317
    builder, mean = averaged(scale, kernel, strides, pads, ceil_mode, include, ratio,
                             signed=signed)
    check(builder, mean)


def test_average_on_rounding_ties_is_refused():
    builder, mean = averaged(0.0371, (2, 2))
    with pytest.raises(UserError, match=r"AveragePool 'mean1': .* 4 cells .* on a rounding tie"):
        rewrite(builder.graph(mean), CONFIG)


def test_average_rounds_with_an_odd_zero_point():
    """Ties go to the even integer after the zero point is added."""
    for seed in range(8):
        builder, _ = averaged(2.0**-5, (2, 2), seed=seed)
        quant = Quant(np.float32(2.0**-5), 2 * seed + 1, False)
        check(builder, builder.average_pool("image", (2, 2), quant=quant))


@pytest.mark.parametrize(("kernel", "strides", "pads"), [
    ((1, 7), (1, 2), (0, 3, 0, 3)), ((11, 11), (4, 4), (5, 5, 5, 5)),
    ((11, 11), (1, 1), (10, 9, 10, 0)), ((3, 3), (2, 1), (1, 1, 1, 1)),
    ((1, 1), (4, 4), (0, 0, 0, 0)), ((2, 3), (3, 2), (1, 2, 0, 1)), ((13, 12), (1, 1), (0,) * 4)])
@pytest.mark.parametrize("channels", (2, 20))
def test_convolutions(channels, kernel, strides, pads):
    builder = GraphBuilder((channels, 13, 12), 1)
    check(builder, builder.conv("image", 19, kernel, strides, pads))


@pytest.mark.parametrize(("clip", "zero", "relu"), [(100, 3, True), (100, 130, False),
                                                    (254, 0, False)])
def test_upper_limit(clip, zero, relu):
    builder = GraphBuilder((5, 6, 6), 2)
    check(builder, builder.conv("image", 9, quant=builder.quant(zero=zero), relu=relu, clip=clip))


@pytest.mark.parametrize("groups", (2, 64))
def test_groups(groups):
    """A depthwise convolution reads one plane for 16 channels; its parts make one map."""
    builder = GraphBuilder((64, 7, 7), 3)
    x = builder.conv("image", 64, 3, pads=(1, 1, 1, 1), groups=groups)
    graph = check(builder, x)
    assert convolutions(graph) == (4 if groups == 64 else 2)
    assert sum(layer.planes for layer in lower(graph).layers) == 4


def test_concat_of_shares():
    """Expands of 13 and 3 channels stay one pass; the gap between them costs no copy."""
    builder = GraphBuilder((16, 6, 6), 4)
    squeeze = builder.conv("image", 8, 1)
    x = builder.concat([builder.conv(squeeze, 13, 1),
                        builder.conv(squeeze, 3, 3, pads=(1, 1, 1, 1))])
    y = builder.conv(builder.max_pool(x, 3, (2, 2)), 5, 1)
    graph = check(builder, y)
    assert convolutions(graph) == 4 and len(lower(graph).layers) == 2


def test_concats():
    """Nested, of the input, twice of one tensor, across planes, and read as an output."""
    builder = GraphBuilder((16, 6, 6), 5)
    x = builder.conv("image", 16, 1)
    inner = builder.concat([x, builder.conv("image", 7, 1), x])
    outer = builder.concat([inner, "image", builder.concat([x, inner])])
    graph = check(builder, outer, inner, builder.conv(outer, 5, 1))
    assert all(graph.tensors[name].shape[0] % 16 == 0 for node in graph.nodes
               if isinstance(node, Concat) for name in node.inputs[:-1])


def test_nested_concat_of_one_quantization_is_flat():
    builder = GraphBuilder((16, 6, 6), 6)
    quant = builder.quant()
    parts = [builder.conv("image", 16, 1, quant=quant) for _ in range(4)]
    graph = check(builder, builder.concat([builder.concat(parts[:3], quant), parts[3]], quant))
    assert convolutions(graph) == 4
    concat, = (node for node in graph.nodes if isinstance(node, Concat))
    assert len(concat.inputs) == 4


def test_operators_without_a_convolution():
    """On the input, on one another, and on what is read elsewhere too."""
    builder = GraphBuilder((16, 9, 9), 7)
    x = builder.add("image", "image", builder.quant(0.0913))
    pool = builder.max_pool(builder.max_pool(x, 3, (2, 2)), 2)
    y = builder.add(builder.conv(pool, 16, 1), pool, builder.quant(0.0713))
    check(builder, x, pool, builder.average(y), builder.average(y, is_float=True))


@pytest.mark.parametrize(("channels", "layers"), [(40, 3), (16, 2)])
def test_mean_that_needs_more_than_the_memory_holds(channels, layers):
    """Of some channels at a time; a float one is up to the host."""
    builder, config = GraphBuilder((64, 22, 22), 9), Config(act_vectors=1024)
    x = builder.conv("image", channels, 1)
    graph = check(builder, builder.average(x), config=config)
    assert len(lower(graph, config).layers) == layers
    builder = GraphBuilder((64, 22, 22), 9)
    graph = check(builder, builder.average(builder.conv("image", channels, 1), is_float=True),
                  config=config)
    output, = lower(graph, config).outputs
    assert output.summed and not output.place.map.sums


def test_what_the_core_has_a_path_for_stays():
    """No copies in a SqueezeNet with a bypass."""
    builder = GraphBuilder((3, 27, 27), 8)
    x = builder.max_pool(builder.conv("image", 16, 3, (2, 2)), 3, (2, 2))
    x = builder.conv(x, 32, 1)
    squeeze = builder.conv(x, 16, 1)
    fire = builder.concat([builder.conv(squeeze, 16, 1),
                           builder.conv(squeeze, 16, 3, pads=(1, 1, 1, 1))])
    x = builder.max_pool(builder.add(fire, x, builder.quant(0.0913)), 2, (2, 2))
    graph = builder.graph(builder.average(builder.conv(x, 10, 1), is_float=True))
    assert [node.name for node in rewrite(graph, CONFIG).nodes] == [
        node.name for node in graph.nodes]


def test_input_as_output_is_refused():
    builder = GraphBuilder((16, 6, 6), 1)
    x = builder.conv("image", 5)
    with pytest.raises(UserError, match="output image is the input of the model"):
        compile_graph(builder.graph(x, "image"), CONFIG)
