"""Output shapes of the operators that only change the shape."""

from __future__ import annotations

import math

import numpy as np

from ..errors import UserError
from .attributes import read_integer, read_integers
from .raw import RawGraph, RawNode

__all__ = ["reshaped"]


def reshaped(raw: RawGraph, node: RawNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Output shape of a Flatten, Reshape, Squeeze or Unsqueeze of `shape`."""
    rank = len(shape)
    if node.op == "Flatten":
        axis = read_integer(node, "axis", 1)
        if not -rank <= axis <= rank:
            raise UserError(f"{node}: axis {axis} of a tensor with {rank} dimensions")
        axis += rank if axis < 0 else 0
        return math.prod(shape[:axis]), math.prod(shape[axis:])
    wanted = _integers(raw, node, "shape" if node.op == "Reshape" else "axes")
    if node.op == "Reshape":
        keeps_zeros = read_integer(node, "allowzero", 0)
        copied = [shape[i] if size == 0 and i < rank and not keeps_zeros else size
                  for i, size in enumerate(wanted)]
        known = math.prod(size for size in copied if size != -1)
        result = [math.prod(shape) // max(known, 1) if size == -1 else size for size in copied]
        if copied.count(-1) > 1 or math.prod(result) != math.prod(shape) \
                or min(result, default=1) < 1:
            raise UserError(f"{node}: shape {list(wanted)} does not fit {list(shape)}")
        return tuple(result)
    _check_axes(node, wanted, rank if node.op == "Squeeze" else rank + len(wanted))
    if node.op == "Squeeze":
        axes = {axis % rank for axis in wanted or range(rank) if wanted or shape[axis] == 1}
        if any(shape[axis] != 1 for axis in axes):
            raise UserError(f"{node}: axes {list(wanted)} of {list(shape)} are not all 1")
        return tuple(size for axis, size in enumerate(shape) if axis not in axes)
    result = list(shape)
    for axis in sorted(axis % (rank + len(wanted)) for axis in wanted):
        result.insert(axis, 1)
    return tuple(result)


def _check_axes(node: RawNode, axes: tuple[int, ...], rank: int) -> None:
    if any(not -rank <= axis < rank for axis in axes) \
            or len({axis % rank for axis in axes}) != len(axes):
        raise UserError(f"{node}: axes {list(axes)} of {rank} dimensions")


def _integers(raw: RawGraph, node: RawNode, name: str) -> tuple[int, ...]:
    """A list of integers given as attribute (old opsets) or as constant input."""
    if name in node.attributes:
        return read_integers(node, name, ())
    if not node.input(1):
        if node.op == "Squeeze":
            return ()
        raise UserError(f"{node}: its {name} is missing")
    values = raw.constants.get(node.inputs[1])
    if values is None or not np.issubdtype(values.dtype, np.integer):
        raise UserError(f"{node}: its {name} '{node.inputs[1]}' is not a constant of integers")
    return tuple(int(value) for value in values.reshape(-1))
