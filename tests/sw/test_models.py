"""The SqueezeNet family: counts of the paper, equality with published models, bad input."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sw.errors import UserError
from sw.graph import Concat, Conv
from sw.importer import import_proto
from sw.models import (
    FAMILY,
    Architecture,
    constant_ranges,
    float_model,
    load_parameters,
    measured_ranges,
    parameter_shapes,
    quantized,
    random_parameters,
)
from sw.models.__main__ import main
from tests.data import data_file

SMALL = {"input_size": 33, "classes": 7, "base_e": 16, "incr_e": 16, "conv1_filters": 12}
MEMBERS = {
    **{name: architecture.replace(**SMALL) for name, architecture in FAMILY.items()},
    "wide": Architecture(**SMALL, squeeze_ratio=1, share_3x3=99, fires=4, pool_after=(1, 4)),
    "residual-cifar": FAMILY["squeezenet-cifar"].replace(**SMALL, bypass="complex",
                                                         softmax=False),
}


def built(architecture, seed=0):
    return float_model(architecture, random_parameters(architecture, seed))


def run(model, image):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def pixels(model, seed=0):
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(seed).uniform(-128, 127, shape).astype(np.float32)


# Counts


@pytest.mark.parametrize("name, weights, biases, macs", [
    ("squeezenet1.0", 1_244_448, 3_976, 861_339_936),
    ("squeezenet1.1", 1_231_552, 3_944, 349_151_936),
    ("squeezenet1.0-simple-bypass", 1_244_448, 3_976, 861_339_936),
    # 1x1 convolutions 96-128, 128-256, 256-384, 384-512
    ("squeezenet1.0-complex-bypass", 1_244_448 + 339_968, 3_976 + 1_280, 1_212_625_184),
])
def test_counts_of_the_paper(name, weights, biases, macs):
    architecture = FAMILY[name]
    assert architecture.weights == weights
    assert architecture.parameters == weights + biases
    assert architecture.macs == macs


def test_fire_modules_of_the_paper():
    found = [FAMILY["squeezenet1.0"].fire_filters(index) for index in range(8)]
    assert found == [(16, 64, 64)] * 2 + [(32, 128, 128)] * 2 + [(48, 192, 192)] * 2 + \
        [(64, 256, 256)] * 2


@pytest.mark.parametrize("ratio, share, mebibytes", [
    (0.125, 50, 4.8), (0.5, 50, 13), (0.5, 1, 5.6), (0.5, 99, 20)])
def test_model_sizes_of_figure_3(ratio, share, mebibytes):
    architecture = Architecture(squeeze_ratio=ratio, share_3x3=share)
    assert architecture.parameters * 4 / 2**20 == pytest.approx(mebibytes, rel=0.02)


@pytest.mark.parametrize("share, filters", [(1, (2, 15, 1)), (99, (2, 1, 15)), (25, (2, 12, 4)),
                                            (40, (2, 10, 6))])
def test_there_is_at_least_one_filter_of_each_kind(share, filters):
    assert Architecture(**SMALL, share_3x3=share).fire_filters(0) == filters


# Graphs


@pytest.mark.parametrize("name", MEMBERS)
def test_graph_is_valid_and_as_described(name):
    architecture = MEMBERS[name]
    model = built(architecture)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
              for value in (*inferred.graph.value_info, *inferred.graph.output)}
    for layer in architecture.layers():
        assert shapes[layer.name] == (1, *layer.shape), layer
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    assert sizes == parameter_shapes(architecture)
    norms = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
    convs = sum(node.op_type == "Conv" for node in model.graph.node)
    assert norms == (convs - 1 if architecture.batch_norm else 0)


def test_bypasses_lead_around_the_fire_modules_of_the_paper():
    def around(name):
        return {node.name: node.input[0] for node in built(FAMILY[name].replace(
            input_size=33)).graph.node if node.op_type == "Add"}

    simple = {"fire3/add": "fire2/concat", "fire5/add": "pool4", "fire7/add": "fire6/concat",
              "fire9/add": "pool8"}
    assert around("squeezenet1.0") == {}
    assert around("squeezenet1.0-simple-bypass") == simple
    assert around("squeezenet1.0-complex-bypass") == {
        **{f"fire{index}/add": f"fire{index}/bypass1x1" for index in (2, 4, 6, 8)},
        "fire3/add": "fire2/add", "fire5/add": "pool4", "fire7/add": "fire6/add",
        "fire9/add": "pool8"}


def published(name):
    model = onnx.load(data_file(name))
    return model, {tensor.name: numpy_helper.to_array(tensor)
                   for tensor in model.graph.initializer}


def test_v1_1_equals_the_published_model():
    reference, arrays = published("squeezenet1.1_fp32.onnx")
    names = {f"{name[:-4]}.{'weight' if name[-3] == 'w' else 'bias'}": values
             for name, values in arrays.items()}
    image = pixels(reference)
    assert np.array_equal(run(float_model(FAMILY["squeezenet1.1"], names), image),
                          run(reference, image))


def test_v1_0_equals_the_published_model():
    reference, arrays = published("squeezenet1.0_deepcompressed_fp32.onnx")
    architecture = FAMILY["squeezenet1.0"].replace(softmax=False)
    names = dict(zip(parameter_shapes(architecture), arrays.values(), strict=True))
    image = pixels(reference)
    assert np.array_equal(run(float_model(architecture, names), image), run(reference, image))


# Parameters


@pytest.mark.parametrize("name", FAMILY)
def test_random_parameters_keep_the_range_of_the_activations(name):
    """Of an input of -128 to 127; sums grow from bypass to bypass."""
    pytest.importorskip("onnxruntime")
    architecture = FAMILY[name].replace(input_size=48)
    ranges = measured_ranges(built(architecture))
    for layer in architecture.layers():
        if layer.op != "Softmax":
            low, high = ranges[layer.name]
            assert 10 < max(-low, high) < 40_000, layer.name


def test_the_seed_decides():
    architecture = MEMBERS["squeezenet1.1"]
    first, same, other = (built(architecture, seed).SerializeToString() for seed in (3, 3, 4))
    assert first == same != other


def test_weights_from_a_file(tmp_path):
    architecture = MEMBERS["squeezenet-cifar"]
    parameters = random_parameters(architecture, 5)
    np.savez(tmp_path / "w.npz", **{name: values.astype(np.float64)
                                    for name, values in parameters.items()})
    loaded = load_parameters(architecture, tmp_path / "w.npz")
    assert list(loaded) == list(parameters)
    assert all(np.array_equal(loaded[name], parameters[name]) for name in parameters)


# The synthetic quantization


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", MEMBERS)
def test_quantized_is_near_the_float_model(name, shared):
    model = built(MEMBERS[name].replace(softmax=False), 1)
    result = quantized(model, 1, shared=shared)
    onnx.checker.check_model(result, full_check=True)
    image = pixels(model, 8)
    expected, found = run(model, image), run(result, image)
    assert np.corrcoef(expected.reshape(-1), found.reshape(-1))[0, 1] > 0.9
    graph = import_proto(result)
    convs = [node for node in graph.nodes if isinstance(node, Conv)]
    assert len(convs) == sum(node.op_type == "Conv" for node in model.graph.node)
    for node in graph.nodes:
        if isinstance(node, Concat):
            quants = {str(graph.tensors[each].quant) for each in (*node.inputs, node.output)}
            assert (len(quants) == 1) is shared


def test_sums_of_quantized_weights_fit_the_accumulator():
    """Inputs of 255 and weights of one sign: 4,608 products of 127 would take 28 bits."""
    architecture = Architecture(input_size=33, base_e=512, incr_e=0, fires=1, squeeze_ratio=1,
                                pool_after=(1,), classes=2)
    parameters = {name: np.abs(values) for name, values in
                  random_parameters(architecture).items()}
    model = float_model(architecture, parameters)
    graph = import_proto(quantized(model, ranges=constant_ranges(model)))
    for node in graph.nodes:
        if isinstance(node, Conv):
            sums = 255 * node.weights.astype(np.int64).sum((1, 2, 3)) + node.bias
            assert sums.max() < 1 << 23
            assert np.abs(node.weights).max() > 15


# The command line


def test_command_writes_a_model(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    assert main(["squeezenet1.1", "-o", str(path), "--input-size", "40", "--classes", "3",
                 "--squeeze-ratio", "0.5", "--share-3x3", "25", "--bypass", "simple",
                 "--pool-after", "1", "5", "--batch-norm", "--no-softmax", "--seed", "9"]) == 0
    architecture = FAMILY["squeezenet1.1"].replace(
        input_size=40, classes=3, squeeze_ratio=0.5, share_3x3=25.0, bypass="simple",
        pool_after=(1, 5), batch_norm=True, softmax=False)
    expected = float_model(architecture, random_parameters(architecture, 9), "squeezenet1.1")
    assert onnx.load(path) == expected
    assert f"{architecture.parameters:,} parameters" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_command_takes_weights_and_quantizes(tmp_path):
    pytest.importorskip("onnxruntime")
    architecture = MEMBERS["squeezenet1.1"]
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    np.savez(tmp_path / "w.npz", **random_parameters(architecture, 2))
    assert main(["squeezenet1.1", *arguments, "--weights", str(tmp_path / "w.npz"), "--quantized",
                 "-o", str(tmp_path / "model.onnx")]) == 0
    graph = import_proto(onnx.load(tmp_path / "model.onnx"))
    assert sum(isinstance(node, Conv) for node in graph.nodes) == 26


def test_names_are_listed(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = "".join(capsys.readouterr().out.replace("-\n", "-").split())
    for name in FAMILY:
        assert name in text


@pytest.mark.parametrize("arguments, message", [
    (["--squeeze-ratio", "0.1"], "squeeze-ratio 0.1: supported: 0.125 to 1"),
    (["--squeeze-ratio", "nan"], "squeeze-ratio nan"),
    (["--share-3x3", "0.5"], "share-3x3 0.5: supported: 1 to 99 percent"),
    (["--share-3x3", "100"], "share-3x3 100.0: supported"),
    (["--input-size", "0"], "input-size 0: supported: 1 to"),
    (["--input-size", "20"], "input-size 20: nothing is left behind pool8"),
    (["--classes", "0"], "classes 0"),
    (["--incr-e", "8000"], "parameters: supported: up to 500,000,000"),
    (["--pool-after", "10"], "pool-after (10,): supported: 1 to 9"),
    (["--seed", "-1"], "seed -1"),
    (["-o", "missing/model.onnx"], "cannot write missing/model.onnx"),
    (["--weights", "missing.npz"], "missing.npz: cannot be read"),
])
def test_bad_arguments(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["squeezenet1.0", "-o", "model.onnx", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not list(tmp_path.iterdir())


def _changed(arrays, kind):
    first, second = list(arrays)[:2]
    if kind == "missing":
        del arrays[second]
    elif kind == "unknown":
        arrays["conv99.weight"] = np.ones(3, np.float32)
    elif kind == "shape":
        arrays[first] = arrays[first][:, :, :1]
    elif kind == "integers":
        arrays[first] = arrays[first].astype(np.int8)
    elif kind == "nan":
        arrays[second][3] = np.nan
    elif kind == "large":
        arrays[second] = np.full(arrays[second].shape, 1e300)
    elif kind == "object":
        arrays[second] = np.array([None] * 3)
    elif kind == "variance":
        arrays["conv1.norm.variance"][0] = -1


@pytest.mark.parametrize("kind, message", [
    ("missing", "'conv1.norm.scale' is missing (1 of"),
    ("unknown", "'conv99.weight' is not a parameter of this network"),
    ("shape", "'conv1.weight' has shape [12, 3, 1, 3]; needed: [12, 3, 3, 3]"),
    ("integers", "'conv1.weight' has the type int8"),
    ("nan", "'conv1.norm.scale' holds values that are not finite"),
    ("large", "'conv1.norm.scale' holds values that are not finite"),
    ("object", "w.npz: a damaged .npz file"),
    ("variance", "'conv1.norm.variance' holds negative variances"),
    ("truncated", "w.npz: a damaged .npz file"),
    ("compressed", "w.npz: a damaged .npz file"),
    ("text", "w.npz: not an .npz file"),
])
def test_bad_weight_files(tmp_path, capsys, kind, message):
    path = tmp_path / "w.npz"
    arrays = random_parameters(MEMBERS["squeezenet-cifar"])
    _changed(arrays, kind)
    np.savez(path, **arrays)
    if kind == "compressed":
        np.savez_compressed(path, **arrays)
        data = bytearray(path.read_bytes())
        data[100:400] = bytes(300)
        path.write_bytes(data)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    if kind == "text":
        path.write_text("weights")
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    assert main(["squeezenet-cifar", *arguments, "--weights", str(path),
                 "-o", str(tmp_path / "model.onnx")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert [file.name for file in tmp_path.iterdir()] == ["w.npz"]


def test_parameters_must_fit():
    architecture = MEMBERS["squeezenet1.1"]
    with pytest.raises(UserError, match="is missing"):
        float_model(architecture, {})


def test_unknown_operators_are_not_quantized():
    model = built(MEMBERS["squeezenet1.1"])
    model.graph.node[0].op_type = "ConvTranspose"
    with pytest.raises(UserError, match="ConvTranspose 'conv1'"):
        quantized(model, ranges=constant_ranges(model))
