"""Cross-layer equalisation: channels of an activation are scaled to use its 8 bits alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .network import WINDOWS, FloatNetwork, Op

__all__ = ["STRENGTH", "equalise", "scalable"]

STRENGTH = 0.5
"""1 would give all channels one range, at the cost of the weights that read them."""
_MOST = 16.0


def scalable(network: FloatNetwork) -> dict[str, list[tuple[Op, int]]]:
    """The tensors given by a Conv of which only other Convs see a channel's scale (past pools and
    concatenations), each with those Convs and the first of its channels there."""
    found = {}
    for op in network.ops:
        if op.kind == "Conv" and op.limit is None:
            readers = _readers(network, op.output, 0)
            if readers:
                found[op.output] = readers
    return found


def equalise(network: FloatNetwork, magnitudes: Mapping[str, np.ndarray],
             strength: float = STRENGTH) -> None:
    """Multiplies channel c by (largest of all / largest of c) ** strength, and divides the weights
    that read it: the network computes the same, since Relu and pools keep positive factors.
    `magnitudes` [c]: the largest of each channel, for the tensors of `scalable`."""
    producers = {op.output: op for op in network.ops}
    for tensor, readers in scalable(network).items():
        largest = magnitudes[tensor]
        used = largest > 0
        factor = np.ones(len(largest))
        factor[used] = np.minimum((largest.max() / largest[used]) ** strength, _MOST)
        op = producers[tensor]
        op.weights = op.weights * factor[:, None, None, None]
        op.bias = op.bias * factor
        for reader, first in readers:
            _divide(reader, first, factor)


def _divide(op: Op, first: int, factor: np.ndarray) -> None:
    """Weights for the input channels from `first` on, divided."""
    count, each = op.weights.shape[:2]
    group = np.arange(count) // (count // op.attributes["group"])
    channels = group[:, None] * each + np.arange(each) - first  # [co, ci / group]
    inside = (channels >= 0) & (channels < len(factor))
    divisor = np.where(inside, factor[np.clip(channels, 0, len(factor) - 1)], 1.0)
    op.weights = op.weights / divisor[:, :, None, None]


def _readers(network: FloatNetwork, tensor: str, first: int) -> list[tuple[Op, int]]:
    """Empty if anything but a Conv depends on a channel's scale."""
    if network.is_output(tensor):
        return []
    found = []
    for op in network.readers(tensor):
        if op.kind == "Conv":
            found.append((op, first))
            continue
        if op.kind not in (*WINDOWS, "Concat"):
            return []
        starts = [first]
        if op.kind == "Concat":
            sizes = [network.shapes[name][0] for name in op.inputs]
            starts = [first + sum(sizes[:i]) for i, name in enumerate(op.inputs) if name == tensor]
        for start in starts:
            behind = _readers(network, op.output, start)
            if not behind:
                return []
            found += behind
    return found
