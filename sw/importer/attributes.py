"""Pass `operators`: refuse what is not in the table. Also: attributes of window operators."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError
from .raw import RawGraph, RawNode

__all__ = ["Window", "check_operators", "read_window"]

# Attributes that an operator may have: anything else is refused, never ignored.
_KNOWN: dict[str, set[str]] = {
    "Constant": {"value", "value_float", "value_floats", "value_int", "value_ints"},
    "Conv": {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"},
    "MaxPool": {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order",
                "strides"},
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


@dataclass(frozen=True)
class Window:
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]


def check_operators(graph: RawGraph) -> None:
    for node in graph.nodes:
        if node.op.startswith("QLinear") or node.op in ("ConvInteger", "MatMulInteger"):
            raise UserError(f"{node}: operator format is not supported; quantize in QDQ format")
        if node.op not in _KNOWN:
            raise UserError(f"{node}: operator {node.op} is not supported; supported are "
                            f"{', '.join(sorted(_KNOWN))}")
        unknown = sorted(set(node.attributes) - _KNOWN[node.op])
        if unknown:
            raise UserError(f"{node}: attribute '{unknown[0]}' is not supported")
        fewest = 2 if node.op in ("Conv", "Add", "QuantizeLinear", "DequantizeLinear") else 1
        if node.op != "Constant" and not all(node.input(index) for index in range(fewest)):
            raise UserError(f"{node}: {len(node.inputs)} inputs; it needs {fewest}")


def read_window(node: RawNode, size: tuple[int, int],
                of_weights: tuple[int, int] | None = None) -> Window:
    """Kernel, strides and explicit pads for an input of `size` (H, W); the kernel of a Conv is
    `of_weights`, which its attribute may repeat."""
    kernel = _ints(node, "kernel_shape", of_weights or ())
    if of_weights is not None and kernel != of_weights:
        raise UserError(f"{node}: kernel_shape is {list(kernel)}, its weights have "
                        f"{list(of_weights)}")
    strides = _ints(node, "strides", (1, 1))
    for name, numbers in (("kernel_shape", kernel), ("strides", strides)):
        if len(numbers) != 2 or min(numbers) < 1:
            raise UserError(f"{node}: {name} {list(numbers)}; two numbers from 1 up are supported")
    if set(_ints(node, "dilations", (1, 1))) != {1}:
        raise UserError(f"{node}: dilations {list(node.attributes['dilations'])}; only 1 is "
                        "supported")
    return Window(kernel, strides, _pads(node, kernel, strides, size))


def _pads(node: RawNode, kernel: tuple[int, ...], strides: tuple[int, ...],
          size: tuple[int, int]) -> tuple[int, int, int, int]:
    mode = node.attributes.get("auto_pad", b"NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode in ("NOTSET", ""):
        pads = _ints(node, "pads", (0, 0, 0, 0))
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


def _ints(node: RawNode, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = node.attributes.get(name, default)
    try:
        return tuple(int(number) for number in value)
    except (TypeError, ValueError):
        raise UserError(f"{node}: attribute '{name}' is not a list of integers") from None
