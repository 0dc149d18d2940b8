"""Run a typed graph on one image with the golden operators."""

from __future__ import annotations

import numpy as np

from sw.errors import UserError
from sw.graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    HostOp,
    Input,
    MaxPool,
    Node,
    Tensor,
)

from . import operators

__all__ = ["evaluate", "input_integers", "run"]


def run(graph: Graph, image: np.ndarray,
        sums: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Every tensor of the graph by name, in its shape and type (float32 in the host tail).

    `image` is the float input, or integers of the input's own type, as (C, H, W) or with a batch
    of 1. If `sums` is given it receives the int32 sums of each Conv, bias included, by the name of
    the Conv's output. Raises UserError if the image does not fit the input.
    """
    values: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        if isinstance(node, Input):
            result = input_integers(graph, image)
        else:
            result = evaluate(graph, node, [values[name] for name in node.inputs], sums)
        tensor = graph.tensors[node.output]
        values[node.output] = result.reshape(tensor.shape)
    return values


def input_integers(graph: Graph, image: np.ndarray) -> np.ndarray:
    """The quantized input (C, H, W); integers of the right type pass unchanged."""
    tensor = graph.tensors[graph.input_node.output]
    image = np.asarray(image)
    if image.shape not in (tensor.shape, (1, *tensor.shape)):
        raise UserError(f"an input of shape {list(image.shape)} for {list(tensor.shape)}")
    image = image.reshape(tensor.shape)
    if image.dtype == tensor.quant.dtype:
        return image
    if not np.issubdtype(image.dtype, np.floating) or not np.isfinite(image).all():
        raise UserError(f"an input of {image.dtype}; finite floats or {tensor.quant.dtype} are "
                        "supported")
    return operators.quantize(image, tensor.quant)


def evaluate(graph: Graph, node: Node, inputs: list[np.ndarray],
             sums: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """The output of one node from its inputs (not for Input)."""
    sources = [graph.tensors[name] for name in node.inputs]
    result = graph.tensors[node.output]
    quants = [source.quant for source in sources]
    match node:
        case Conv():
            acc = operators.conv_sums(inputs[0], quants[0].zero_point, node.weights, node.bias,
                                      node.strides, node.pads)
            if sums is not None:
                sums[node.output] = acc
            multiplier = operators.conv_multiplier(quants[0], node.weight_scale, result.quant)
            return operators.requantize(acc, multiplier, result.quant, node.relu, node.clip)
        case MaxPool():
            return operators.max_pool(inputs[0], node.kernel, node.strides, node.pads,
                                      result.shape[1:])
        case AveragePool():
            return operators.average_pool(inputs[0], quants[0], result.quant, node.kernel,
                                          node.strides, node.pads, result.shape[1:],
                                          node.count_include_pad)
        case Concat():
            return operators.concat(inputs, quants, result.quant)
        case Add():
            return operators.add(*inputs, *quants, result.quant, node.relu, node.in_float)
        case GlobalAveragePool() if result.quant is None:
            return operators.global_average_float(inputs[0], quants[0])
        case GlobalAveragePool():
            return operators.global_average(inputs[0], quants[0], result.quant)
        case HostOp():
            return _host(node, inputs[0], sources[0], result)
    raise TypeError(f"no golden operator for {node}")


def _host(node: HostOp, x: np.ndarray, source: Tensor, result: Tensor) -> np.ndarray:
    match node.kind:
        case "Dequantize":
            return operators.dequantize(x, source.quant)
        case "Quantize":
            return operators.quantize(x, result.quant)
        case "Gemm":
            return operators.gemm_float(x, source.quant, *(
                node.attributes[name] for name in ("weights", "scale", "bias", "offset")))
        case "Softmax":
            return operators.softmax(x.reshape(node.attributes["shape"]), node.attributes["axes"])
        case _:
            return x
