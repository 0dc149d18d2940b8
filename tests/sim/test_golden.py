import time

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sim import reference
from sim.golden import graph as golden
from sim.golden import operators
from sw.errors import UserError
from sw.graph import Quant
from sw.image import load_input
from sw.importer import import_model, import_proto
from tests.data import data_file, photographs
from tests.models import ModelBuilder, small_squeezenet

ort = pytest.importorskip("onnxruntime")


def compare(builder, output, tolerance=1e-6):
    """Import, run both, and compare every tensor; gives the number of integer tensors."""
    model = builder.model(output)
    image = builder.image()
    got = golden.run(import_proto(model), image)
    expected = reference.run(model, image)
    count = 0
    for name, value in expected.items():
        if value.dtype == np.float32:
            np.testing.assert_allclose(got[name].reshape(value.shape), value, atol=tolerance)
        else:
            assert got[name].dtype == value.dtype
            np.testing.assert_array_equal(got[name], value, err_msg=name)
            assert len(np.unique(value)) > 1, f"{name} is constant: the test shows nothing"
            count += 1
    return count


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_small_squeezenet(signed, shared):
    assert compare(small_squeezenet(5, signed, shared), "scores") == 13


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_conv(signed, seed):
    builder = ModelBuilder((5, 12, 13), seed, signed)
    bias = ("int32", "float", "none")[seed]
    source = builder.input()
    a = builder.conv(source, 18, 3, pads=(1, 1, 1, 1), relu=True, bias=bias)
    b = builder.conv(a, 7, 5, (2, 3), (2, 0, 1, 2), per_channel=False, bias=bias)
    assert compare(builder, b) == 3


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("kernel, strides, pads", [
    (3, (2, 2), (0, 0, 0, 0)), (3, (2, 3), (1, 1, 1, 1)), (2, (2, 2), (0, 1, 1, 0)),
    (3, (1, 1), (1, 2, 2, 1)), (2, (3, 3), (0, 0, 1, 1))])
def test_max_pool(signed, ceil_mode, kernel, strides, pads):
    builder = ModelBuilder((4, 13, 14), 1, signed)
    pooled = builder.max_pool(builder.input(), kernel, strides, pads, ceil_mode)
    assert compare(builder, pooled) == 2


@pytest.mark.parametrize("signed", [False, True])
def test_concat_of_three_scales(signed):
    builder = ModelBuilder(seed=3, signed=signed)
    source = builder.input()
    parts = [builder.conv(source, channels, 1) for channels in (16, 7, 9)]
    assert compare(builder, builder.concat(parts)) == 5


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_add_and_average(signed, relu):
    builder = ModelBuilder((3, 9, 11), 4, signed)
    source = builder.input()
    parts = [builder.conv(source, 24), builder.conv(source, 24)]
    # an explicit Relu behind which clipping alone would not do (a random zero point) included
    total = builder.add(*parts, builder.low() if not relu else builder.quant(), relu)
    assert compare(builder, builder.average(total, builder.quant(0.01))) == 5


def byte_grid(quant):
    """All 65,536 pairs of integers, as two maps (16, 64, 64)."""
    values = np.arange(quant.qmin, quant.qmax + 1).astype(quant.dtype)
    a, b = np.meshgrid(values, values)
    return a.reshape(16, 64, 64), b.reshape(16, 64, 64)


