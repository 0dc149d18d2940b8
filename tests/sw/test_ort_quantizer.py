"""Models as onnxruntime's own quantizer writes them, with the options that change their form."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sim import reference
from sim.golden import graph as golden
from sw.graph import Conv
from sw.importer import import_model

quantization = pytest.importorskip("onnxruntime.quantization")


def float_model():
    """Conv, pool, Fire, Add of a Conv without bias, Dropout, classifier, average, Softmax."""
    rng = np.random.default_rng(0)
    nodes, constants = [], []

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(source, shape, output, pad=0, stride=1, bias=True, relu=True):
        weights = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"{output}_w"))
        inputs = [source, f"{output}_w"]
        if bias:
            values = (rng.normal(size=shape[0]) / 10).astype(np.float32)
            constants.append(numpy_helper.from_array(values, f"{output}_b"))
            inputs.append(f"{output}_b")
        node("Conv", inputs, output, pads=[pad] * 4, strides=[stride] * 2)
        return node("Relu", [output], f"{output}_relu") if relu else output

    x = conv("image", (16, 3, 3, 3), "conv1", stride=2)
    x = node("MaxPool", [x], "pool1", kernel_shape=[3, 3], strides=[2, 2])
    x = conv(x, (16, 16, 1, 1), "squeeze")
    parts = [conv(x, (16, 16, 1, 1), "expand1"), conv(x, (16, 16, 3, 3), "expand3", pad=1)]
    x = node("Concat", parts, "concat", axis=1)
    x = node("Add", [conv(x, (32, 32, 3, 3), "conv2", 1, bias=False, relu=False), x], "add")
    x = node("Dropout", [node("Relu", [x], "add_relu")], "dropout")
    x = node("GlobalAveragePool", [conv(x, (10, 32, 1, 1), "classes")], "average")
    node("Softmax", [node("Flatten", [x], "logits")], "scores", axis=1)
    graph = helper.make_graph(
        nodes, "float", [helper.make_tensor_value_info("image", 1, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("scores", 1, [1, 10])], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Batches(quantization.CalibrationDataReader):
    def __init__(self):
        self.batches = iter(
            {"image": np.random.default_rng(seed).normal(size=(1, 3, 32, 32)).astype(np.float32)}
            for seed in range(4))

    def get_next(self):
        return next(self.batches, None)


@pytest.mark.parametrize("options", [
    {}, {"ActivationSymmetric": True}, {"AddQDQPairToWeight": True}, {"QuantizeBias": False},
    {"DedicatedQDQPair": True}], ids=lambda options: next(iter(options), "default"))
@pytest.mark.parametrize("activations", ["QUInt8", "QInt8"])
def test_quantized_by_onnxruntime(tmp_path, options, activations):
    onnx.save(float_model(), tmp_path / "float.onnx")
    per_channel = activations == "QUInt8"
    path = tmp_path / "quantized.onnx"
    quantization.quantize_static(
        tmp_path / "float.onnx", path, Batches(), per_channel=per_channel,
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType[activations],
        weight_type=quantization.QuantType.QInt8, extra_options=options)
    graph = import_model(path)
    assert sum(isinstance(node, Conv) for node in graph.nodes) == 6
    image = np.random.default_rng(9).normal(size=(1, 3, 32, 32)).astype(np.float32)
    got, expected = golden.run(graph, image), reference.run(path, image)
    on_host = {"scores", "scores_QuantizeLinear_Output"}  # onnxruntime's Softmax is a table
    compared = set(got) & set(expected) - on_host
    for name in compared:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
    assert {f"{name}_QuantizeLinear_Output" for name in
            ("conv1_relu", "expand1_relu", "conv2", "add_relu", "average")} <= compared
    quant = graph.tensors["scores_QuantizeLinear_Output"].quant
    np.testing.assert_allclose(got["scores"], expected["scores"], atol=1.01 * quant.scale)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("activations", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("weights", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_operator_form_by_onnxruntime(tmp_path, symmetric, activations, weights, per_channel):
    """QLinearConv, QLinearAdd, QLinearConcat, QLinearGlobalAveragePool and QLinearSoftmax."""
    if activations == "QInt8" and weights == "QUInt8":
        pytest.skip("onnxruntime has no such QLinearConv")
    onnx.save(float_model(), tmp_path / "float.onnx")
    path = tmp_path / "quantized.onnx"
    quantization.quantize_static(
        tmp_path / "float.onnx", path, Batches(), per_channel=per_channel,
        quant_format=quantization.QuantFormat.QOperator,
        activation_type=quantization.QuantType[activations],
        weight_type=quantization.QuantType[weights],
        extra_options={"ActivationSymmetric": symmetric})
    graph = import_model(path)
    assert sum(isinstance(node, Conv) for node in graph.nodes) >= 6
    image = np.random.default_rng(9).normal(size=(1, 3, 32, 32)).astype(np.float32)
    got, expected = golden.run(graph, image), reference.run(path, image)
    compared = {name for name in set(got) & set(expected) if "scores" not in name}
    for name in compared:
        np.testing.assert_array_equal(got[name].reshape(expected[name].shape), expected[name],
                                      err_msg=name)
    assert len(compared) >= 9, sorted(expected)
