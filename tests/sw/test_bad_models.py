"""Every model that cannot be taken gives one clear line with file and node, never a traceback."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sw.errors import UserError
from sw.importer import import_model, import_proto
from tests.data import data_file
from tests.models import ModelBuilder, small_squeezenet


class Broken:
    """A sound model (Conv, MaxPool, Fire, Add, average, Flatten) to break in one place."""

    def __init__(self):
        builder = ModelBuilder(seed=8)
        source = builder.conv(builder.input(), 16, relu=True, quant=builder.low())
        pool = builder.max_pool(source, pads=(1, 1, 1, 1))
        fire = builder.fire(pool, 16, 8)
        total = builder.add(pool, fire)
        builder.node("Flatten", [builder.average(total)], "result")
        self.model = builder.model("result")
        self.graph = self.model.graph

    def node(self, op, index=0):
        return [node for node in self.graph.node if node.op_type == op][index]

    def attribute(self, op, name, value):
        node = self.node(op)
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    def constant(self, name, value):
        kept = [tensor for tensor in self.graph.initializer if tensor.name != name]
        del self.graph.initializer[:]
        self.graph.initializer.extend([*kept, numpy_helper.from_array(np.asarray(value), name)])

    def value(self, name):
        return next(numpy_helper.to_array(tensor) for tensor in self.graph.initializer
                    if tensor.name == name)

    def remove(self, collection, name):
        index = next(i for i, entry in enumerate(collection) if entry.name == name)
        del collection[index]

    def dims(self, *sizes):
        shape = self.graph.input[0].type.tensor_type.shape
        del shape.dim[:]
        for size in sizes:
            shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})


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
    "group": (lambda b: b.attribute("Conv", "group", 2), "Conv 'conv1_Conv': group 2"),
    "dilations": (lambda b: b.attribute("Conv", "dilations", [2, 2]), r"dilations \[2, 2\]"),
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
        lambda b: b.node("MaxPool").output.append("indices"), "second output"),
    "pool changes scale": (
        lambda b: b.constant("pool2_scale", np.float32(0.5)),
        "MaxPool 'pool2_MaxPool': it changes the quantization"),
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
    "uint8 weights": (
        lambda b: (b.constant("conv1_wq", b.value("conv1_wq").view(np.uint8)),
                   b.constant("conv1_wz", np.zeros(16, np.uint8))), "weights are uint8"),
    "weight zero point": (
        lambda b: b.constant("conv1_wz", np.ones(16, np.int8)), "zero point other than 0"),
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
        lambda b: setattr(b.node("Flatten"), "op_type", "Relu"), "Relu 'result_Flatten'"),
    "Conv without weights": (lambda b: b.node("Conv").input.__delitem__(slice(1, 3)), "needs 2"),
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


def test_relu_that_changes_the_scale():
    builder = ModelBuilder()
    conv = builder.conv(builder.input(), 8)
    output = builder.quantized(builder.node("Relu", [conv], "relu"), builder.quant())
    assert "Relu 'relu_Relu': it changes the quantization" in refused(builder.model(output))


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


def test_operator_format():
    broken = Broken()
    broken.node("Conv").domain, broken.node("Conv").op_type = "com.microsoft", "QLinearAdd"
    assert "QDQ format" in refused(broken.model)
    broken.node("QLinearAdd").domain, broken.node("QLinearAdd").op_type = "", "QLinearConv"
    assert "QDQ format" in refused(broken.model)


def test_sparse_initializer():
    broken = Broken()
    broken.graph.sparse_initializer.add()
    assert "sparse" in refused(broken.model)


@pytest.mark.parametrize("content, pattern", [
    (b"", "the file is empty"), (b"\x00garbage" * 20, "not an ONNX model"),
    (b"hello", "not an ONNX model"), (None, "No such file")])
def test_files(tmp_path, content, pattern):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: .*{pattern}"):
        import_model(path)


def test_folder(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        import_model(tmp_path)


def test_truncated_files(tmp_path):
    """Cut anywhere, a model is refused with one line (or it is still whole)."""
    data = small_squeezenet().model("scores").SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(1, len(data) - 1, max(len(data) // 150, 1)):
        path.write_bytes(data[:length])
        with pytest.raises(UserError) as info:
            import_model(path)
        assert str(info.value).startswith(str(path)) and "\n" not in str(info.value)


def test_flipped_bytes(tmp_path):
    """A damaged byte gives a graph or one line, nothing else."""
    data = bytearray(small_squeezenet().model("scores").SerializeToString())
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 250):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        try:
            import_model(tmp_path / "damaged.onnx")
        except UserError as error:
            assert "\n" not in str(error)


def test_missing_external_data(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(small_squeezenet().model("scores"), path, save_as_external_data=True,
              size_threshold=100, location="weights.bin")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(UserError, match="external data cannot be read"):
        import_model(path)


def test_real_float_model():
    with pytest.raises(UserError, match="is not quantized: Conv 'conv1_1' has float weights"):
        import_model(data_file("squeezenet1.1_fp32.onnx"))


def test_weights_are_tensors():
    """The table of cases really uses the kind of tensor it names."""
    assert Broken().value("conv1_wq").dtype == np.int8
    assert Broken().graph.initializer[2].name == "conv1_wq"
    assert Broken().graph.initializer[2].data_type == TensorProto.INT8
