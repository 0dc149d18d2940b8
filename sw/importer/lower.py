"""Pass `lower`: operators with known quantization to the nodes of `sw.graph`."""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from ..graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    Input,
    MaxPool,
    Tensor,
    window_outputs,
)
from .activations import is_implied
from .attributes import Window, read_integer, read_integers, read_window
from .builder import Builder
from .fully_connected import lower_gemm
from .fusions import note_unfused_weighted, refuse_unfused
from .limits import integer_limits, lower_activation
from .quantization import Quantization, Site
from .raw import RawGraph, RawNode
from .tail import lower_host, lower_quantize
from .weights import read_bias, read_weights
from .wide import fit_weights

__all__ = ["lower"]


def lower(raw: RawGraph, quantization: Quantization) -> Graph:
    """Raises UserError for anything that the graph cannot express exactly."""
    builder = Builder(raw, quantization)
    _input(builder)
    for node in raw.nodes:
        if node.op != "DequantizeLinear":  # belongs to its readers
            _HANDLERS.get(node.op, lower_host)(builder, node)
    return builder.graph()


def _input(builder: Builder) -> None:
    raw, quantization = builder.raw, builder.quantization
    name = raw.input
    sites = [quantization.writes.get(name)]
    sites += [site for site in quantization.reads.values() if site.name == name]
    site = next(filter(None, sites), None)
    if site is None:
        for node in raw.nodes:  # the likely reason, if there is a Conv
            if node.op == "Conv":
                read_weights(raw, node, 0, 4)
        reader = next(raw.consumers(name), None)
        raise UserError(f"the model is not quantized: no QuantizeLinear behind its input '{name}'"
                        f"{f', but {reader}' if reader else ''}; firecore takes QDQ models: "
                        "quantize it first")
    builder.add(Input(name, (), site.name, name), raw.input_shape, site.quant)


def _conv(builder: Builder, node: RawNode) -> None:
    weights, scale = read_weights(builder.raw, node, 0, 4)
    source, site = builder.read(node, node.inputs[0]), builder.written(node)
    window = read_window(node, source.shape[1:], weights.shape[2:])
    bias = read_bias(builder.raw, node, source.quant, scale)
    source, weights = fit_weights(builder, node, source,
                                  _dense(node, weights, source.shape[0]))
    relu, clip = integer_limits(node, site.quant)
    note_unfused_weighted(builder, node, source.quant, site.quant)
    builder.add(
        Conv(node.name, (source.name,), site.name, weights, scale, bias, window.strides,
             window.pads, relu, clip),
        (1, weights.shape[0], *_sizes(node, source, window)), site.quant)


