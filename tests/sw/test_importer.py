import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sim import reference
from sim.golden import graph as golden
from sw.graph import (
    Add,
    Concat,
    Conv,
    GlobalAveragePool,
    HostOp,
    Input,
    MaxPool,
    Quant,
    window_outputs,
)
from sw.importer import import_model, import_proto
from tests.data import data_file
from tests.forms import FormBuilder
from tests.models import ModelBuilder, small_squeezenet

SMALL = [Input, Conv, MaxPool, Conv, Conv, Conv, Concat, MaxPool, Conv, Conv, Conv, Concat, Conv,
         GlobalAveragePool, HostOp, HostOp]


def kinds(graph):
    return [type(node) for node in graph.nodes]


def same_integers(builder, output, names):
    """The model runs like onnxruntime's in the integer tensors of these names."""
    pytest.importorskip("onnxruntime")
    model, image = builder.model(output), builder.image()
    graph = import_proto(model)
    got, expected = golden.run(graph, image), reference.run(model, image)
    for name in names:
        np.testing.assert_array_equal(got[name].reshape(expected[name].shape), expected[name])
        assert len(np.unique(expected[name])) > 1
    np.testing.assert_allclose(got[output], expected[output], rtol=1e-5, atol=1e-6)
    return graph


def find(builder, op, index=0):
    return [node for node in builder.nodes if node.op_type == op][index]


def test_small_squeezenet():
    builder = small_squeezenet(2)
    graph = import_proto(builder.model("scores"), "small")
    assert kinds(graph) == SMALL
    assert (graph.input, graph.outputs, graph.source) == ("image", ("scores",), "small")
    conv = graph.nodes[1]
    assert conv.name == "conv1_Conv" and conv.inputs == ("image_q",) and conv.output == "conv1_q"
    assert conv.weights.shape == (16, 3, 3, 3) and conv.weights.dtype == np.int8
    assert conv.strides == (2, 2) and conv.pads == (0, 0, 0, 0) and not conv.relu
    assert conv.bias.any() and conv.weight_scale.dtype == np.float32
    assert graph.tensors["image_q"].shape == (3, 27, 27)
    assert graph.tensors["image_q"].quant == builder.quants["image_dq"]
    assert graph.tensors["conv1_q"].shape == (16, 13, 13)
    assert [tensor.shape for tensor in graph.tensors.values()][-3:] == [(20, 1, 1), (20,), (20,)]
    assert graph.nodes[-1].attributes == {"shape": (1, 20), "axes": (1,)}
    assert graph.nodes[-2].kind == "Flatten"
    assert graph.producer("conv1_q") is conv and graph.consumers("conv1_q") == [graph.nodes[2]]
    assert graph.input_node.float_name == "image"


def test_listing():
    listing = str(import_proto(small_squeezenet().model("scores"), "small"))
    assert listing.startswith("graph small: input image, outputs scores\nInput 'image'")
    assert "Conv 'conv1_Conv' weights=int8[16,3,3,3]" in listing
    assert "    -> scores 20 float32" in listing


def test_relu_is_part_of_the_node_before_it():
    builder = ModelBuilder()
    source = builder.input()
    parts = [builder.conv(source, 8, relu=relu) for relu in (True, False)]
    graph = import_proto(builder.model(builder.add(*parts, relu=True)))
    assert [node.relu for node in graph.nodes if isinstance(node, Conv | Add)] == [
        True, False, True]


def test_relu_behind_its_own_quantization():
    """Conv, Q, DQ, Relu, Q, as symmetric quantizers write it."""
    builder = ModelBuilder()
    quant = builder.quant(zero_point=100)
    conv = builder.conv(builder.input(), 8, quant=quant)
    output = builder.quantized(builder.node("Relu", [conv], "relu"), quant)
    graph = same_integers(builder, output, ["relu_q"])
    assert kinds(graph) == [Input, Conv, HostOp] and graph.nodes[1].relu


