"""Every model that cannot be taken gives one clear line with file and node, never a traceback."""

import re
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from sim import reference
from sim.golden import graph as golden
from sw.compile import main as compile_main
from sw.errors import UserError
from sw.importer import import_model, import_proto
from tests.broken import Broken
from tests.data import data_file
from tests.forms import FormBuilder
from tests.models import ModelBuilder
from tests.mutations import mutated


def refused(model):
    with pytest.raises(UserError) as info:
        import_proto(model, "broken.onnx")
    message = str(info.value)
    assert "\n" not in message and message.startswith("broken.onnx: ")
    return message


def test_the_sound_model_is_taken():
    import_proto(Broken().model)


CASES = {
    "unsupported operator": (
        lambda b: setattr(b.node("Flatten"), "op_type", "LRN"), "LRN 'result_Flatten': operator"),
    "foreign domain": (
        lambda b: setattr(b.node("Conv"), "domain", "com.example"), "domain 'com.example'"),
    "unknown attribute": (lambda b: b.attribute("Conv", "fancy", 1), "attribute 'fancy'"),
    "group": (lambda b: b.attribute("Conv", "group", 2),
              "Conv 'conv1_Conv': its weights take 6 channels"),
    "uneven group": (lambda b: b.attribute("Conv", "group", 3), "16 channels in 3 groups"),
    "group 0": (lambda b: b.attribute("Conv", "group", 0), "16 channels in 0 groups"),
    "group as list": (lambda b: b.attribute("Conv", "group", [1]), "'group' is not an integer"),
    "dilations": (lambda b: b.attribute("Conv", "dilations", [0, 2]), r"dilations \[0, 2\]"),
    "too much dilation": (lambda b: b.attribute("Conv", "dilations", [9, 9]), "larger than its"),
    "pool dilations": (lambda b: b.attribute("MaxPool", "dilations", [2, 2]), r"dilations \[2, 2"),
    "strides": (lambda b: b.attribute("Conv", "strides", [0, 1]), r"strides \[0, 1\]"),
    "strides of one axis": (lambda b: b.attribute("Conv", "strides", [1]), r"strides \[1\]"),
    "strides as number": (lambda b: b.attribute("Conv", "strides", 2), "list of integers"),
    "negative pads": (lambda b: b.attribute("Conv", "pads", [0, 0, -1, 0]), "pads"),
    "auto_pad": (lambda b: b.attribute("Conv", "auto_pad", "SOME"), "auto_pad 'SOME'"),
    "kernel_shape": (lambda b: b.attribute("Conv", "kernel_shape", [5, 5]), "kernel_shape"),
    "pool pads": (
        lambda b: b.attribute("MaxPool", "pads", [3, 0, 0, 0]), "not smaller than the kernel"),
    "pool larger than map": (
        lambda b: b.attribute("MaxPool", "kernel_shape", [30, 30]), "larger than its input"),
    "pool storage order": (lambda b: b.attribute("MaxPool", "storage_order", 1), "storage_order"),
    "pool indices": (
        lambda b: (b.node("MaxPool").output.append("indices"),
                   b.graph.output.append(helper.make_tensor_value_info("indices", 7, None))),
        "second output"),
    "concat axis": (lambda b: b.attribute("Concat", "axis", 2), "axis 2"),
    "negative scale": (
        lambda b: b.constant("conv1_relu_scale", np.float32(-1)), "scale is -1.0"),
    "zero scale": (lambda b: b.constant("image_scale", np.float32(0)),
                   "image_q_Quantize.*scale is 0.0"),
    "NaN scale": (lambda b: b.constant("pool2_scale", np.float32(np.nan)), "scale is nan"),
    "zero weight scale": (
        lambda b: b.constant("conv1_ws", np.zeros(16, np.float32)), "scale is 0.0"),
    "double scale": (lambda b: b.constant("image_scale", 1.0), "float64"),
    "scale per channel of an activation": (
        lambda b: (b.constant("image_scale", np.ones(3, np.float32)),
                   b.constant("image_zero", np.zeros(3, np.uint8))), "3 scales"),
    "zero points and scales": (
        lambda b: b.constant("image_zero", np.zeros(3, np.uint8)), "3 zero points and 1 scales"),
    "16-bit activations": (
        lambda b: b.constant("image_zero", np.uint16(7)), "uint16"),
    "DequantizeLinear of another scale": (
        lambda b: b.node("DequantizeLinear", 0).input.__setitem__(1, "pool2_scale"),
        "which was written as"),
    "scale computed at run time": (
        lambda b: b.node("QuantizeLinear").input.__setitem__(1, "image"), "not a constant"),
    "weights and zero point": (
        lambda b: b.constant("conv1_wz", np.zeros(16, np.uint8)), "their zero point uint8"),
    "int16 weights": (
        lambda b: (b.constant("conv1_wq", b.value("conv1_wq").astype(np.int16)),
                   b.constant("conv1_wz", np.zeros(16, np.int16))), "weights are int16"),
    "empty weights": (
        lambda b: b.constant("conv1_wq", np.zeros((0, 3, 3, 3), np.int8)), r"shape \[0, 3"),
    "plain weights": (
        lambda b: b.node("Conv").input.__setitem__(1, "conv1_wq"), "has plain int8 weights"),
    "NaN weights": (
        lambda b: (b.constant("conv1_wf", np.full((16, 3, 3, 3), np.nan, np.float32)),
                   b.insert("QuantizeLinear", ["conv1_wf", "conv1_ws", "conv1_wz"], "conv1_wn",
                            axis=0),
                   b.reader("conv1_wq").input.__setitem__(0, "conv1_wn")),
        "QuantizeLinear 'conv1_wn': its constant 'conv1_wf' is not finite"),
    "NaN bias": (
        lambda b: (b.constant("nan", np.full(16, np.nan, np.float32)),
                   b.node("Conv").input.__setitem__(2, "nan")),
        "Conv 'conv1_Conv': its bias is not finite"),
    "infinite scale": (
        lambda b: b.constant("conv1_ws", np.full(16, np.inf, np.float32)), "scale is inf"),
    "missing scale": (
        lambda b: b.node("QuantizeLinear").input.__delitem__(slice(1, 3)),
        "1 of its first 2 inputs are given"),
    "scale of two dimensions": (
        lambda b: b.constant("pool2_scale", np.ones((1, 1), np.float32)), r"shape \[1, 1\]"),
    "half-precision scale": (
        lambda b: b.constant("pool2_scale", np.float16(1)), "its scale is float16"),
    "zero point is float": (
        lambda b: b.constant("pool2_zero", np.float32(0)), "its integers are float32"),
    "zero point computed": (
        lambda b: b.node("QuantizeLinear").input.__setitem__(2, "image"), "not a constant"),
    "weights of one dimension": (
        lambda b: b.constant("conv1_wq", np.ones((16, 3, 3), np.int8)), "3 dimensions"),
    "weights for other channels": (
        lambda b: b.constant("conv1_wq", np.ones((16, 4, 3, 3), np.int8)), "take 4 channels"),
    "weight scales": (
        lambda b: (b.constant("conv1_ws", np.ones(5, np.float32)),
                   b.constant("conv1_wz", np.zeros(5, np.int8))), "5 weight scales"),
    "bias length": (lambda b: b.constant("conv1_bq", np.ones(5, np.int32)), r"shape \[5\]"),
    "bias type": (lambda b: b.constant("conv1_bq", np.ones(16, np.int8)), "bias is int8"),
    "bias scale": (
        lambda b: b.constant("conv1_bs", np.float32(7) * b.value("conv1_bs")), "bias scale"),
    "sums beyond int32": (
        lambda b: b.constant("conv1_bq", np.full(16, 2**31 - 1, np.int32)), "fits int32"),
    "multiplier overflow": (
        lambda b: (b.constant("image_scale", np.full(1, 1e30, np.float32)),
                   b.constant("conv1_ws", np.full(16, 1e30, np.float32)),
                   b.constant("conv1_bq", np.zeros(16, np.int32))), "multipliers"),
    "missing initializer": (
        lambda b: b.remove(b.graph.initializer, "conv1_wq"), "'conv1_wq' is neither"),
    "damaged initializer": (
        lambda b: setattr(b.graph.initializer[2], "raw_data", b"123"), "'conv1_wq' is damaged"),
    "no quantizer behind a Conv": (
        lambda b: b.node("GlobalAveragePool").input.__setitem__(0, "add7"),
        "Add 'add7_Add': no QuantizeLinear behind"),
    "float Conv": (
        lambda b: b.node("Conv").input.__setitem__(0, "image"),
        "no QuantizeLinear behind its input"),
    "Add of the float input": (
        lambda b: b.node("Add").input.__setitem__(0, "image"), "'image' is not quantized"),
    "tail on a float value": (
        lambda b: b.node("Flatten").input.__setitem__(0, "add7"), "no QuantizeLinear behind"),
    "cycle": (lambda b: b.node("Conv").input.__setitem__(0, "pool2_dq"), "cycle"),
    "node that reads itself": (
        lambda b: b.node("MaxPool").input.__setitem__(0, "pool2"), "'pool2_MaxPool'.* a cycle"),
    "constant quantized between": (
        lambda b: b.node("QuantizeLinear", 3).input.__setitem__(0, "conv1_b"), "a constant"),
    "quantized twice": (
        lambda b: b.node("QuantizeLinear", 2).input.__setitem__(0, "conv1_relu_q"),
        "quantized already"),
    "BatchNormalization": (
        lambda b: setattr(b.node("MaxPool"), "op_type", "BatchNormalization"),
        "BatchNormalization 'pool2_MaxPool': operator"),
    "Resize": (lambda b: setattr(b.node("MaxPool"), "op_type", "Resize"), "operator Resize"),
    "If": (lambda b: setattr(b.node("MaxPool"), "op_type", "If"), "operator If"),
    "ConvInteger": (
        lambda b: setattr(b.node("Conv"), "op_type", "ConvInteger"), "operator ConvInteger"),
    "DynamicQuantizeLinear": (
        lambda b: setattr(b.node("QuantizeLinear"), "op_type", "DynamicQuantizeLinear"),
        "operator DynamicQuantizeLinear"),
    "Transpose of an activation": (
        lambda b: (setattr(b.node("Flatten"), "op_type", "Transpose")),
        "Transpose 'result_Flatten': Transpose is supported on constants only"),
    "Cast of an activation": (
        lambda b: (setattr(b.node("Flatten"), "op_type", "Cast")),
        "Cast 'result_Flatten': Cast is supported on constants only"),
    "Cast to text": (
        lambda b: (b.insert("Cast", ["conv1_bq"], "text", to=TensorProto.STRING),
                   b.reader("conv1_bq").input.__setitem__(0, "text")), "Cast 'text': it casts"),
    "mixed layouts": (
        lambda b: (b.dims(1, 12, 12, 3),
                   b.insert("Transpose", ["image"], "turned", perm=[0, 3, 1, 2]),
                   b.node("QuantizeLinear").input.__setitem__(0, "turned")),
        "no QuantizeLinear behind its input 'image', but Transpose 'turned'"),
    "channels last": (lambda b: b.dims(1, 12, 12, 3), "its input has 12"),
    "half-precision input": (lambda b: b.kind(TensorProto.FLOAT16), "'image' is float16"),
    "integer input that is quantized": (lambda b: b.kind(TensorProto.UINT8), "is uint8 already"),
    "text input": (lambda b: b.kind(TensorProto.STRING), "'image' is string"),
    "input of an unknown type": (lambda b: b.kind(99), "'image' is type 99"),
    "concat without axis": (lambda b: b.node("Concat").ClearField("attribute"), "axis None"),
    "text as axis": (lambda b: b.attribute("Concat", "axis", "C"), "'axis' is not an integer"),
    "number as auto_pad": (lambda b: b.attribute("Conv", "auto_pad", 3), "is not a text"),
    "negative dimension": (
        lambda b: b.initializer("conv1_wq").dims.__setitem__(0, -16), "'conv1_wq' is damaged"),
    "enormous dimension": (
        lambda b: b.initializer("conv1_wq").dims.__setitem__(0, 2**40), "'conv1_wq' is damaged"),
    "external data in memory": (
        lambda b: b.external("weights.bin"), "'conv1_w_Deq.*'conv1_wq' is external data"),
    "defined twice": (
        lambda b: b.node("MaxPool").output.__setitem__(0, "conv1"), "defined twice"),
    "no output": (lambda b: b.graph.output.pop(), "no output"),
    "unknown output": (lambda b: setattr(b.graph.output[0], "name", "nowhere"), "'nowhere'"),
    "output in the quantized part": (
        lambda b: b.graph.output.append(helper.make_tensor_value_info("add7", 1, None)),
        "'add7' is a float value before"),
    "dynamic size": (lambda b: b.dims(1, 3, "height", 12), "dynamic dimension 'height'"),
    "dynamic batch": (lambda b: b.dims("N", 3, 12, 12), "dynamic dimension 'N'"),
    "batch": (lambda b: b.dims(4, 3, 12, 12), "batch 4"),
    "vector input": (lambda b: b.dims(1, 3), r"shape \[1, 3\]"),
    "two inputs": (
        lambda b: b.graph.input.append(helper.make_tensor_value_info("more", 1, [1])),
        "2 inputs"),
    "old opset": (lambda b: setattr(b.model.opset_import[0], "version", 9), "opset 9"),
    "future opset": (lambda b: setattr(b.model.opset_import[0], "version", 99), "opset 99"),
    "no opset": (lambda b: b.model.opset_import.pop(), "no opset"),
    "no nodes": (lambda b: b.graph.ClearField("node"), "no nodes"),
    "add of a constant": (
        lambda b: (b.constant("one", np.ones((1, 16, 1, 1), np.float32)),
                   b.node("Add").input.__setitem__(1, "one")), "'one' is a constant"),
    "add of other shapes": (
        lambda b: b.node("Add").input.__setitem__(1, "conv1_relu_dq"), "equal shapes"),
    "Relu elsewhere": (
        lambda b: (b.insert("Relu", ["result"], "clipped"),
                   setattr(b.graph.output[0], "name", "clipped")),
        "Relu 'clipped': a Relu directly behind .* it reads Flatten 'result_Flatten'"),
    "Relu of the image": (
        lambda b: (b.insert("Relu", ["image"], "clipped"),
                   b.node("QuantizeLinear").input.__setitem__(0, "clipped")),
        "Relu 'clipped': .* it reads the input"),
    "Conv without weights": (
        lambda b: b.node("Conv").input.__delitem__(slice(1, 3)), "1 of its first 2 inputs"),
    "flatten axis": (lambda b: b.attribute("Flatten", "axis", 9), "axis 9"),
    "reshape": (
        lambda b: (setattr(b.node("Flatten"), "op_type", "Reshape"),
                   b.constant("new", np.int64([7, 7])),
                   b.node("Reshape").input.append("new")), "does not fit"),
    "reshape computed": (
        lambda b: (setattr(b.node("Flatten"), "op_type", "Reshape"),
                   b.node("Reshape").input.append("image")), "not a constant of integers"),
    "block quantization": (
        lambda b: b.attribute("QuantizeLinear", "block_size", 16), "blocks"),
}


