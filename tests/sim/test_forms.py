"""Every form of every operator through import and golden: equal to onnxruntime in every bit."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from sim import reference
from sim.golden import graph as golden
from sw.errors import UserError
from sw.graph import window_outputs
from sw.importer import import_proto
from tests.forms import FORMS, FormBuilder

onnxruntime = pytest.importorskip("onnxruntime")


def compare(builder, *outputs, fused=()):
    """Compare every integer tensor of onnxruntime; gives graph and number of tensors. `fused` are
    those that the graph may not have, as it computes them together with the next."""
    model, image = builder.model(*outputs), builder.image()
    graph = import_proto(model)
    assert not graph.notes
    got, expected = golden.run(graph, image), reference.run(model, image)
    integers = {name: value for name, value in expected.items() if value.dtype != np.float32}
    for name, value in integers.items():
        if name.startswith("flatten") or (name in fused and name not in got):
            continue  # only another shape, or another step
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name].reshape(value.shape), value, err_msg=name)
        assert len(np.unique(value)) > 1, f"{name} is constant: the test shows nothing"
    for name in graph.outputs:
        np.testing.assert_array_equal(got[name].reshape(expected[name].shape), expected[name])
    return graph, len(integers)


def start(form, seed, **options):
    """A builder of random type and opset, and its random generator."""
    rng = np.random.default_rng(seed)
    opset = int(rng.choice([12 if form == "operator" else 10, 12, 13, 17, 19, 21, 24, 26]))
    shape = tuple(int(n) for n in rng.integers((1, 12, 12), (20, 18, 18)))
    return FormBuilder(form, options.pop("shape", shape), seed, bool(seed % 2), opset), rng


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(16))
def test_conv(form, seed):
    """Kernels 1 to 7 and 11, strides 1 to 4, uneven pads, groups, dilations, any bias, uint8 and
    int8 weights."""
    builder, rng = start(form, seed)
    source, group = builder.input(), 1
    channels = builder.channels[source]
    kind = seed % 4
    if kind == 1:
        group = channels
    elif kind == 2:
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        group = int(rng.choice(divisors))
    kernel = tuple(int(n) for n in rng.choice([1, 2, 3, 4, 5, 6, 7], 2)) if seed % 5 else (9, 11)
    dilations = (1, 1) if seed % 7 or max(kernel) > 4 else (2, 1)
    pads = tuple(int(rng.integers(0, n)) for n in kernel * 2)
    result = builder.conv(
        source, group * int(rng.integers(1, 4)), kernel, tuple(map(int, rng.integers(1, 5, 2))),
        pads, None, not builder.signed and seed % 8 >= 4, group, dilations,
        bias=("int32", "float", "none")[seed % 3], per_channel=bool(rng.integers(2)),
        contributed=seed % 8 == 3 and form == "operator")
    compare(builder, result)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("zero_point, unsigned", [
    (0, True), (255, True), (141, True), (128, True), (-128, False), (127, False), (5, False)])
def test_weights_of_more_than_8_bits(form, zero_point, unsigned):
    """Minus their zero point they reach from -255 to 255; a Conv and a Gemm."""
    builder = FormBuilder(form, (5, 9, 8), 6, not unsigned)

    def spread(count):  # of sums with such a mean
        return count + int(count * ((128 if unsigned else 0) - zero_point) / 74)**2

    x = builder.weigh("Conv", builder.input(), builder.random_weights((7, 5, 3, 3), unsigned), 0,
                      None, zero_point, pads=[1] * 4, fan_in=spread(45))
    weights = builder.random_weights((7 * 72, 6), unsigned)
    y = builder.weigh("Gemm", builder.flatten(x), weights, 1, None, zero_point,
                      fan_in=spread(7 * 72))
    graph, _ = compare(builder, y)
    widths = [node.weights.shape[1] for node in graph.nodes if hasattr(node, "weights")]
    assert (widths == [5, 7]) == (zero_point == 128)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("pool", ["max", "average"])
def test_pools(form, seed, pool):
    builder, rng = start(form, seed)
    while True:
        kernel = tuple(map(int, rng.integers(1, 8, 2)))
        strides = tuple(map(int, rng.integers(1, 5, 2)))
        pads = tuple(int(rng.integers(0, n)) for n in kernel * 2)
        if all(window_outputs(builder.shape[1 + i], kernel[i], strides[i], pads[i], pads[2 + i])
               > 1 for i in range(2)):
            break
    source, ceil_mode = builder.input(), int(rng.integers(2))
    if seed % 2:
        source = builder.conv(source, 7)
        if min(window_outputs(builder.shape[1 + i] - 2, kernel[i], strides[i], pads[i],
                              pads[2 + i]) for i in range(2)) < 1:
            return
    if pool == "max":
        result = builder.max_pool(source, kernel, strides, pads, ceil_mode)
    else:
        result = builder.average_pool(
            source, [None, builder.quants[source]][seed // 2 % 2], kernel_shape=list(kernel),
            strides=list(strides), pads=list(pads), ceil_mode=ceil_mode,
            count_include_pad=int(rng.integers(2)))
    compare(builder, result)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(6))
def test_add_concat_and_global_average(form, seed):
    builder, rng = start(form, seed)
    source = builder.input()
    a, b, c = (builder.conv(source, 9, 3) for _ in range(3))
    total = builder.add(a, b, relu=False)
    nested = builder.concat([total, builder.concat([c, a])])
    average = builder.average(nested, builder.quant(0.02))
    _, count = compare(builder, average, nested)
    assert count == 8


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(10))
def test_fully_connected_tail(form, seed):
    """Flatten of a map, two Gemms or MatMuls, the bias in integers or floats."""
    builder, rng = start(form, seed)
    x = builder.conv(builder.input(), 5, 3, (2, 2))
    if seed % 3 == 0:
        x, size = builder.average(x), 5
    else:
        size = 5 * int(np.prod([(n - 3) // 2 + 1 for n in builder.shape[1:]]))
    options = {"per_channel": bool(rng.integers(2)), "quant": builder.low()}
    flat = builder.flatten(x)
    if seed % 5 == 4:
        x = builder.mat_mul(flat, size, 11, **options)
    else:
        x = builder.gemm(flat, size, 11, bool(seed % 2), seed % 4 == 2,
                         bias=("int32", "float", "none")[seed % 3], **options)
    graph, _ = compare(builder, builder.gemm(x, 11, 6, bool(rng.integers(2))))
    assert [node.weights.shape[0] for node in graph.nodes if hasattr(node, "weights")] == [5, 11, 6]


@pytest.mark.parametrize("opset", [10, 12, 13, 17])
@pytest.mark.parametrize("limits", [(0, None), (0, 6), (-9, 6), (0, 3)])
def test_limits_that_the_quantization_implies(opset, limits):
    """Relu and Clip, attributes or inputs, behind a Conv, Add and AveragePool."""
    builder = FormBuilder("qdq", seed=opset, opset=opset)
    top = limits[1] or 12
    quants = [builder.quant(share * top / 255, 0) for share in (1, 0.99, 0.9)]
    a = builder.conv(builder.input(), 6, 3, quant=quants[0], limits=limits, per_channel=False)
    b = builder.apply("Add", [a, a], quants[1], 6, limits)
    b = builder.apply("AveragePool", [b], quants[2], 6, limits, kernel_shape=[2, 2])
    graph, _ = compare(builder, b)
    assert all(getattr(node, "clip", None) is None for node in graph.nodes)


@pytest.mark.parametrize("before, behind, limits, kinds", [
    ((0.05, 100), (0.05, 100), (0, None), ["Conv"]),
    ((0.05, 100), (0.05, 100), (0, 4), ["Conv", "Conv"]),
    ((0.05, 100), (0.03, 0), (0, None), ["Conv", "Concat"]),
    ((0.05, 100), (0.03, 50), (0, None), ["Conv", "Concat"]),
    ((0.05, 100), (0.03, 50), (0, 4), ["Conv", "Conv", "Concat"]),
    ((0.05, 0), (0.05, 0), (0, None), ["Conv"]),
    ((0.05, 0), (0.05, 0), (0, 4), ["Conv", "Conv"]),
    ((0.05, 0), (0.02, 0), (0, 6), ["Conv", "Concat"]),
    ((0.05, 0), (0.02, 0), (0, 3), ["Conv", "Conv", "Concat"])])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("where", ["conv", "shared", "pool", "add"])
def test_limits_between_quantizations(before, behind, limits, kinds, signed, where):
    """As quantizers for symmetric activations write them: exact, and computed on integers."""
    builder = FormBuilder("qdq", (3, 30, 30), 5, signed)
    low = -128 if signed else 0
    first, second = (builder.quant(scale, low + zero) for scale, zero in (before, behind))
    x = builder.conv(builder.input(), 8, quant=first)
    if where == "pool":
        x = builder.max_pool(x)
    if where == "add":
        x = builder.add(builder.conv(x, 8, 1, quant=first), x, first)
    limited = builder.limited(x, limits)
    result = builder.quantized(limited, second)
    outputs = [x, result] if where == "shared" else [result]
    graph, _ = compare(builder, *outputs, fused={
        builder.own(x)[0].replace("scale", "q"), f"{limited}_q"})
    if where == "conv":
        assert [type(node).__name__ for node in graph.nodes[1:-1]] == kinds


@pytest.mark.parametrize("signed", [False, True])
def test_add_with_a_relu_that_stays_in_float(signed):
    """Scales with exact ties, on which onnxruntime's two kinds of Add differ."""
    builder = FormBuilder("qdq", (16, 40, 40), 3, signed)
    zero = 3 if signed else 131
    x = builder.input(builder.quant(0.1, zero))
    y = builder.max_pool(x, (1, 1), (1, 1))
    other = builder.average_pool(y, builder.quant(0.05, zero), kernel_shape=[3, 3],
                                 pads=[1, 1, 1, 1])
    graph, _ = compare(builder, builder.add(y, other, builder.quant(0.2, zero + 1), True))
    node = next(node for node in graph.nodes if type(node).__name__ == "Add")
    assert node.in_float
    got = golden.run(graph, builder.image())
    a, b = (got[name] for name in node.inputs)
    quants = [graph.tensors[name].quant for name in (*node.inputs, node.output)]
    fused = golden.operators.add(a, b, *quants, relu=True)
    assert (fused != got[node.output]).any()


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
@pytest.mark.parametrize("bias", ["int32", "float", "none"])
@pytest.mark.parametrize("seed", range(4))
def test_fully_connected_tail_in_float(op, bias, seed):
    """Without a QuantizeLinear behind it: the host's, from the integers of the map."""
    builder = FormBuilder("qdq", (3, 9, 9), seed, bool(seed % 2))
    flat = builder.flatten(builder.conv(builder.input(), 8, 3, (2, 2)))
    options = {"per_channel": seed > 1}
    if op == "Gemm":
        builder.gemm(flat, 128, 10, bias=bias, **options)
    else:
        builder.mat_mul(flat, 128, 10, **options)
    del builder.nodes[-2:]  # Q and DQ
    result = builder.node("Softmax", [f"{op.lower()}3"], "scores")
    model, image = builder.model(f"{op.lower()}3", result), builder.image()
    graph = import_proto(model)
    assert [type(node).__name__ for node in graph.nodes] == ["Input", "Conv", "HostOp", "HostOp"]
    got, expected = golden.run(graph, image), reference.run(model, image)
    logits = f"{op.lower()}3"
    if op == "MatMul" or bias != "float":
        np.testing.assert_array_equal(got[logits], expected[logits])
    np.testing.assert_allclose(got[logits], expected[logits], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got["scores"], expected["scores"], rtol=1e-3, atol=1e-6)
    assert "weights:int16[10,128]" in str(graph)