def test_constants_behind_other_operators():
    """Weights, scales and biases behind Identity, Cast, Transpose, reshapes and Constant nodes."""
    builder = ModelBuilder()
    output = builder.conv(builder.input(), 8)
    model = builder.model(output)
    plain = import_proto(model)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    def behind(name, value, *operators):
        """Replace an initializer by a Constant and operators behind it."""
        index = next(i for i, each in enumerate(model.graph.initializer) if each.name == name)
        del model.graph.initializer[index]
        nodes = [helper.make_node("Constant", [], [f"{name}_0"],
                                  value=numpy_helper.from_array(value))]
        for i, (op, inputs, attributes) in enumerate(operators):
            last = i == len(operators) - 1
            nodes.append(helper.make_node(op, [f"{name}_{i}", *inputs],
                                          [name if last else f"{name}_{i + 1}"], **attributes))
        model.graph.node.extend(reversed(nodes))

    model.graph.initializer.extend([numpy_helper.from_array(np.int64(value), name)
                                    for name, value in (("flat", [-1]), ("front", [0]))])
    behind("conv1_wq", values["conv1_wq"].transpose(2, 3, 1, 0).astype(np.int32),
           ("Cast", [], {"to": onnx.TensorProto.INT8}),
           ("Transpose", [], {"perm": [3, 2, 0, 1]}), ("Identity", [], {}))
    behind("conv1_ws", values["conv1_ws"].reshape(2, 4), ("Reshape", ["flat"], {}))
    behind("conv1_bq", values["conv1_bq"][None], ("Squeeze", ["front"], {}))
    behind("image_scale", values["image_scale"][0], ("Unsqueeze", ["front"], {}))
    graph = import_proto(model)
    np.testing.assert_array_equal(graph.nodes[1].weights, plain.nodes[1].weights)
    np.testing.assert_array_equal(graph.nodes[1].bias, plain.nodes[1].bias)
    np.testing.assert_array_equal(graph.nodes[1].weight_scale, plain.nodes[1].weight_scale)
    assert graph.tensors["image_q"].quant == plain.tensors["image_q"].quant


def test_mat_mul_and_add_of_a_constant_are_one_layer():
    builder = FormBuilder("qdq", (4, 3, 2), 7)
    builder.mat_mul(builder.flatten(builder.input()), 24, 10)
    del builder.nodes[-2:]  # Q and DQ behind the MatMul
    bias = builder.constant("bias", builder.rng.normal(size=10).astype(np.float32))
    total = builder.node("Add", [bias, "matmul2"], "total")
    builder.channels[total] = 10
    graph = same_integers(builder, builder.quantized(total, builder.quant()), ["total_q"])
    assert kinds(graph) == [Input, Conv, HostOp] and graph.nodes[1].bias.any()
    assert graph.nodes[1].weights.shape == (10, 4, 3, 2)


def test_output_names_are_kept():
    """Of integers, floats, and of one tensor under two names, in QOperator form and in QDQ form."""
    builder = FormBuilder("operator", seed=2, opset=17)
    x = builder.conv(builder.input(), 8)
    pool, average = builder.max_pool(x), builder.average(x)
    graph = import_proto(builder.model(average, x, pool))
    assert graph.outputs == (average, x, pool)
    builder = ModelBuilder()
    conv = builder.conv(builder.input(), 8)
    twin = builder.quantized(builder.node("Dropout", [conv], "twin"), builder.quants[conv])
    model = builder.model(conv, twin)
    for name in ("conv1_q", "twin_q"):
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    graph = import_proto(model)
    assert graph.outputs == ("conv1_dq", "twin_dq", "conv1_q", "twin_q")
    values, expected = (run(builder.image()) for run in (
        lambda image: golden.run(graph, image), reference.Reference(model).run))
    assert values["twin_q"].shape == values["conv1_q"].shape
    assert set(graph.outputs) <= set(expected)


