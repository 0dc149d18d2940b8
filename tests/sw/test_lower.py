"""Which nodes make a layer, in which numbers, and what is refused by name."""

import numpy as np
import pytest

from hw.config import Config
from sw.bounds import check_bounds, sum_bounds
from sw.errors import UserError
from sw.importer import import_proto
from sw.layers import Pooling
from sw.lower import lower
from tests.models import ModelBuilder, small_squeezenet


def lowered(builder, *outputs):
    return lower(import_proto(builder.model(*outputs)))


def test_squeezenet_layers():
    graph = import_proto(small_squeezenet().model("scores"))
    network = lower(graph)
    first, fire2, fire3, last = network.layers
    assert first.gather and first.pooling and not first.squeeze
    assert first.in_shape == (32, *first.conv_shape[1:]) and first.kernel == 1
    assert fire2.squeeze and fire2.a and fire2.b and fire2.pooling and fire2.kernel == 3
    assert fire2.b.channel == fire2.a.channels == 16
    assert fire2.rescale_zero is not None
    assert fire3.squeeze and not fire3.pooling
    assert last.a is None and last.b.channels == 20 and last.average.record is None
    assert [layer.index for layer in network.layers] == [0, 1, 2, 3]
    output, = network.outputs
    assert output.place.map.sums and output.summed == last.tensor
    assert network.input.image and network.input.vectors == 27 * 7
    macs = sum(
        graph.tensors[node.output].shape[1] * graph.tensors[node.output].shape[2]
        * node.weights.size for node in graph.nodes if hasattr(node, "weights"))
    assert sum(layer.macs for layer in network.layers) == macs


def test_shared_scale_needs_no_rescale():
    network = lowered(small_squeezenet(shared=True), "scores")
    assert all(layer.rescale_zero is None for layer in network.layers)


@pytest.mark.parametrize("signed", (False, True))
def test_zero_points_are_in_the_bias(signed):
    builder = ModelBuilder((16, 5, 5), 3, signed)
    x = builder.conv(builder.input(), 8, 3, relu=True)
    graph = import_proto(builder.model(x))
    layer, = lower(graph).layers
    conv = next(node for node in graph.nodes if hasattr(node, "weights"))
    shift = 128 if signed else 0
    quant = graph.tensors[conv.inputs[0]].quant
    rng = np.random.default_rng(0)
    x = rng.integers(quant.qmin, quant.qmax + 1, (16, 3, 3))
    weights = conv.weights.astype(np.int64)
    expected = ((x - quant.zero_point) * weights).sum(axis=(1, 2, 3)) + conv.bias
    np.testing.assert_array_equal(((x + shift) * weights).sum(axis=(1, 2, 3)) + layer.b.bias,
                                  expected)
    assert layer.b.low == layer.b.zero == graph.tensors[conv.output].quant.zero_point + shift
    assert layer.in_zero == quant.zero_point + shift


def test_scales_are_exact():
    graph = import_proto(small_squeezenet(5).model("scores"))
    for layer in lower(graph).layers:
        for branch in layer.branches:
            conv = graph.producer(branch.tensor)
            x, y = (graph.tensors[name].quant for name in (conv.inputs[0], conv.output))
            scale = x.scale * conv.weight_scale / y.scale
            assert scale.dtype == np.float32
            exact = branch.mantissa.astype(np.float64) * 2.0 ** (branch.shift - 48)
            np.testing.assert_array_equal(exact, scale)