def test_operator_gemm_with_a_float_result():
    builder = FormBuilder("operator", (3, 9, 9), 3)
    builder.gemm(builder.flatten(builder.conv(builder.input(), 8)), 392, 10)
    model, image = builder.model("gemm3_q"), builder.image()
    del model.graph.node[-1].input[7:]
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    got, expected = golden.run(import_proto(model), image), reference.run(model, image)
    np.testing.assert_array_equal(got["gemm3_q"], expected["gemm3_q"])
    assert got["gemm3_q"].dtype == np.float32 and len(np.unique(got["gemm3_q"])) > 5


@pytest.mark.parametrize("kind", ["MaxPool", "Concat", "GlobalAveragePool"])
def test_relu_without_quantizers_behind(kind):
    """As the QOperator quantizer writes it: a float Relu, then something, then a QuantizeLinear."""
    builder = FormBuilder("qdq", (3, 14, 14), 8)
    x = builder.conv(builder.input(), 8, quant=builder.quant(0.05, 100))
    y = builder.node("Relu", [x], "limited")
    attributes = {"MaxPool": {"kernel_shape": [3, 3]}, "Concat": {"axis": 1}}.get(kind, {})
    inputs = [y, y] if kind == "Concat" else [y]
    builder.channels["moved"] = 8 * len(inputs)
    moved = builder.node(kind, inputs, "moved", **attributes)
    if kind == "GlobalAveragePool":  # float, and so the host's
        graph = import_proto(builder.model(moved))
        image = builder.image()
        got, expected = golden.run(graph, image), reference.run(builder.model(moved), image)
        np.testing.assert_allclose(got["moved"].reshape(-1), expected["moved"].reshape(-1), 1e-5)
        assert graph.nodes[1].relu
        return
    compare(builder, builder.quantized(moved, builder.quant(0.03, 20)), fused={"conv1_q"})