def run_operator(op, inputs, attributes=None):
    """A contributed operator of onnxruntime on constants and arrays."""
    names = [f"i{index}" for index in range(len(inputs))]
    node = helper.make_node(op, names, ["out"], domain="com.microsoft", **attributes or {})
    values = {name: np.asarray(value) for name, value in zip(names, inputs, strict=True)}
    kind = helper.np_dtype_to_tensor_dtype(
        next(value.dtype for value in values.values() if value.ndim))
    graph = helper.make_graph(
        [node], "operator",
        [helper.make_tensor_value_info(name, kind, list(value.shape))
         for name, value in values.items() if value.ndim],
        [helper.make_tensor_value_info("out", kind, None)],
        [numpy_helper.from_array(value, name) for name, value in values.items()
         if not value.ndim])
    model = helper.make_model(graph, opset_imports=[
        helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {n: v for n, v in values.items() if v.ndim})[0]


def parameters(quant):
    return [quant.scale, np.array(quant.zero_point, quant.dtype)]


def random_quants(rng, signed, count, nice):
    """`nice` scales are small fractions: sums then meet ties."""
    limits = np.iinfo(np.int8 if signed else np.uint8)
    divisor = rng.choice([3, 5, 7, 64, 100])
    return [Quant(np.float32(rng.integers(1, 64) / divisor if nice else rng.uniform(0.01, 0.1)),
                  int(rng.integers(limits.min, limits.max + 1)), signed) for _ in range(count)]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("nice", [False, True])
def test_add_on_all_pairs(signed, nice):
    rng = np.random.default_rng(17 + 2 * nice + signed)
    for _ in range(12):
        qa, qb, qc = random_quants(rng, signed, 3, nice)
        a, b = byte_grid(qa)
        expected = run_operator("QLinearAdd", [a, *parameters(qa), b, *parameters(qb),
                                               *parameters(qc)])
        np.testing.assert_array_equal(operators.add(a, b, qa, qb, qc), expected)


def test_add_needs_the_fused_operations():
    """Plain float32 differs from the fused form on a pair that the exhaustive test contains."""
    rng = np.random.default_rng(19)
    differing = 0
    for _ in range(12):
        qa, qb, qc = random_quants(rng, False, 3, True)
        a, b = byte_grid(qa)
        plain = b * (qb.scale / qc.scale) + operators.add_fixed_part(qa, qb, qc)
        plain = np.rint(np.clip(a * (qa.scale / qc.scale) + plain, 0, 255))
        differing += np.count_nonzero(plain != operators.add(a, b, qa, qb, qc))
    assert differing


@pytest.mark.parametrize("signed", [False, True])
def test_concat_tables_on_all_bytes(signed):
    rng = np.random.default_rng(5 + signed)
    for nice in (False, True) * 12:
        qa, qb, qc = random_quants(rng, signed, 3, nice)
        x = np.arange(qa.qmin, qa.qmax + 1).astype(qa.dtype).reshape(1, 1, 16, 16)
        expected = run_operator(
            "QLinearConcat", [*parameters(qc), x, *parameters(qa), x, *parameters(qb),
                              x, *parameters(qc)], {"axis": 1})
        got = operators.concat([x[0]] * 3, [qa, qb, qc], qc)
        np.testing.assert_array_equal(got, expected[0])


@pytest.mark.parametrize("signed", [False, True])
def test_global_average(signed):
    rng = np.random.default_rng(9 + signed)
    for nice in (False, True) * 6:
        source, result = random_quants(rng, signed, 2, nice)
        x = rng.integers(source.qmin, source.qmax + 1, (500, 5, 7)).astype(source.dtype)
        x[:250] = x[:250] // 8 + source.zero_point // 2  # means near the zero point
        expected = run_operator(
            "QLinearGlobalAveragePool", [x[None], *parameters(source), *parameters(result)],
            {"channels_last": 0})
        np.testing.assert_array_equal(operators.global_average(x, source, result), expected[0])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("include", [0, 1])
def test_average_pool(signed, include):
    """Windows beyond the map, with scales that make ties."""
    rng = np.random.default_rng(11 + signed + 2 * include)
    for nice, ceil_mode in ((False, 0), (True, 0), (True, 1)) * 6:
        source, result = random_quants(rng, signed, 2, nice)
        kernel, strides = (tuple(map(int, rng.integers(1, top, 2))) for top in (8, 5))
        pads = tuple(int(rng.integers(0, size)) for size in kernel * 2)
        x = rng.integers(source.qmin, source.qmax + 1, (20, 13, 11)).astype(source.dtype)
        x[:10] = x[:10] // 8 + source.zero_point // 2  # means near the zero point
        expected = run_operator(
            "QLinearAveragePool", [x[None], *parameters(source), *parameters(result)],
            {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": ceil_mode,
             "count_include_pad": include})
        got = operators.average_pool(x, source, result, kernel, strides, pads,
                                     expected.shape[2:], bool(include))
        np.testing.assert_array_equal(got, expected[0])


@pytest.mark.parametrize("signed", [False, True])
def test_input_quantization(signed):
    rng = np.random.default_rng(2)
    for scale in (1.0, 0.5, 0.0371):
        builder = ModelBuilder((4, 40, 40), 2, signed)
        output = builder.max_pool(builder.input(builder.quant(scale)), 1, (1, 1))
        model = builder.model(output)
        quant = builder.quants["image_dq"]
        image = rng.uniform(-300 * scale, 300 * scale, (4, 40, 40)).astype(np.float32)
        image[0] = np.round(image[0] / scale * 2) / 2 * scale  # ties
        image[1, 0, :4] = 3e38, -3e38, 1e-45, -0.0
        expected = reference.run(model, image)["image_q"]
        np.testing.assert_array_equal(operators.quantize(image, quant), expected)
        got = golden.run(import_proto(model), image)
        np.testing.assert_array_equal(got["image_q"], expected)


def test_sums_beyond_float32():
    """Sums above 2**24 are exact too: all weights and inputs at their ends."""
    weights = np.full((2, 1200, 1, 1), -128, np.int8)
    weights[1, ::2] = 127
    x = np.full((1200, 1, 3), 255, np.uint8)
    x[0] = 254
    bias = np.array([1, -1], np.int32)
    sums = operators.conv_sums(x, 0, weights, bias, (1, 1), (0, 0, 0, 0))
    assert np.abs(sums).max() > 2**24
    expected = weights.reshape(2, -1).astype(int) @ x.reshape(1200, -1).astype(int)
    np.testing.assert_array_equal(sums.reshape(2, -1), expected + bias[:, None])


def test_sums_beyond_int32_are_refused():
    weights = np.full((1, 1, 1, 1), 127, np.int8)
    x = np.full((1, 1, 1), 255, np.uint8)
    with pytest.raises(OverflowError):
        operators.conv_sums(x, 0, weights, np.array([2**31 - 1], np.int32), (1, 1), (0,) * 4)


def test_fused_rounding():
    """Against exact rational arithmetic, on values that a float64 sum would round wrongly."""
    from fractions import Fraction

    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=300).astype(np.float32) for _ in range(2))
    c = (rng.normal(size=300) * 2.0 ** rng.integers(-40, 40, 300)).astype(np.float32)
    a[0], b[0], c[0] = 1 + 2**-12, 1 + 2**-12, 2**-60  # just above a tie of float32
    for x, y, z, got in zip(a, b, c, operators._fused(a, b, c), strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        distance = abs(Fraction(float(got)) - exact)
        for towards in (np.float32(np.inf), -np.float32(np.inf)):
            other = np.nextafter(got, towards)
            assert distance <= abs(Fraction(float(other)) - exact)
    assert operators._fused(a[:1], b[:1], c[:1])[0] == np.float32(1 + 2**-11 + 2**-23)


def test_sums_on_request_and_integer_input():
    builder = small_squeezenet(1)
    graph, image = import_proto(builder.model("scores")), builder.image()
    sums = {}
    values = golden.run(graph, image, sums)
    convs = [node for node in graph.nodes if type(node).__name__ == "Conv"]
    assert set(sums) == {conv.output for conv in convs}
    for conv in convs:
        quant, source = (graph.tensors[name].quant for name in (conv.output, conv.inputs[0]))
        assert sums[conv.output].dtype == np.int32
        multiplier = operators.conv_multiplier(source, conv.weight_scale, quant)
        np.testing.assert_array_equal(
            operators.requantize(sums[conv.output], multiplier, quant), values[conv.output])
    again = golden.run(graph, values["image_q"])
    np.testing.assert_array_equal(again["scores"], values["scores"])


@pytest.mark.parametrize("image, message", [
    (np.zeros((3, 5, 5), np.float32), r"shape \[3, 5, 5\]"),
    (np.zeros((3, 27, 27), np.int64), "int64"),
    (np.full((3, 27, 27), np.nan, np.float32), "finite")])
def test_wrong_image(image, message):
    graph = import_proto(small_squeezenet().model("scores"))
    with pytest.raises(UserError, match=message):
        golden.run(graph, image)


REAL = [(net, kind) for net in ("1.1", "1.0_deepcompressed") for kind in ("hw", "ort")]


@pytest.mark.parametrize("net, kind", REAL)
def test_real_models(net, kind):
    path = data_file(f"squeezenet{net}_int8_qdq_{kind}.onnx")
    graph = import_model(path)
    session = reference.Reference(path)
    for photograph in photographs(2 if net == "1.1" else 1):
        image = load_input(photograph, graph)
        start = time.perf_counter()
        got = golden.run(graph, image)
        assert time.perf_counter() - start < 10
        expected = session.run(image)
        integers = [name for name, value in expected.items() if value.dtype == np.uint8]
        assert len(integers) == (39 if kind == "ort" else 38)
        for name in integers:
            np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
        for name in graph.outputs:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("net", ["1.1", "1.0_deepcompressed"])
def test_stored_tensors(net):
    """The image behind the file is not stored, but its first tensor is."""
    graph = import_model(data_file(f"squeezenet{net}_int8_qdq_hw.onnx"))
    with np.load(data_file(f"golden/golden_squeezenet{net}_1image.npz")) as stored:
        expected = {name: stored[name] for name in stored.files}
    sums = expected.pop("__sum")
    expected.pop("image_index")
    got = golden.run(graph, expected[graph.input_node.output])
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name.replace("__", "/")], value, err_msg=name)
    last = graph.producer(graph.outputs[0])
    while type(last).__name__ != "GlobalAveragePool":
        last = graph.producer(last.inputs[0])
    np.testing.assert_array_equal(got[last.inputs[0]].astype(np.int64).sum(axis=(1, 2)), sums)


def test_reference_leaves_the_model_alone():
    model = small_squeezenet().model("scores")
    before = model.SerializeToString()
    reference.run(model, small_squeezenet().image())
    assert model.SerializeToString() == before
    assert isinstance(model, onnx.ModelProto)


def test_reference_on_bad_input():
    builder = small_squeezenet()
    model = builder.model("scores")
    with pytest.raises(UserError, match=r"shape \[3, 5, 5\] for \[1, 3, 27, 27\]"):
        reference.run(model, np.zeros((3, 5, 5), np.float32))
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(UserError, match="onnxruntime does not take the model"):
        reference.Reference(model)