@pytest.mark.parametrize("kernel", (1, 2, 3, 5, 7))
def test_gathered_weights(kernel):
    """The product of a gathered window with its weights is that of the window."""
    builder = ModelBuilder((3, 9, 9), kernel)
    graph = import_proto(builder.model(builder.conv(builder.input(), 5, kernel)))
    conv = next(node for node in graph.nodes if hasattr(node, "weights"))
    layer, = lower(graph).layers
    window = np.random.default_rng(1).integers(0, 256, (kernel, kernel, 3))
    vectors = np.zeros((layer.gather.vectors, 16), np.int64)
    for tap, pixel in enumerate(window.reshape(-1, 3)):
        vectors[tap // 5, tap % 5 * 3:tap % 5 * 3 + 3] = pixel
    np.testing.assert_array_equal(
        layer.b.weights.reshape(5, -1).astype(int) @ vectors.reshape(-1),
        (window.transpose(2, 0, 1) * conv.weights.astype(int)).sum(axis=(1, 2, 3)))


def test_branches_in_either_order():
    """The 1x1 convolution is branch A wherever it stands in the Concat."""
    builder = ModelBuilder((16, 6, 6), 1)
    x = builder.conv(builder.input(), 16, 1)
    parts = [builder.conv(x, 32, 3, pads=(1, 1, 1, 1)), builder.conv(x, 16, 1)]
    layer, = lowered(builder, builder.concat(parts)).layers
    assert (layer.a.channels, layer.a.channel) == (16, 32)
    assert (layer.b.channels, layer.b.channel) == (32, 0)
    assert layer.squeeze.channels == 16 and (layer.kernel, layer.pad_top) == (3, 1)


def test_squeeze_that_others_read_is_a_layer():
    builder = ModelBuilder((16, 6, 6), 1)
    x = builder.conv(builder.input(), 16, 1)
    y = builder.concat([builder.conv(x, 16, 1), builder.conv(x, 16, 3, pads=(1, 1, 1, 1))])
    network = lowered(builder, y, builder.conv(x, 5, 1))
    assert [layer.squeeze for layer in network.layers] == [None] * 3
    pair = next(layer for layer in network.layers if layer.a)
    assert pair.a.channels == 16 and pair.b.channels == 16


def test_concat_of_three_writes_one_map():
    builder = ModelBuilder((16, 6, 6), 2)
    x = builder.conv(builder.input(), 16, 1)
    quant = builder.quant()
    parts = [builder.conv(x, count, 1, quant=quant) for count in (16, 32, 5)]
    network = lowered(builder, builder.concat(parts, quant))
    assert [layer.output.plane for layer in network.layers[1:]] == [0, 1, 3]
    assert len({layer.output.map.name for layer in network.layers[1:]}) == 1
    assert network.layers[1].output.map.writers == 3


def test_add_belongs_to_the_later_operand():
    builder = ModelBuilder((16, 6, 6), 2)
    x = builder.conv(builder.input(), 16, 1)
    y = builder.conv(x, 16, 3, pads=(1, 1, 1, 1))
    network = lowered(builder, builder.add(y, x, builder.quant(0.07)))
    first, second = network.layers
    assert first.addition is None and second.addition.operand.map is first.output.map


# Refusals

def image_builder(channels=16, **options):
    builder = ModelBuilder((channels, 12, 12), 1, **options)
    return builder, builder.input()


def no_convolution(builder, x):
    return builder.max_pool(x)


def pool_alone(builder, x):
    return builder.conv(builder.max_pool(x), 16, 1)


def pool_of_shared(builder, x):
    x = builder.conv(x, 16, 1)
    return builder.conv(builder.max_pool(x), 4, 1), builder.conv(x, 4, 1)


def pool_twice(builder, x):
    return builder.max_pool(builder.max_pool(builder.conv(x, 16, 1), 2), 2)


def add_to_itself(builder, x):
    x = builder.conv(x, 16, 1)
    return builder.add(x, x, builder.quant(0.07))


def add_then_add(builder, x):
    x, y, z = (builder.conv(x, 16, 1) for _ in range(3))
    return builder.add(builder.add(x, y, builder.quant(0.07)), z, builder.quant(0.09)), z


def concat_off_grid(builder, x):
    return builder.concat([builder.conv(x, 8, 1), builder.conv(x, 16, 1)])


def concat_of_input(builder, x):
    return builder.concat([x, builder.conv(x, 16, 1)])


def concat_nested(builder, x):
    quant = builder.quant()
    y = builder.concat([builder.conv(x, 16, 3, quant=quant) for _ in range(2)], quant)
    return builder.concat([y, builder.conv(x, 16, 3, quant=quant)], quant)


def big_kernel(builder, x):
    return builder.conv(x, 16, 16, pads=(2, 2, 2, 2))


def big_stride(builder, x):
    return builder.conv(x, 16, 3, (3, 8))


def odd_pool(builder, x):
    return builder.max_pool(builder.conv(x, 16, 1), 3, (1, 1))


def rescaled_before_pool(builder, x):
    parts = [builder.max_pool(builder.conv(x, 16, 1), 2) for _ in range(3)]
    return builder.concat(parts)


@pytest.mark.parametrize(("build", "message"), [
    (no_convolution, "the model has no convolution"),
    (pool_alone, "MaxPool 'pool1_MaxPool': it does not follow a convolution"),
    (pool_of_shared, "MaxPool 'pool2_MaxPool': .* also feeds Conv"),
    (pool_twice, "MaxPool 'pool3_MaxPool': it does not follow a convolution"),
    (add_to_itself, "Add 'add2_Add': adds .* to itself"),
    (add_then_add, "Add 'add"),
    (concat_off_grid, "Concat 'concat3_Concat': .* starts at channel 8; .* multiples of 16"),
    (concat_of_input, "Concat 'concat2_Concat': its input image_q comes from Input"),
    (concat_nested, "Concat .* comes from Concat"),
    (big_kernel, "Conv 'conv1_Conv': kernel 16x16; .* up to 15"),
    (big_stride, "Conv 'conv1_Conv': strides 3x8; 1x1 to 7x7"),
    (odd_pool, "MaxPool 'pool2_MaxPool': kernel 3x3 with stride 1x1"),
    (rescaled_before_pool, "Conv 'conv1_Conv': a Concat requantises its result behind MaxPool"),
])
def test_refusals_name_the_node(build, message):
    builder, x = image_builder()
    outputs = build(builder, x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    with pytest.raises(UserError, match=message):
        lowered(builder, *outputs)


# Bounds

def test_bounds_are_reached():
    """Some input gives exactly the bounds, with and without the bias."""
    builder = ModelBuilder((16, 5, 5), 3)
    branch = lowered(builder, builder.conv(builder.input(), 8, 3)).layers[0].b
    low, high = sum_bounds(branch)
    weights = branch.weights.astype(np.int64)
    for sign, bound in ((1, high), (-1, low)):
        extreme = (np.where(sign * weights > 0, 255, 0) * weights).sum(axis=(1, 2, 3))
        pick = np.maximum if sign > 0 else np.minimum
        np.testing.assert_array_equal(pick(extreme, extreme + branch.bias), bound)


def test_bounds_refuse_a_narrow_accumulator():
    builder = ModelBuilder((64, 5, 5), 3)
    network = lowered(builder, builder.conv(builder.input(), 8, 3))
    low, high = sum_bounds(network.layers[0].b)
    top = max(-int(low.min()), int(high.max()) + 1)
    width = int(np.ceil(np.log2(top))) + 1
    check_bounds(network, Config(acc_width=width))
    with pytest.raises(UserError, match=f"Conv 'conv1_Conv': .* beyond {width - 1} bits"):
        check_bounds(network, Config(acc_width=width - 1))


# Pooling over bands

@pytest.mark.parametrize(("kernel", "stride", "pad", "out"), [
    (3, 2, 0, 6), (3, 2, 1, 7), (2, 2, 0, 6), (2, 2, 0, 7), (3, 3, 0, 5), (2, 1, 0, 12),
    (3, 2, 1, 6)])
def test_pooling_rows(kernel, stride, pad, out):
    """`finished` and `phase` against the definition of the windows."""
    rows = 13
    pooling = Pooling("p", "t", kernel, stride, pad, 0, rows, 13, (out, out))
    windows = [(w * stride - pad, min(w * stride - pad + kernel, rows)) for w in range(out)]
    assert pooling.used_rows == windows[-1][1]
    for row in range(pooling.used_rows):
        assert pooling.finished(row) == sum(end <= row for _, end in windows)
        open_windows = [first for first, end in windows if first < row < end]
        starting = -pad if row == 0 else row
        oldest = min(open_windows, default=starting)
        assert pooling.phase(row) == row - oldest
    assert pooling.finished(pooling.used_rows) == out