def test_pool_that_changes_the_quantization():
    builder = FormBuilder("qdq")
    x = builder.conv(builder.input(), 8)
    builder.channels["pool"] = 8
    pool = builder.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2])
    graph, _ = compare(builder, builder.quantized(pool, builder.quant()))
    assert [type(node).__name__ for node in graph.nodes[1:-1]] == ["Conv", "MaxPool", "Concat"]


def kernels(model):
    """The operators that onnxruntime runs."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options,
                                     providers=["CPUExecutionProvider"])
        optimized = onnx.load(options.optimized_model_filepath)
    return {node.op_type for node in optimized.graph.node}


def twice_quantized(builder):
    x = builder.conv(builder.input(), 8)
    names = builder.parameters("second", builder.quants[x])
    builder.node("QuantizeLinear", ["conv1", *names], "second_q")
    builder.node("DequantizeLinear", ["second_q", *names], "second_dq")
    return builder.add(x, builder._remember("second_dq", builder.quants[x], 8))


NOTED = {
    "nothing": (lambda b: b.conv(b.input(), 8), ""),
    "Relu": (lambda b: b.conv(b.input(), 8, limits=(0, None), quant=b.quant(0.05, 9)), "Relu"),
    "Clip": (lambda b: b.conv(b.input(), 8, limits=(0, 6), quant=b.quant(0.05, 0)), "Clip"),
    "types": (lambda b: b.conv(b.input(), 8, quant=b.quant(signed=True)), "its output int8"),
    "types of a Gemm": (lambda b: b.gemm(b.flatten(b.input()), 432, 5, quant=b.quant(signed=True)),
                        "its output int8"),
    "weights": (lambda b: b.conv(b.input(b.quant(signed=True)), 8, unsigned=True,
                                 quant=b.quant(signed=True)), "its weights are uint8"),
    "two quantizers": (twice_quantized, "two QuantizeLinear"),
}


@pytest.mark.parametrize("case", NOTED)
def test_notes_tell_what_onnxruntime_computes_in_float(case):
    build, reason = NOTED[case]
    builder = FormBuilder("qdq", seed=4)
    model = builder.model(build(builder))
    graph = import_proto(model)
    in_float = bool(kernels(model) & {"Conv", "FusedConv", "Gemm"})
    assert in_float == bool(graph.notes) == bool(reason)
    assert all(reason in note for note in graph.notes)
    image = builder.image()
    got, expected = golden.run(graph, image), reference.run(model, image)
    for name in got.keys() & expected.keys():
        difference = got[name].astype(float) - expected[name].reshape(got[name].shape)
        assert got[name].dtype == np.float32 or np.abs(difference).max() <= 1


def chain(steps, zero_point):
    """A Conv and float operators behind it, with quantizers only where `Q` says so."""
    builder = FormBuilder("qdq", (3, 14, 14), 1)
    builder.conv(builder.input(), 8)
    del builder.nodes[-2:]
    tensor, channels = "conv1", 8
    for index, step in enumerate(steps.split()):
        builder.channels[tensor] = channels
        if step == "Q":
            tensor = builder.quantized(tensor, builder.quant(0.05, zero_point))
        elif step in ("Relu", "Clip"):
            tensor = builder.limited(tensor, (0, None) if step == "Relu" else (0, 6))
        else:
            inputs = [tensor] * (2 if step == "Concat" else 1)
            channels *= len(inputs)
            attributes = {"MaxPool": {"kernel_shape": [2, 2]}, "Concat": {"axis": 1},
                          "AveragePool": {"kernel_shape": [2, 2]}}.get(step, {})
            tensor = builder.node(step, inputs, f"step{index}", **attributes)
    return builder, builder.model(tensor)


@pytest.mark.parametrize("zero_point", [0, 60])
@pytest.mark.parametrize("steps", [
    "Relu MaxPool Q", "MaxPool Relu Q", "Relu Concat Q", "Concat Relu Q", "Relu MaxPool Concat Q",
    "Dropout Relu Q", "AveragePool Q", "Q MaxPool Relu Q", "Q AveragePool Relu Q", "Clip MaxPool Q",
    "Q Relu AveragePool Q", "Q Relu GlobalAveragePool Q", "Q Relu MaxPool Q", "Q Concat MaxPool Q",
    "Q MaxPool AveragePool Q", "Q MaxPool Concat Q", "Relu Relu Q", "Relu Clip Q", "Q Relu Clip Q",
    "Q Relu Relu Q", "Q GlobalAveragePool Relu Q", "Q MaxPool MaxPool Q", "Q Clip Concat Q"])
def test_chains(steps, zero_point):
    """Exact where onnxruntime computes in integers, noted where it does not, or refused."""
    builder, model = chain(steps, zero_point)
    try:
        graph = import_proto(model)
    except UserError as error:
        assert kernels(model) & {"Conv", "AveragePool", "GlobalAveragePool", "Relu"}, error
        return
    assert bool(graph.notes) == bool(kernels(model) & {"Conv", "FusedConv"})
    image = builder.image()
    got, expected = golden.run(graph, image), reference.run(model, image)
    names = [name for name in got.keys() & expected.keys() if got[name].dtype != np.float32]
    assert len(names) > 1
    for name in names:
        difference = np.abs(got[name].astype(int) - expected[name].reshape(got[name].shape))
        assert difference.max() <= bool(graph.notes), name
