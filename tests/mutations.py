"""Sound models with one or two random faults."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.forms import FORMS, FormBuilder

__all__ = ["mutated"]

OPERATORS = ("Conv", "MaxPool", "AveragePool", "Add", "Concat", "Relu", "Clip", "Gemm", "MatMul",
             "Flatten", "GlobalAveragePool", "QuantizeLinear", "DequantizeLinear", "Identity",
             "Softmax", "Reshape", "QLinearConv", "QLinearAdd", "Transpose")
ATTRIBUTES = ("group", "dilations", "auto_pad", "strides", "pads", "ceil_mode", "storage_order",
              "alpha", "beta", "transA", "transB", "axis", "block_size", "count_include_pad")
VALUES = (0, 1, 2, -1, 3, 7, 2.5, "x", "SAME_UPPER", [1, 1], [0, 0, 0, 0], [2], [1, 2], [-1, 1])
TYPES = (np.int8, np.uint8, np.int32, np.float32, np.int64, np.float64, np.float16)


def mutated(seed: int) -> tuple[onnx.ModelProto, np.ndarray]:
    """A model with faults, and an image for it."""
    rng = np.random.default_rng(seed)
    builder = FormBuilder(FORMS[seed % len(FORMS)], (3, 12, 12), 3, bool(rng.integers(2)),
                          int(rng.choice([13, 17, 21])))
    x = builder.conv(builder.input(), 8, 3, pads=(1, 1, 1, 1))
    pool = builder.max_pool(x)
    total = builder.add(pool, builder.average_pool(x, kernel_shape=[3, 3], strides=[2, 2]))
    x = builder.conv(builder.concat([total, pool]), 16, 3, group=16)
    if not builder.is_operator:
        x = builder.quantized(builder.limited(x, (0, 6)), builder.quants[x])
        builder.channels[x] = 16
    model = builder.model(builder.gemm(builder.flatten(builder.average(x)), 16, 5))
    image = builder.image()
    for _ in range(rng.integers(1, 3)):
        FAULTS[rng.integers(len(FAULTS))](rng, model.graph)
    return model, image


def _pick(rng, collection):
    return collection[int(rng.integers(len(collection)))]


def _attribute(rng, graph):
    node = _pick(rng, graph.node)
    names = [attribute.name for attribute in node.attribute]
    name = _pick(rng, names if names and rng.integers(2) else ATTRIBUTES)
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, _pick(rng, VALUES)))


def _drop_input(rng, graph):
    node = _pick(rng, graph.node)
    del node.input[int(rng.integers(len(node.input)))]


def _other_input(rng, graph):
    node, other = _pick(rng, graph.node), _pick(rng, graph.node)
    if node.input:
        node.input[int(rng.integers(len(node.input)))] = _pick(rng, [*other.input, *other.output])


def _swap_inputs(rng, graph):
    names = _pick(rng, graph.node).input
    if names:
        i, j = map(int, rng.integers(len(names), size=2))
        first, second = names[i], names[j]
        names[i], names[j] = second, first


def _operator(rng, graph):
    _pick(rng, graph.node).op_type = _pick(rng, OPERATORS)


def _constant(rng, graph):
    tensor = _pick(rng, graph.initializer)
    value = numpy_helper.to_array(tensor)
    value = _pick(rng, (
        lambda: value.astype(_pick(rng, TYPES)),
        lambda: value.reshape(-1)[:max(value.size // 2, 1)],
        lambda: np.zeros_like(value),
        lambda: value.reshape((1, *value.shape)),
        lambda: (value.astype(np.float64) + 1).astype(value.dtype),
        lambda: np.concatenate([value.reshape(-1)] * 2),
        lambda: value * np.float32(_pick(rng, (0, -1, np.nan, np.inf, 1e30, 1e-30, 2)))
        if value.dtype == np.float32 else value))()
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))


FAULTS = (_attribute, _attribute, _drop_input, _other_input, _swap_inputs, _operator, _constant,
          _constant)
