"""Whole small networks through the quantizer: float before, integers behind, exact between."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sim.golden import graph as golden
from sim.reference import Reference
from sw.errors import UserError
from sw.graph import Concat, Conv
from sw.image import PREPROCESS, load_input
from sw.importer import import_proto
from sw.quantizer import quantize, quantize_file
from tests.float_models import FloatBuilder, fire_network, photographs_of

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("PIL")


def run_float(model, image):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})


def check(builder, outputs, tmp_path, preprocess="rgb-imagenet", decibels=22, **options):
    """Quantizes; the result is near the float model, and golden equals onnxruntime in it."""
    model = builder.model(*outputs)
    channels, *size = builder.shape
    files = photographs_of(tmp_path, size=tuple(size), channels=channels)
    result = quantize(model, files, preprocess=preprocess, **options)
    onnx.checker.check_model(result.model)
    graph = import_proto(result.model)
    reference = Reference(result.model)
    noise = signal = 0.0
    for file in files:
        image = load_input(file, graph)
        wanted = run_float(model, load_input(file, builder.shape, preprocess))
        found = reference.run(image)
        values = golden.run(graph, image)
        compared = 0
        for name, value in values.items():
            if name in found and graph.tensors[name].quant is not None:
                np.testing.assert_array_equal(value, found[name].reshape(value.shape), name)
                compared += 1
        assert compared > 1
        for name, value in zip(outputs, wanted, strict=True):
            assert found[name].size == value.size
            noise += ((found[name].reshape(value.shape) - value)**2).sum()
            signal += (value**2).sum()
    assert 10 * np.log10(signal / noise) > decibels
    return result.model, graph


def test_fire_modules(tmp_path):
    builder = fire_network()
    model, graph = check(builder, [builder.out], tmp_path)
    assert [value.name for value in model.graph.output] == [builder.out]
    for node in graph.nodes:
        if isinstance(node, Concat):
            assert len({graph.tensors[name].quant for name in (*node.inputs, node.output)}) == 1
    source = graph.tensors[graph.input_node.output].quant
    assert source.scale == 1 and source.zero_point == 0
    assert graph.metadata["firecore.preprocess"] == "rgb"
    assert graph.metadata["firecore.float_preprocess"] == "rgb-imagenet"


def test_every_multiplier_has_few_bits(tmp_path):
    builder = fire_network(3)
    _, graph = check(builder, [builder.out], tmp_path)
    for node in graph.nodes:
        if isinstance(node, Conv):
            source, result = (graph.tensors[name].quant.scale
                              for name in (node.inputs[0], node.output))
            multipliers = np.float64(source * node.weight_scale / result)
            mantissas = np.frexp(multipliers)[0] * 2**11
            np.testing.assert_array_equal(mantissas, np.rint(mantissas))


@pytest.mark.parametrize("preprocess", [name for name, its in PREPROCESS.items()
                                        if its.channels == 3])
@pytest.mark.parametrize("pad", [0, 1])
def test_preprocessing_is_folded(tmp_path, preprocess, pad):
    builder = FloatBuilder(seed=5)
    scale = 1.0 if "imagenet" in preprocess or "norm" in preprocess else 255.0
    x = "image"
    if scale == 255 and preprocess != "rgb-unit":
        x = builder.node("Mul", [x, builder.constant(np.float32(1 / 128))])
    x = builder.average(builder.conv(builder.conv(x, 8, pad=pad), 12, 1))
    # Means that differ between channels are not met in the padding.
    model, graph = check(builder, [x], tmp_path, preprocess, 20 if pad else 26)
    takes_bytes = model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert takes_bytes == bool(pad and any(PREPROCESS[preprocess].mean))


def test_grey_images(tmp_path):
    builder = FloatBuilder((1, 12, 12))
    check(builder, [builder.average(builder.conv(builder.conv("image", 8), 12, 1))], tmp_path,
          "grey-unit")


def test_batch_normalisation(tmp_path):
    """Behind a Conv it goes into the weights, elsewhere it becomes a pointwise convolution."""
    builder = FloatBuilder(seed=1)
    x = builder.node("Relu", [builder.batch_norm(builder.conv("image", 8, relu=False, bias=False))])
    x = builder.node("Relu", [builder.batch_norm(builder.pool(x))])
    x = builder.average(builder.conv(x, 10, 1))
    _, graph = check(builder, [x], tmp_path)
    assert sum(isinstance(node, Conv) for node in graph.nodes) == 3


@pytest.mark.parametrize("relu", [False, True])
def test_bypass(tmp_path, relu):
    builder = FloatBuilder(seed=2)
    x = builder.fire(builder.conv("image", 16))
    y = builder.node("Add", [builder.fire(x), x])
    y = builder.node("Relu", [y]) if relu else y
    z = builder.node("Sum", [builder.conv(y, 16, 1, relu=False), y, x])
    check(builder, [builder.average(builder.conv(z, 10, 1))], tmp_path)


def test_moved_clips_and_shared_tensors(tmp_path):
    """A Relu behind a Concat or pool, a Clip, and one tensor that is read with and without it."""
    builder = FloatBuilder(seed=3)
    x = builder.conv("image", 8, relu=False)
    six = builder.node("Clip", [x, builder.constant(np.float32(0)),
                                builder.constant(np.float32(0.7))])
    y = builder.concat([builder.conv(x, 8, relu=False), builder.conv(six, 8, 1, relu=False)])
    y = builder.node("Relu", [builder.pool(y)])
    y = builder.node("Relu", [builder.concat([y, builder.pool(six)])])
    check(builder, [builder.average(builder.conv(y, 10, 1))], tmp_path)


def test_parts_of_a_concat_that_end_differently_keep_their_scales(tmp_path):
    builder = FloatBuilder(seed=4)
    x = builder.conv("image", 8)
    y = builder.concat([builder.conv(x, 8, relu=False), builder.conv(x, 8)])
    _, graph = check(builder, [builder.average(builder.conv(y, 10, 1))], tmp_path)
    concat = next(node for node in graph.nodes if isinstance(node, Concat))
    zeros = [graph.tensors[name].quant.zero_point for name in concat.inputs]
    assert zeros[0] > 0 and zeros[1] == 0


def test_fully_connected_tail(tmp_path):
    builder = FloatBuilder((3, 8, 8), seed=6)
    x = builder.pool(builder.conv("image", 8))
    x = builder.node("Relu", [builder.linear(x, 8 * 3 * 3, 20)])
    x = builder.node("MatMul", [x, builder.constant(
        builder.rng.normal(0, 0.2, (20, 7)).astype(np.float32))], 7)
    x = builder.node("Add", [x, builder.constant(builder.rng.normal(0, 1, 7).astype(np.float32))])
    model, _ = check(builder, [builder.node("Softmax", [x], axis=-1)], tmp_path)
    assert [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim] == [1, 7]


def test_many_spellings(tmp_path):
    """Pad, auto_pad, ReduceMean, Dropout, Identity, Reshape by Shape, two outputs."""
    builder = FloatBuilder(seed=7)
    x = builder.node("Pad", ["image", builder.constant(np.int64([0, 0, 1, 1, 0, 0, 1, 1]))])
    x = builder.conv(x, 8, pad=0)
    x = builder.node("Dropout", [x])
    weights = builder.rng.normal(0, 0.15, (12, 8, 3, 3)).astype(np.float32)
    x = builder.node("Conv", [x, builder.node("Identity", [builder.constant(weights)])], 12,
                     auto_pad="SAME_UPPER", strides=[2, 2])
    x = builder.node("Relu", [x])
    mean = builder.node("ReduceMean", [x], axes=[2, 3], keepdims=0)
    y = builder.average(builder.conv(x, 6, 1))
    size = builder.node("Concat", [builder.node("Gather", [
        builder.node("Shape", [y]), builder.constant(np.int64([0]))]),
        builder.constant(np.int64([-1]))], axis=0)
    y = builder.node("Reshape", [y, size])
    check(builder, [mean, y], tmp_path)


def test_half_precision_and_open_batch(tmp_path):
    builder = fire_network(8)
    files = photographs_of(tmp_path)
    wide = quantize(builder.model(builder.out), files, preprocess="rgb-imagenet").model
    half = builder.model(builder.out, shape=("N", 3, 16, 16))
    for tensor in half.graph.initializer:
        value = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    half.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    narrow = quantize(half, files, preprocess="rgb-imagenet").model
    image = load_input(files[0], import_proto(wide))
    a, b = (run_float(model, image)[0] for model in (wide, narrow))
    np.testing.assert_allclose(a, b, atol=0.03)
    assert narrow.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_old_opset(tmp_path):
    builder = FloatBuilder(seed=9)
    x = builder.average(builder.conv(builder.conv("image", 8), 10, 1))
    x = builder.node("Softmax", [x])  # over axis 1 and all behind it, in this opset
    model = builder.model(x, opset=9)
    files = photographs_of(tmp_path)
    result = quantize(model, files, preprocess="rgb-imagenet").model
    graph = import_proto(result)
    found, = run_float(result, load_input(files[0], graph))
    wanted, = run_float(model, load_input(files[0], builder.shape, "rgb-imagenet"))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=0.03)


def test_tensors_instead_of_photographs(tmp_path):
    builder = FloatBuilder((5, 8, 8), seed=10)
    model = builder.model(builder.average(builder.conv(builder.conv("image", 8), 12, 1)))
    files = [tmp_path / f"{number}.npy" for number in range(4)]
    for file in files:
        np.save(file, builder.rng.normal(0, 1, builder.shape).astype(np.float32))
    graph = import_proto(quantize(model, files).model)
    quant = graph.tensors[graph.input_node.output].quant
    assert 90 < quant.zero_point < 170 and "firecore.preprocess" not in graph.metadata


def test_weights_that_are_all_alike_or_zero(tmp_path):
    """Sums of equal weights would not fit the accumulator at full scale."""
    builder = FloatBuilder((3, 16, 16), seed=11)
    x = builder.conv("image", 128, 1)
    shape = builder.constant(np.int64([16, 128, 3, 3]))
    filled = builder.node("ConstantOfShape", [shape], value=numpy_helper.from_array(
        np.float32([0.01]), "value"))
    x = builder.node("Relu", [builder.node("Conv", [x, filled], 16, kernel_shape=[3, 3])])
    nothing = np.zeros((4, 16, 1, 1), np.float32)
    y = builder.node("Conv", [x, builder.constant(nothing)], 4)
    z = builder.node("Conv", [x, builder.constant(nothing), builder.constant(
        np.float32([3, 0, -2, 1]))], 4)
    outputs = [builder.average(x), builder.average(builder.conv(y, 3, 1)), builder.average(z)]
    model, graph = check(builder, outputs, tmp_path)
    for node in graph.nodes:
        if isinstance(node, Conv):
            weights = node.weights.astype(np.int64).reshape(len(node.weights), -1)
            assert (255 * np.maximum(weights, 0).sum(1) + np.abs(node.bias) < 1 << 23).all()


def test_metadata_of_the_float_model_are_kept(tmp_path):
    builder = fire_network(12)
    builder.metadata = {"firecore.preprocess": "rgb-unit", "firecore.labels": "a,b"}
    result = quantize(builder.model(builder.out), photographs_of(tmp_path))
    assert result.preprocess == "rgb-unit"
    metadata = {entry.key: entry.value for entry in result.model.metadata_props}
    assert metadata == {"firecore.preprocess": "rgb", "firecore.float_preprocess": "rgb-unit",
                        "firecore.labels": "a,b"}


def test_it_is_deterministic(tmp_path):
    builder = fire_network(13)
    files = photographs_of(tmp_path)
    first, second = (quantize(builder.model(builder.out), files).model.SerializeToString()
                     for _ in range(2))
    assert first == second


# Bad input

def unary(kind, **attributes):
    def build(builder):
        return builder.node(kind, [builder.conv("image", 4, relu=False)], **attributes)
    return build


def weights_of(value):
    def build(builder):
        return builder.node("Conv", ["image", builder.constant(value)], len(value))
    return build


BAD = {
    "unknown operator": (unary("Sigmoid"), r"Sigmoid 'the_sigmoid1': operator Sigmoid cannot"),
    "clip": (unary("Clip"), r"Clip 'the_clip1': limits -inf to inf"),
    "dilations": (lambda b: b.node("Conv", ["image", b.constant(
        np.zeros((4, 3, 3, 3), np.float32))], 4, dilations=[2, 2]), r"dilations \[2, 2\]"),
    "nan": (weights_of(np.full((4, 3, 1, 1), np.nan, np.float32)), "not finite"),
    "rank": (weights_of(np.zeros((4, 3, 1), np.float32)), "weights have 3 dimensions"),
    "groups": (weights_of(np.zeros((4, 2, 1, 1), np.float32)), "do not fit 3 channels"),
    "window": (weights_of(np.zeros((4, 3, 30, 30), np.float32)), "larger than its input"),
    "weights": (lambda b: b.node("Conv", ["image", b.conv("image", 4)], 4), "not a constant"),
    "concat": (lambda b: b.node("Concat", ["image", "image"], axis=2), "of channels"),
    "product": (lambda b: b.node("Mul", ["image", "image"]), "a Mul of activations"),
    "vector": (lambda b: b.node("Mul", ["image", b.constant(np.ones(16, np.float32))]),
               r"a constant of shape \[16\]"),
    "after the tail": (lambda b: b.conv(b.node("Softmax", [b.conv("image", 4)], axis=1), 4),
                       "computed in float on the host"),
    "no layers": (lambda b: b.node("MaxPool", ["image"], kernel_shape=[2, 2]), "no convolution"),
    "pad": (lambda b: b.node("Pad", ["image", b.constant(np.int64([0, 1, 0, 0, 0, 1, 0, 0]))]),
            "zeros around height and width"),
    "quantized": (lambda b: b.node("QuantizeLinear", ["image", b.constant(np.float32(1))]),
                  "quantized already"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_models(tmp_path, case):
    build, message = BAD[case]
    builder = FloatBuilder()
    model = builder.model(build(builder))
    path = tmp_path / "bad.onnx"
    onnx.save(model, path)
    with pytest.raises(UserError, match=message) as error:
        quantize_file(path, photographs_of(tmp_path, 1))
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_bad_options(tmp_path):
    builder = fire_network()
    model = builder.model(builder.out)
    files = photographs_of(tmp_path, 1)
    with pytest.raises(UserError, match="'sepia' is unknown"):
        quantize(model, files, preprocess="sepia")
    with pytest.raises(UserError, match="gives 1 channels; the network takes 3"):
        quantize(model, files, preprocess="grey")
    with pytest.raises(UserError, match="no image to calibrate"):
        quantize(model, [])
    with pytest.raises(UserError, match="photo0.png: without preprocessing .npy"):
        quantize(model, files, preprocess="none")
    (tmp_path / "broken.jpg").write_text("no image")
    with pytest.raises(UserError, match="broken.jpg: not an image"):
        quantize(model, [tmp_path / "broken.jpg"])