@pytest.mark.parametrize("case", CASES)
def test_broken(case):
    change, pattern = CASES[case]
    broken = Broken()
    change(broken)
    message = refused(broken.model)
    assert re.search(pattern, message), message


def test_concat_of_different_maps():
    builder = ModelBuilder()
    source = builder.input()
    parts = [builder.conv(source, 8), builder.conv(source, 8, pads=(1, 1, 1, 1))]
    assert "maps of different sizes" in refused(builder.model(builder.concat(parts)))


def test_add_of_different_types():
    builder = ModelBuilder()
    source = builder.input()
    parts = [builder.conv(source, 8, quant=builder.quant(signed=signed)) for signed in (0, 1)]
    assert "of one type" in refused(builder.model(builder.add(*parts)))


def test_requantization():
    builder = ModelBuilder()
    conv = builder.conv(builder.input(), 8)
    output = builder.quantized(builder.node("Dropout", [conv], "dropped"), builder.quant())
    assert "changes the quantization of 'conv1_q'" in refused(builder.model(output))


def test_accelerated_operator_behind_the_tail():
    builder = ModelBuilder()
    average = builder.average(builder.conv(builder.input(), 8))
    new = builder.constant("new", np.int64([1, 8, 1, 1]))
    shaped = builder.quantized(builder.node("Reshape", [average, new], "shaped"),
                               builder.quants[average])
    builder.channels[shaped] = 8
    assert "computed on the host" in refused(builder.model(builder.conv(shaped, 8, 1)))