def test_groups_and_dilations_become_dense():
    """Depthwise, grouped and dilated weights become dense."""
    builder = FormBuilder("qdq", (6, 12, 12))
    source = builder.input()
    depthwise = builder.conv(source, 12, group=6)
    grouped = builder.conv(depthwise, 9, group=3, dilations=(1, 2))
    graph = import_proto(builder.model(grouped))
    first, second = (node.weights for node in graph.nodes if isinstance(node, Conv))
    assert first.shape == (12, 6, 3, 3) and second.shape == (9, 12, 3, 5)
    assert [np.flatnonzero(each.any(axis=(1, 2))).tolist() for each in first] == [
        [i // 2] for i in range(12)]
    assert not second[:, :, :, 1::2].any() and not second[:3, 4:].any()


def test_identities_vanish():
    builder = ModelBuilder()
    same = builder.node("Identity", [builder.input()], "same")
    builder.quants[same], builder.channels[same] = builder.quants["image_dq"], 3
    conv = builder.conv(same, 8)
    dropped = builder.node("Dropout", [conv], "dropped")
    average = builder.node("GlobalAveragePool", [dropped], "average")
    builder.node("Identity", [average], "result")
    graph = import_proto(builder.model("result"))
    assert kinds(graph) == [Input, Conv, GlobalAveragePool]
    assert graph.outputs == ("result",)


def test_requantized_with_the_same_scale():
    """A Dropout between two pairs of Q and DQ leaves two names for one tensor."""
    builder = ModelBuilder()
    conv = builder.conv(builder.input(), 8)
    dropped = builder.node("Dropout", [conv], "dropped")
    again = builder.quantized(dropped, builder.quants[conv])
    builder.channels[again] = 8
    graph = same_integers(builder, builder.max_pool(again), ["conv1_q", "pool2_q"])
    assert kinds(graph) == [Input, Conv, MaxPool, HostOp]


@pytest.mark.parametrize("op", ["MaxPool", "Concat"])
def test_routing_without_quantizers_in_front(op):
    """Conv, MaxPool, Q: the Conv takes over the scale behind the pool."""
    builder = ModelBuilder()
    source = builder.input()
    for name in ("a", "b"):
        builder.conv(source, 8)
        convs = [node for node in builder.nodes if node.op_type == "Conv"]
        convs[-1].output[0] = name
        builder.nodes = [node for node in builder.nodes if node.input[0] not in
                         (f"conv{len(convs)}", f"conv{len(convs)}_q")]
    if op == "MaxPool":
        result = builder.node("MaxPool", ["b"], "result", kernel_shape=[2, 2])
    else:
        result = builder.node("Concat", ["a", "b"], "result", axis=1)
    graph = same_integers(builder, builder.quantized(result, builder.quant()), ["result_q"])
    last = graph.producer("result_q")
    assert all(graph.tensors[name].quant == graph.tensors["result_q"].quant
               for name in last.inputs)


def test_pool_without_quantizer_behind():
    builder = ModelBuilder()
    conv = builder.conv(builder.input(), 8)
    pool = builder.node("MaxPool", [conv], "pool", kernel_shape=[2, 2])
    builder.quants[pool], builder.channels[pool] = builder.quants[conv], 8
    graph = same_integers(builder, builder.conv(pool, 8), ["conv1_q", "conv2_q"])
    assert graph.tensors["pool_quantized"].quant == builder.quants[conv]


@pytest.mark.parametrize("bias", ["int32", "float", "none"])
def test_bias(bias):
    builder = ModelBuilder()
    output = builder.conv(builder.input(), 8, bias=bias)
    graph = same_integers(builder, output, ["conv1_q"])
    assert graph.nodes[1].bias.any() == (bias != "none")


def test_weights_as_quantizer_of_float_constants():
    builder = ModelBuilder()
    output = builder.conv(builder.input(), 8)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor)
                 for tensor in builder.initializers}
    scale = constants["conv1_ws"].reshape(-1, 1, 1, 1)
    builder.constant("conv1_wf", (constants["conv1_wq"] * scale).astype(np.float32))
    find(builder, "DequantizeLinear", 1).input[0] = "conv1_w8"
    builder.nodes.insert(0, helper.make_node(
        "QuantizeLinear", ["conv1_wf", "conv1_ws", "conv1_wz"], ["conv1_w8"], axis=0))
    graph = import_proto(builder.model(output))
    np.testing.assert_array_equal(graph.nodes[1].weights, constants["conv1_wq"])


