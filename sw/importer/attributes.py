"""Pass `operators`: refuse what is not in the table. Also: attributes of window operators."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError
from .raw import RawGraph, RawNode

__all__ = ["Window", "check_operators", "read_float", "read_integer", "read_integers",
           "read_window"]

_WINDOW = {"auto_pad", "dilations", "kernel_shape", "pads", "strides"}
_POOL = _WINDOW | {"ceil_mode", "count_include_pad"}

# Attributes that an operator may have: anything else is refused, never ignored.
_KNOWN: dict[str, set[str]] = {
    "Constant": {"value", "value_float", "value_floats", "value_int", "value_ints"},
    "Conv": _WINDOW | {"group"},
    "MaxPool": _WINDOW | {"ceil_mode", "storage_order"},
    "AveragePool": _POOL,
    "Gemm": {"alpha", "beta", "transA", "transB"},
    "MatMul": set(),
    "Cast": {"round_mode", "saturate", "to"},
    "Clip": {"max", "min"},
    "Transpose": {"perm"},
    "QLinearConv": _WINDOW | {"group", "channels_last"},
    "QLinearMatMul": set(),
    "QGemm": {"alpha", "transA", "transB"},
    "QLinearAdd": set(),
    "QLinearConcat": {"axis"},
    "QLinearAveragePool": _POOL | {"channels_last"},
    "QLinearGlobalAveragePool": {"channels_last"},
    "QLinearSoftmax": {"axis", "opset"},
    "Concat": {"axis"},
    "Add": set(),
    "Relu": set(),
    "Identity": set(),
    "Dropout": {"ratio", "seed"},
    "GlobalAveragePool": set(),
    "QuantizeLinear": {"axis", "block_size", "output_dtype", "precision", "saturate"},
    "DequantizeLinear": {"axis", "block_size", "output_dtype"},
    "Flatten": {"axis"},
    "Reshape": {"allowzero"},
    "Squeeze": {"axes"},
    "Unsqueeze": {"axes"},
    "Softmax": {"axis"},
}

_LISTS = ("axes", "dilations", "kernel_shape", "pads", "perm", "strides")
_NUMBERS = ("alpha", "beta", "max", "min", "ratio")  # others are integers
_FEWEST = {"Conv": 2, "Add": 2, "Gemm": 2, "MatMul": 2, "QuantizeLinear": 2, "DequantizeLinear": 2,
           "QLinearConv": 8, "QLinearMatMul": 8, "QGemm": 6, "QLinearConcat": 5}
"""Inputs that may not be absent, where that is not one."""


@dataclass(frozen=True)
class Window:
    """`kernel` counts the cells that dilations skip."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]


def check_operators(graph: RawGraph) -> None:
    for node in graph.nodes:
        if node.op not in _KNOWN:
            raise UserError(f"{node}: operator {node.op} is not supported; supported are "
                            f"{', '.join(sorted(_KNOWN))}")
        unknown = sorted(set(node.attributes) - _KNOWN[node.op])
        if unknown:
            raise UserError(f"{node}: attribute '{unknown[0]}' is not supported")
        _check_types(node)
        fewest = _FEWEST.get(node.op, 1)
        if node.op != "Constant" and not all(node.input(index) for index in range(fewest)):
            given = sum(map(bool, node.inputs[:fewest]))
            raise UserError(f"{node}: {given} of its first {fewest} inputs are given; it needs "
                            "them all")


def _check_types(node: RawNode) -> None:
    if node.op == "Constant":
        return
    for name in node.attributes:
        if name in _LISTS:
            read_integers(node, name, ())
        elif name in _NUMBERS:
            read_float(node, name, 0.0)
        elif name not in ("auto_pad", "round_mode"):
            read_integer(node, name, 0)
        elif not isinstance(node.attributes[name], bytes):
            raise UserError(f"{node}: attribute '{name}' is not a text")


def read_window(node: RawNode, size: tuple[int, int],
                of_weights: tuple[int, int] | None = None) -> Window:
    """Kernel, strides and explicit pads for an input of `size` (H, W); the kernel of a Conv is
    `of_weights`, which its attribute may repeat."""
    kernel = read_integers(node, "kernel_shape", of_weights or ())
    if of_weights is not None and kernel != of_weights:
        raise UserError(f"{node}: kernel_shape is {list(kernel)}, its weights have "
                        f"{list(of_weights)}")
    strides = read_integers(node, "strides", (1, 1))
    dilations = read_integers(node, "dilations", (1, 1))
    for name, numbers in (("kernel_shape", kernel), ("strides", strides),
                          ("dilations", dilations)):
        if len(numbers) != 2 or min(numbers) < 1:
            raise UserError(f"{node}: {name} {list(numbers)}; two numbers from 1 up are supported")
    if dilations != (1, 1):
        if of_weights is None:
            raise UserError(f"{node}: dilations {list(dilations)}; only 1 is supported")
        kernel = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True))
    return Window(kernel, strides, _pads(node, kernel, strides, size))


def _pads(node: RawNode, kernel: tuple[int, ...], strides: tuple[int, ...],
          size: tuple[int, int]) -> tuple[int, int, int, int]:
    mode = node.attributes.get("auto_pad", b"NOTSET").decode(errors="replace")
    if mode in ("NOTSET", ""):
        pads = read_integers(node, "pads", (0, 0, 0, 0))
        if len(pads) != 4 or min(pads) < 0:
            raise UserError(f"{node}: pads {list(pads)}; four numbers from 0 up are supported")
        return pads
    if mode == "VALID":
        return 0, 0, 0, 0
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise UserError(f"{node}: auto_pad '{mode}' is not supported")
    before, after = [], []
    for length, window, stride in zip(size, kernel, strides, strict=True):
        total = max((-(-length // stride) - 1) * stride + window - length, 0)
        small, large = total // 2, total - total // 2
        before.append(small if mode == "SAME_UPPER" else large)
        after.append(large if mode == "SAME_UPPER" else small)
    return before[0], before[1], after[0], after[1]


def read_integers(node: RawNode, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = node.attributes.get(name, default)
    if not isinstance(value, list | tuple) or not all(isinstance(each, int) for each in value):
        raise UserError(f"{node}: attribute '{name}' is not a list of integers")
    return tuple(value)


def read_integer(node: RawNode, name: str, default: int) -> int:
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise UserError(f"{node}: attribute '{name}' is not an integer")
    return value


def read_float(node: RawNode, name: str, default: float) -> float:
    value = node.attributes.get(name, default)
    if not isinstance(value, int | float):
        raise UserError(f"{node}: attribute '{name}' is not a number")
    return float(value)