def test_dropout_in_training():
    builder = ModelBuilder()
    conv = builder.conv(builder.input(), 8)
    training = builder.constant("training", np.bool_(True))
    output = builder.node("Dropout", [conv, "", training], "dropped")
    assert "training mode" in refused(builder.model(output))


def test_float_model():
    nodes = [helper.make_node("Conv", ["image", "w"], ["a"], name="first"),
             helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("GlobalAveragePool", ["b"], ["c"])]
    graph = helper.make_graph(
        nodes, "float", [helper.make_tensor_value_info("image", 1, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("c", 1, None)],
        [numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")])
    message = refused(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]))
    assert message == ("broken.onnx: the model is not quantized: Conv 'first' has float weights; "
                       "firecore takes QDQ models: quantize it first")


def test_sparse_initializer():
    broken = Broken()
    broken.graph.sparse_initializer.add()
    assert "sparse" in refused(broken.model)



def test_real_float_model():
    with pytest.raises(UserError, match="is not quantized: Conv 'conv1_1' has float weights"):
        import_model(data_file("squeezenet1.1_fp32.onnx"))


def test_weights_are_tensors():
    """The table of cases really uses the kind of tensor it names."""
    assert Broken().value("conv1_wq").dtype == np.int8
    assert Broken().graph.initializer[2].name == "conv1_wq"
    assert Broken().graph.initializer[2].data_type == TensorProto.INT8


def operators(signed=False):
    """A model in QOperator form: Conv, MaxPool, AveragePool, Add, Concat, averages and a Gemm."""
    builder = FormBuilder("operator", signed=signed, opset=17)
    x = builder.conv(builder.input(), 16)
    pool = builder.max_pool(x)
    total = builder.add(pool, builder.average_pool(x, kernel_shape=[3, 3], strides=[2, 2]))
    joined = builder.concat([total, pool])
    result = builder.gemm(builder.flatten(builder.average(joined)), 32, 5)
    broken = Broken()
    broken.model = builder.model(result)
    broken.graph = broken.model.graph
    return broken


def test_the_sound_operators_are_taken():
    import_proto(operators().model)


OPERATORS = {
    "LeakyRelu": (
        lambda b: (setattr(b.node("QLinearAdd"), "op_type", "QLinearLeakyRelu"),
                   b.node("QLinearLeakyRelu").input.__delitem__(slice(5, 8))),
        "QLinearLeakyRelu 'add4_q_QLinearAdd': operator QLinearLeakyRelu is not supported"),
    "Mul": (lambda b: setattr(b.node("QLinearAdd"), "op_type", "QLinearMul"),
            "operator QLinearMul"),
    "contributed float operator": (
        lambda b: (setattr(b.node("MaxPool"), "op_type", "FusedConv"),
                   setattr(b.node("FusedConv"), "domain", "com.microsoft")),
        "FusedConv 'pool2_q_MaxPool': operator domain 'com.microsoft'"),
    "channels last": (
        lambda b: b.attribute("QLinearAveragePool", "channels_last", 1), "channels_last"),
    "inputs missing": (
        lambda b: b.node("QLinearConv").input.__delitem__(slice(6, 9)), "6 of its first 8 inputs"),
    "Concat inputs": (
        lambda b: b.node("QLinearConcat").input.pop(), "QLinearConcat .*7 inputs"),
    "alpha": (lambda b: b.attribute("QGemm", "alpha", 2.0), "QGemm 'gemm8_q_QGemm': alpha 2.0"),
    "transA": (lambda b: b.attribute("QGemm", "transA", 1), "transA"),
    "Conv without scale": (
        lambda b: b.node("QLinearConv").input.__setitem__(6, ""), "7 of its first 8 inputs"),
    "average without scale": (
        lambda b: b.node("QLinearGlobalAveragePool").input.__delitem__(slice(3, 5)),
        "one output with a scale"),
    "Gemm of other size": (
        lambda b: b.constant("gemm8_wq", np.ones((5, 31), np.int8)), "take 31 values"),
    "Gemm weights": (lambda b: b.constant("gemm8_wq", np.ones((5, 32, 1), np.int8)),
                     "3 dimensions; 2 are needed"),
    "Gemm of a map": (lambda b: b.node("QGemm").input.__setitem__(0, "concat5_q"), "disagree|map|"
                      "shape|written as"),
    "another scale": (
        lambda b: b.node("QLinearAdd").input.__setitem__(1, "averagepool3_scale"),
        "its integers|written as"),
    "pool between scales": (
        lambda b: b.node("QLinearAdd").input.__setitem__(0, "conv1_q"), "written as|equal shapes"),
    "zero scale": (
        lambda b: b.constant("add4_scale", np.float32(0)), "QLinearAdd 'add4_q.*scale is 0.0"),
    "NaN scale": (
        lambda b: b.constant("conv1_scale", np.float32(np.nan)),
        "'pool2_q_MaxPool': its scale is nan"),
    "scales of an activation": (
        lambda b: b.constant("conv1_scale", np.ones(3, np.float32)), "3 scales"),
    "bias type": (lambda b: b.constant("conv1_bq", np.ones(16, np.int8)), "its bias is int8"),
    "Add of a constant": (
        lambda b: (b.constant("one", np.ones((1, 16, 1, 1), np.uint8)),
                   b.node("QLinearAdd").input.__setitem__(3, "one")), "is a constant"),
    "types": (lambda b: b.constant("gemm8_zero", np.int8(0)),
              "QGemm 'gemm8_q_QGemm': its input is uint8, its output int8"),
    "wide integers": (lambda b: b.constant("add4_zero", np.uint16(3)), "uint16"),
    "Relu beside the zero point": (
        lambda b: (b.insert("Relu", ["gemm8_q"], "clipped"),
                   setattr(b.graph.output[0], "name", "clipped")),
        "Relu 'clipped': it clips integers at 0"),
    "Clip of integers": (
        lambda b: (b.insert("Clip", ["gemm8_q"], "clipped"),
                   setattr(b.graph.output[0], "name", "clipped")),
        "Clip 'clipped'"),
}


@pytest.mark.parametrize("case", OPERATORS)
def test_broken_operators(case):
    change, pattern = OPERATORS[case]
    broken = operators()
    change(broken)
    message = refused(broken.model)
    assert re.search(pattern, message), message


def test_int8_operators_with_uint8_weights():
    broken = operators(signed=True)
    broken.constant("conv1_wq", np.full((16, 3, 3, 3), 130, np.uint8))
    broken.constant("conv1_wz", np.full(16, 128, np.uint8))
    assert "its weights are uint8; onnxruntime does not" in refused(broken.model)


LIMITS = {
    "crossed": ((6, 0), "its limits are 6 and 0"), "equal": ((2, 2), "its limits are 2 and 2"),
    "NaN": ((np.nan, 6), "its limits are nan and 6"),
    "above zero": ((1, 6), "a lower limit of 1")}


@pytest.mark.parametrize("case", LIMITS)
def test_limits(case):
    limits, pattern = LIMITS[case]
    builder = FormBuilder("qdq")
    assert re.search(pattern, refused(builder.model(builder.conv(
        builder.input(), 8, quant=builder.quant(0.05, 0), limits=limits))))


def test_computed_limits():
    builder = FormBuilder("qdq")
    model = builder.model(builder.conv(builder.input(), 8, limits=(0, 6)))
    clip = next(node for node in model.graph.node if node.op_type == "Clip")
    clip.input[2] = "image"
    assert "Clip 'conv1_limited_Clip': its max 'image' is not a constant" in refused(model)


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "INT2", "FLOAT8E4M3FN", "FLOAT4E2M1"])
def test_small_types(kind):
    """Of weights, and of activations."""
    code = getattr(TensorProto, kind)
    for name, shape in (("conv1_wq", [16, 3, 3, 3]), ("pool2_zero", [])):
        broken = Broken()
        zeros = np.zeros(shape, helper.tensor_dtype_to_np_dtype(code))
        broken.initializer(name).CopyFrom(numpy_helper.from_array(zeros, name))
        message = refused(broken.model)
        assert re.search(r"(weights|integers) are ", message), message