@pytest.mark.parametrize("mode, pads", [
    ("SAME_UPPER", (0, 0, 1, 1)), ("SAME_LOWER", (1, 1, 0, 0)), ("VALID", (0, 0, 0, 0))])
def test_auto_pad(mode, pads):
    builder = ModelBuilder((3, 12, 12))
    output = builder.conv(builder.input(), 8, strides=(2, 2))
    conv = find(builder, "Conv")
    del conv.attribute[:]
    conv.attribute.extend([helper.make_attribute("auto_pad", mode),
                           helper.make_attribute("strides", [2, 2])])
    graph = same_integers(builder, output, ["conv1_q"])
    assert graph.nodes[1].pads == pads


@pytest.mark.parametrize("op, attributes, constant, shape", [
    ("Flatten", {}, None, (1, 8)), ("Reshape", {}, [0, -1], (1, 8)),
    ("Reshape", {}, [8], (8,)), ("Squeeze", {}, [2, 3], (1, 8)), ("Squeeze", {}, None, (8,)),
    ("Unsqueeze", {}, [0], (1, 1, 8, 1, 1)), ("Flatten", {"axis": -3}, None, (1, 8))])
def test_reshaping_tail(op, attributes, constant, shape):
    """In float, and between quantizers as quantizers write it."""
    for between in (False, True):
        builder = ModelBuilder()
        average = builder.average(builder.conv(builder.input(), 8))
        inputs = [average, *([builder.constant("new", np.int64(constant))] if constant else [])]
        output = builder.node(op, inputs, "tail", **attributes)
        if between:
            output = builder.quantized(output, builder.quants[average])
        graph = same_integers(builder, output, ["average2_q"])
        assert [node.kind for node in graph.nodes if isinstance(node, HostOp)] == [
            "Dequantize", op, *(["Quantize", "Dequantize"] if between else [])]
        assert graph.nodes[-1].attributes["shape"] == shape


@pytest.mark.parametrize("opset, axes", [(12, (1, 2, 3)), (13, (3,))])
def test_softmax_by_opset(opset, axes):
    builder = ModelBuilder(opset=opset)
    conv = builder.conv(builder.input(), 8, per_channel=opset >= 13)
    output = builder.node("Softmax", [builder.average(conv)], "scores")
    graph = same_integers(builder, output, ["average2_q"])
    assert graph.nodes[-1].attributes["axes"] == axes


@pytest.mark.parametrize("opset", [10, 11, 12, 13, 17, 19, 21, 22])
def test_opsets(opset):
    builder = ModelBuilder(opset=opset)
    conv = builder.conv(builder.input(), 8, per_channel=opset >= 13)
    builder.max_pool(conv) if opset >= 12 else None
    output = builder.average(conv, is_float=True)
    same_integers(builder, output, ["conv1_q"])


def test_integer_input():
    builder = ModelBuilder()
    quant = Quant(np.float32(1), 0, False)
    output = builder.conv(builder.input(quant), 8)
    model = builder.model(output)
    del model.graph.node[0]
    model.graph.node[0].input[0] = "image"
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    graph = import_proto(model)
    assert graph.input_node.float_name == graph.input_node.output == "image"
    pytest.importorskip("onnxruntime")
    image = builder.rng.integers(0, 256, (1, 3, 12, 12)).astype(np.uint8)
    np.testing.assert_array_equal(golden.run(graph, image)["conv1_q"],
                                  reference.run(model, image)["conv1_q"])