def _dense(node: RawNode, weights: np.ndarray, channels: int) -> np.ndarray:
    """[co, channels, kh, kw] with zeros for other groups' channels and for dilations."""
    groups = read_integer(node, "group", 1)
    count, each = weights.shape[:2]
    if groups < 1 or count % groups:
        raise UserError(f"{node}: {count} channels in {groups} groups")
    if each * groups != channels:
        raise UserError(f"{node}: its weights take {each * groups} channels, its input has "
                        f"{channels}")
    down, across = read_integers(node, "dilations", (1, 1))
    rows, columns = weights.shape[2:]
    dense = np.zeros((count, channels, (rows - 1) * down + 1, (columns - 1) * across + 1),
                     weights.dtype)
    for group in range(groups):
        part = slice(group * count // groups, (group + 1) * count // groups)
        dense[part, group * each:(group + 1) * each, ::down, ::across] = weights[part]
    return dense


def _max_pool(builder: Builder, node: RawNode) -> None:
    source, site = builder.read(node, node.inputs[0]), builder.written(node)
    if read_integer(node, "storage_order", 0):
        raise UserError(f"{node}: storage_order is not supported")
    window, ceil_mode, shape = _pool(node, source)
    same = site.quant == source.quant
    output = site.name if same else f"{site.name}_pooled"
    builder.add(MaxPool(node.name, (source.name,), output, window.kernel, window.strides,
                        window.pads, ceil_mode), shape, source.quant)
    if not same:
        builder.requantize(f"{node.name}_requantized", output, site)


def _average_pool(builder: Builder, node: RawNode) -> None:
    source, site = builder.read(node, node.inputs[0]), builder.written(node)
    window, ceil_mode, shape = _pool(node, source)
    refuse_unfused(builder, node)
    builder.add(AveragePool(node.name, (source.name,), site.name, window.kernel, window.strides,
                            window.pads, ceil_mode,
                            bool(read_integer(node, "count_include_pad", 0))), shape, site.quant)


def _pool(node: RawNode, source: Tensor) -> tuple[Window, bool, tuple[int, ...]]:
    """Window, ceil mode and output shape of a pool."""
    window = read_window(node, source.shape[1:])
    if any(pad >= size for pad, size in zip(window.pads, window.kernel * 2, strict=True)):
        raise UserError(f"{node}: pads {list(window.pads)} are not smaller than the kernel "
                        f"{list(window.kernel)}")
    ceil_mode = bool(read_integer(node, "ceil_mode", 0))
    return window, ceil_mode, (1, source.shape[0], *_sizes(node, source, window, ceil_mode))


def _concat(builder: Builder, node: RawNode) -> None:
    sources = [builder.read(node, name) for name in node.inputs]
    site = builder.written(node)
    if node.attributes.get("axis") not in (1, -3):
        raise UserError(f"{node}: axis {node.attributes.get('axis')}; only channels (1) are "
                        "supported")
    maps = {source.shape[1:] for source in sources}
    if len(maps) != 1:
        raise UserError(f"{node}: its inputs have maps of different sizes: {sorted(maps)}")
    channels = sum(source.shape[0] for source in sources)
    builder.add(Concat(node.name, tuple(source.name for source in sources), site.name),
                (1, channels, *maps.pop()), site.quant)


def _sum(builder: Builder, node: RawNode) -> None:
    if len(node.inputs) != 2:
        raise UserError(f"{node}: {len(node.inputs)} inputs; two are supported")
    sources = [builder.read(node, name) for name in node.inputs]
    site = builder.written(node)
    if len({source.shape for source in sources}) != 1:
        shapes = " and ".join(str(list(source.shape)) for source in sources)
        raise UserError(f"{node}: shapes {shapes}; only equal shapes are supported")
    in_float = not is_implied(site.quant, node.low, node.high)
    if in_float and (node.low, node.high) != (0, np.inf):
        raise UserError(f"{node}: limits {node.low:g} to {node.high:g} behind it; a Relu, and what "
                        "the quantization behind it implies, are supported")
    builder.add(Add(node.name, tuple(source.name for source in sources), site.name,
                    node.low == 0, in_float or builder.is_floating(node)),
                (1, *sources[0].shape), site.quant)


def _global_average(builder: Builder, node: RawNode) -> None:
    source = builder.read(node, node.inputs[0])
    site = builder.quantization.writes.get(node.outputs[0])
    if site and site.quant.signed != source.quant.signed:
        raise UserError(f"{node}: its input is {source.quant.dtype}, its output "
                        f"{site.quant.dtype}; one type is supported")
    if site:
        refuse_unfused(builder, node)
    output = site or Site(node.outputs[0], None)
    builder.add(GlobalAveragePool(node.name, (source.name,), output.name),
                (1, source.shape[0], 1, 1), output.quant)


_HANDLERS = {
    "Conv": _conv, "Gemm": lower_gemm, "MatMul": lower_gemm, "MaxPool": _max_pool,
    "AveragePool": _average_pool, "GlobalAveragePool": _global_average, "Concat": _concat,
    "Add": _sum, "Relu": lower_activation, "Clip": lower_activation,
    "QuantizeLinear": lower_quantize}


def _sizes(node: RawNode, source: Tensor, window: Window,
           ceil_mode: bool = False) -> tuple[int, int]:
    top, left, bottom, right = window.pads
    (kh, kw), (sh, sw) = window.kernel, window.strides
    sizes = (window_outputs(source.shape[1], kh, sh, top, bottom, ceil_mode),
             window_outputs(source.shape[2], kw, sw, left, right, ceil_mode))
    if min(sizes) < 1:
        raise UserError(f"{node}: kernel {[kh, kw]} is larger than its input "
                        f"{list(source.shape[1:])} with pads {list(window.pads)}")
    return sizes