@pytest.mark.parametrize("seed", range(0, 300, 3))
def test_mutated_models(seed):
    """A damaged model is refused with one line, or computes what onnxruntime computes."""
    pytest.importorskip("onnxruntime")
    model, image = mutated(seed)
    try:
        graph = import_proto(model, "broken.onnx")
    except UserError as error:
        assert "\n" not in str(error)
        return
    got = golden.run(graph, image)
    try:
        expected = reference.run(model, image)
    except UserError:
        return  # stricter than we are
    for name in got.keys() & expected.keys():
        if got[name].dtype != np.float32:
            np.testing.assert_array_equal(got[name].reshape(expected[name].shape), expected[name])


@pytest.mark.parametrize("case", ["cycle", "NaN weights", "unsupported operator", "dynamic size",
                                  "mixed layouts", "negative scale"])
def test_commands(tmp_path, capsys, case):
    """The compiler's command: one line with file and node, status 2, no output."""
    broken = Broken()
    CASES[case][0](broken)
    path, output = tmp_path / "broken.onnx", tmp_path / "out"
    path.write_bytes(broken.model.SerializeToString())
    assert compile_main([str(path), "--board", "arty-a7", "-o", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {path}: ") and captured.err.count("\n") == 1
    assert re.search(CASES[case][1], captured.err) and not captured.out and not output.exists()


def test_command_as_a_process(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(Broken().model.SerializeToString()[:-700])
    result = subprocess.run(
        [sys.executable, "-m", "sw.compile", str(path), "--board", "arty-a7", "-o",
         str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and not result.stdout
    assert result.stderr.startswith(f"error: {path}: ") and result.stderr.count("\n") == 1