def test_two_readers_with_a_quantizer_each():
    """A tensor quantized twice alike is one tensor."""
    builder = ModelBuilder()
    source = builder.input()
    node = helper.make_node("QuantizeLinear", ["image", "image_scale", "image_zero"], ["twin_q"])
    builder.nodes.append(node)
    twin = builder.node("DequantizeLinear", ["twin_q", "image_scale", "image_zero"], "twin")
    builder.quants[twin], builder.channels[twin] = builder.quants[source], 3
    output = builder.add(builder.conv(source, 8), builder.conv(twin, 8))
    graph = same_integers(builder, output, ["conv1_q", "conv2_q", "add3_q"])
    assert {node.inputs for node in graph.nodes if isinstance(node, Conv)} == {("image_q",)}


def test_unneeded_and_unordered_nodes():
    builder = small_squeezenet()
    builder.nodes.append(helper.make_node("LRN", ["image"], ["unused"], size=3))
    builder.nodes.reverse()
    assert sorted(map(str, kinds(import_proto(builder.model("scores"))))) == sorted(
        map(str, SMALL))


def test_names_are_unique():
    builder = small_squeezenet()
    for node in builder.nodes:
        node.name = "same" if node.op_type == "Conv" else ""
    graph = import_proto(builder.model("scores"))
    names = [node.name for node in graph.nodes]
    assert len(set(names)) == len(names) and "same" in names and "concat6" in names


def test_output_inside_and_several_outputs():
    builder = ModelBuilder()
    conv = builder.conv(builder.input(), 8)
    pool = builder.max_pool(conv)
    model = builder.model(conv, pool)
    model.graph.output.append(helper.make_tensor_value_info("conv1_q", 2, None))
    graph = import_proto(model)
    assert graph.outputs == ("conv1_dq", "pool2_dq", "conv1_q")
    values = golden.run(graph, builder.image())
    np.testing.assert_array_equal(
        values["conv1_dq"],
        (values["conv1_q"].astype(np.float32) - builder.quants[conv].zero_point)
        * builder.quants[conv].scale)


def test_metadata_and_file(tmp_path):
    builder = small_squeezenet()
    model = builder.model("scores")
    helper.set_model_props(model, {"firecore.preprocess": "rgb"})
    onnx.save(model, tmp_path / "small.onnx")
    graph = import_model(tmp_path / "small.onnx")
    assert graph.metadata == {"firecore.preprocess": "rgb"}
    assert graph.source == str(tmp_path / "small.onnx")


def test_external_data(tmp_path):
    model = small_squeezenet(1).model("scores")
    onnx.save(model, tmp_path / "small.onnx", save_as_external_data=True, size_threshold=100,
              location="weights.bin")
    graph = import_model(tmp_path / "small.onnx")
    expected = import_proto(small_squeezenet(1).model("scores"))
    np.testing.assert_array_equal(graph.nodes[1].weights, expected.nodes[1].weights)


@pytest.mark.parametrize("size, kernel, stride, before, after, ceil_mode, count", [
    (224, 3, 2, 0, 0, False, 111), (111, 3, 2, 0, 0, False, 55), (112, 3, 2, 0, 0, True, 56),
    (55, 3, 2, 0, 0, True, 27), (4, 2, 3, 0, 0, True, 2), (3, 2, 3, 0, 0, True, 1),
    (5, 3, 1, 1, 1, False, 5), (4, 3, 4, 1, 1, True, 2), (2, 3, 1, 0, 0, False, 0)])
def test_window_outputs(size, kernel, stride, before, after, ceil_mode, count):
    assert window_outputs(size, kernel, stride, before, after, ceil_mode) == count


@pytest.mark.parametrize("net, kind, nodes", [
    ("1.1", "hw", 40), ("1.1", "ort", 40), ("1.0_deepcompressed", "hw", 39),
    ("1.0_deepcompressed", "ort", 40)])
def test_real_models(net, kind, nodes):
    graph = import_model(data_file(f"squeezenet{net}_int8_qdq_{kind}.onnx"))
    assert len(graph.nodes) == nodes
    assert sum(isinstance(node, Conv) for node in graph.nodes) == 26
    assert sum(isinstance(node, Concat) for node in graph.nodes) == 8
    last = [tensor for tensor in graph.tensors.values() if tensor.quant][-1]
    assert last.shape[0] == 1000
