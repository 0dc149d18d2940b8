"""What a legal graph is: one table of rules, run after the importer and between later passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from .errors import UserError
from .graph import (
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
    Quant,
    Tensor,
    window_outputs,
)

__all__ = ["RULES", "verify"]

HOST_KINDS = ("Dequantize", "Quantize", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Softmax",
              "Gemm")

Rule = Callable[[Node, list[Tensor], Tensor], bool]


def verify(graph: Graph) -> None:
    """Raises UserError with the rule and the node that breaks it."""
    for node, problem in _structure(graph):
        raise UserError(f"{node}: {problem}")
    for node in graph.nodes:
        sources = [graph.tensors[name] for name in node.inputs]
        for text, rule in RULES[type(node)]:
            if not rule(node, sources, graph.tensors[node.output]):
                raise UserError(f"{node}: {text} ({_describe(graph, node)})")


def _structure(graph: Graph) -> Iterator[tuple[object, str]]:
    known: set[str] = set()
    on_host: set[str] = set()
    for index, node in enumerate(graph.nodes):
        if type(node) not in RULES:
            yield node, "unknown kind of node"
        for name in node.inputs:
            if name not in known:
                yield node, f"its input '{name}' is not computed before it"
        if node.output in known:
            yield node, f"its output '{node.output}' is defined twice"
        if node.output not in graph.tensors or graph.tensors[node.output].name != node.output:
            yield node, f"its output '{node.output}' is not among the tensors"
        if isinstance(node, Input) != (index == 0):
            yield node, "the first node, and no other, is the input"
        if isinstance(node, HostOp):
            on_host.add(node.output)
        elif on_host.intersection(node.inputs):
            yield node, "it reads a tensor of the host tail"
        known.add(node.output)
    for name in sorted(set(graph.tensors) - known):
        yield graph.tensors[name], "no node computes this tensor"
    for name in graph.outputs:
        if name not in known:
            yield f"output '{name}'", "no node computes it"
    if not graph.nodes or not graph.outputs:
        yield "graph", "no nodes or no outputs"


def _describe(graph: Graph, node: Node) -> str:
    sources = ", ".join(str(graph.tensors[name]) for name in node.inputs)
    parts = (node.describe(), sources and f"from {sources}", f"to {graph.tensors[node.output]}")
    return "; ".join(filter(None, parts))


def _is_legal(quant: Quant | None) -> bool:
    return (quant is not None and isinstance(quant.scale, np.float32)
            and bool(np.isfinite(quant.scale)) and quant.scale > 0
            and quant.qmin <= quant.zero_point <= quant.qmax)


def _is_map(tensor: Tensor) -> bool:
    return len(tensor.shape) == 3 and min(tensor.shape) >= 1 and _is_legal(tensor.quant)


def _window_fits(node: Conv | MaxPool | AveragePool, sources: list[Tensor],
                 result: Tensor) -> bool:
    is_pool = isinstance(node, MaxPool | AveragePool)
    kernel = node.kernel if is_pool else node.weights.shape[2:]
    ceil_mode = is_pool and node.ceil_mode
    return min(node.strides) >= 1 and min(node.pads) >= 0 and result.shape[1:] == tuple(
        window_outputs(sources[0].shape[1 + i], kernel[i], node.strides[i], node.pads[i],
                       node.pads[2 + i], ceil_mode) for i in range(2))


def _multipliers_are_usable(node: Conv, sources: list[Tensor], result: Tensor) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        multiplier = sources[0].quant.scale * node.weight_scale / result.quant.scale
    return bool(np.isfinite(multiplier).all() and (multiplier > 0).all())


def _sums_fit(node: Conv, sources: list[Tensor], result: Tensor) -> bool:
    """Worst case of every sum: the positive weights at one end of the range, the others at the
    other; every partial sum then fits too."""
    quant = sources[0].quant
    low, high = quant.qmin - quant.zero_point, quant.qmax - quant.zero_point
    weights = node.weights.reshape(node.weights.shape[0], -1).astype(np.int64)
    reach = np.abs(weights).sum(axis=1) * max(-low, high) + np.abs(node.bias.astype(np.int64))
    return bool((reach < 2**31).all())


def _host_inputs(node: HostOp, result: Tensor) -> int:
    """Values that it reads."""
    size = math.prod(result.shape)
    if node.kind != "Gemm":
        return size
    parts = [node.attributes.get(name) for name in ("weights", "scale", "bias", "offset")]
    fits = all(isinstance(part, np.ndarray) and len(part) == size for part in parts)
    return parts[0].shape[1] if fits else -1


_MAPS: tuple[tuple[str, Rule], ...] = (
    ("inputs and output are quantized maps (C, H, W)",
     lambda node, sources, result: all(map(_is_map, [*sources, result]))),
)

_POOL: tuple[tuple[str, Rule], ...] = (
    ("padding is smaller than the kernel",
     lambda node, sources, result: all(
         pad < size for pad, size in zip(node.pads, node.kernel * 2, strict=True))),
    ("its window gives the size of its output", _window_fits),
)

RULES: dict[type[Node], tuple[tuple[str, Rule], ...]] = {
    Input: (
        ("the input is a quantized map (C, H, W)",
         lambda node, sources, result: not sources and _is_map(result)),
    ),
    Conv: (
        ("it has one input", lambda node, sources, result: len(sources) == 1),
        *_MAPS,
        ("weights are int8 [co, ci, kh, kw] of its channels",
         lambda node, sources, result: node.weights.dtype == np.int8 and node.weights.ndim == 4
         and node.weights.shape[:2] == (result.shape[0], sources[0].shape[0])),
        ("there is one float32 scale, finite and positive, per output channel",
         lambda node, sources, result: node.weight_scale.dtype == np.float32
         and node.weight_scale.shape == result.shape[:1]
         and bool(np.isfinite(node.weight_scale).all() and (node.weight_scale > 0).all())),
        ("there is one int32 bias per output channel",
         lambda node, sources, result: node.bias.dtype == np.int32
         and node.bias.shape == result.shape[:1]),
        ("its window gives the size of its output", _window_fits),
        ("the worst case of its sums fits int32", _sums_fit),
        ("its requantization multipliers are finite and positive in float32",
         _multipliers_are_usable),
        ("its upper limit lies inside the range of its output",
         lambda node, sources, result: node.clip is None
         or (result.quant.zero_point if node.relu else result.quant.qmin)
         <= node.clip < result.quant.qmax),
    ),
    MaxPool: (
        ("it has one input", lambda node, sources, result: len(sources) == 1),
        *_MAPS,
        ("input and output have the same quantization and channels",
         lambda node, sources, result: sources[0].quant == result.quant
         and sources[0].shape[0] == result.shape[0]),
        *_POOL,
    ),
    AveragePool: (
        ("it has one input", lambda node, sources, result: len(sources) == 1),
        *_MAPS,
        ("input and output have the same channels and type of integers",
         lambda node, sources, result: sources[0].shape[0] == result.shape[0]
         and sources[0].quant.signed == result.quant.signed),
        *_POOL,
    ),
    Concat: (
        ("it has inputs", lambda node, sources, result: len(sources) >= 1),
        *_MAPS,
        ("the channels of its inputs add up and their maps have one size",
         lambda node, sources, result: sum(s.shape[0] for s in sources) == result.shape[0]
         and all(s.shape[1:] == result.shape[1:] for s in sources)),
    ),
    Add: (
        ("it has two inputs", lambda node, sources, result: len(sources) == 2),
        *_MAPS,
        ("all shapes are equal",
         lambda node, sources, result: all(s.shape == result.shape for s in sources)),
        ("all integers are of one type",
         lambda node, sources, result: all(s.quant.signed == result.quant.signed
                                           for s in sources)),
    ),
    GlobalAveragePool: (
        ("its input is a quantized map (C, H, W)",
         lambda node, sources, result: len(sources) == 1 and _is_map(sources[0])),
        ("its output is one value per channel",
         lambda node, sources, result: result.shape == (sources[0].shape[0], 1, 1)),
        ("its output is float or legally quantized",
         lambda node, sources, result: result.quant is None or _is_legal(result.quant)),
    ),
    HostOp: (
        (f"its kind is one of {', '.join(HOST_KINDS)}",
         lambda node, sources, result: node.kind in HOST_KINDS),
        ("it has one input of as many values as its output (a Gemm as its weights take)",
         lambda node, sources, result: len(sources) == 1
         and math.prod(result.shape) == math.prod(node.attributes.get("shape", ()))
         and _host_inputs(node, result) == math.prod(sources[0].shape)),
        ("Quantize goes from float to integers, Dequantize and Gemm back, others stay in float",
         lambda node, sources, result: (sources[0].quant is None, result.quant is None)
         == (node.kind not in ("Dequantize", "Gemm"), node.kind != "Quantize")),
        ("a Softmax has axes",
         lambda node, sources, result: node.kind != "Softmax"
         or all(0 <= axis < len(node.attributes["shape"])
                for axis in node.attributes.get("axes", (-1,)))),
    ),
}
