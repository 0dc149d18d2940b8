"""Gemm and MatMul: a convolution whose kernel is the whole map, or, where their result stays in
float, an operator of the host. Pass `add_bias`: a MatMul and the Add of a constant behind it are
one Gemm."""

from __future__ import annotations

import math

import numpy as np

from ..errors import UserError
from ..graph import Conv, HostOp, Tensor
from .attributes import read_float, read_integer
from .builder import Builder
from .fusions import note_unfused_weighted
from .limits import integer_limits
from .raw import RawGraph, RawNode
from .tail import flattened
from .weights import read_bias, read_float_bias, read_weights
from .wide import fit_weights

__all__ = ["add_bias", "lower_gemm"]


def add_bias(graph: RawGraph) -> None:
    """onnxruntime fuses these too, so that the bias joins the integer sums."""
    for add in [node for node in graph.nodes if node.op == "Add"]:
        producers = graph.producers()
        for name, bias in (add.inputs[:2], add.inputs[1::-1]):
            node = producers.get(name)
            if node is not None and node.op == "MatMul" and not graph.is_shared(name) \
                    and bias in graph.constants:
                node.op, node.origin = "Gemm", "MatMul"
                node.inputs = [*node.inputs[:2], bias]
                node.outputs = add.outputs
                graph.nodes.remove(add)
                break


def lower_gemm(builder: Builder, node: RawNode) -> None:
    for name in ("alpha", "beta"):
        if read_float(node, name, 1.0) != 1.0:
            raise UserError(f"{node}: {name} {node.attributes[name]}; only 1 is supported")
    if read_integer(node, "transA", 0):
        raise UserError(f"{node}: transA is not supported")
    by_output = read_integer(node, "transB", 0)
    weights, scale = read_weights(builder.raw, node, 0 if by_output else 1, 2)
    if not by_output:
        weights = weights.T
    source = flattened(builder, node, node.inputs[0])
    channels, size = weights.shape
    if size != np.prod(source.shape):
        raise UserError(f"{node}: its weights take {size} values, its input has the shape "
                        f"{list(source.shape)}")
    if node.outputs[0] in builder.quantization.writes or node.low != -math.inf:
        _accelerated(builder, node, source, weights, scale)
    else:
        _on_host(builder, node, source, weights, scale)


def _accelerated(builder: Builder, node: RawNode, source: Tensor, weights: np.ndarray,
                 scale: np.ndarray) -> None:
    site, channels = builder.written(node), len(weights)
    note_unfused_weighted(builder, node, source.quant, site.quant)
    relu, clip = integer_limits(node, site.quant)
    bias = read_bias(builder.raw, node, source.quant, scale)
    source, weights = fit_weights(builder, node, source,
                                  weights.reshape(channels, *source.shape))
    builder.add(
        Conv(node.name, (source.name,), site.name, weights, scale, bias, (1, 1), (0, 0, 0, 0),
             relu, clip), (1, channels), site.quant, (channels, 1, 1))


def _on_host(builder: Builder, node: RawNode, source: Tensor, weights: np.ndarray,
             scale: np.ndarray) -> None:
    """Sums in integers, as onnxruntime has them; a float bias is added behind."""
    bias, offset = np.zeros(len(weights), np.int32), np.zeros(len(weights), np.float32)
    if node.input(2) in builder.raw.constants:
        offset = read_float_bias(builder.raw, node, len(weights))
    else:
        bias = read_bias(builder.raw, node, source.quant, scale)
    shape = (1, len(weights))
    builder.add(
        HostOp(node.name, (source.name,), node.outputs[0], "Gemm",
               {"shape": shape, "weights": np.ascontiguousarray(weights),
                "scale": source.quant.scale * scale, "bias": bias, "offset": offset}),
        shape, None)
