"""Pass `bounds`: no sum of the array or of a bias may leave the accumulator."""

from __future__ import annotations

import numpy as np

from hw.config import Config

from .errors import UserError
from .layers import Branch, Layer, Network

__all__ = ["check_bounds", "sum_bounds"]

BYTE = 255


def sum_bounds(branch: Branch) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sum [co] that any input gives, over every partial sum and with bias."""
    weights = branch.weights.astype(np.int64)
    low = BYTE * np.minimum(weights, 0).sum(axis=(1, 2, 3))
    high = BYTE * np.maximum(weights, 0).sum(axis=(1, 2, 3))
    return np.minimum(low, low + branch.bias), np.maximum(high, high + branch.bias)


def check_bounds(network: Network, config: Config) -> None:
    """Raises UserError naming the node, its worst channel, the bound and the width."""
    for layer in network.layers:
        for branch in layer.branches:
            low, high = sum_bounds(branch)
            _check(branch.name, low, high, config.acc_width)
        _check_average(layer, config.acc_width)


def _check(name: str, low: np.ndarray, high: np.ndarray, width: int) -> None:
    limit = 1 << (width - 1)
    worst = int(np.argmax(np.maximum(-low - 1, high)))
    bound = int(max(-low[worst], high[worst] + 1))
    if bound > limit:
        raise UserError(f"{name}: the sums of channel {worst} can reach {int(low[worst])} to "
                        f"{int(high[worst])}, beyond {width} bits of accumulator; a wider "
                        "acc_width is needed (up to 25 is supported)")


def _check_average(layer: Layer, width: int) -> None:
    if layer.average and layer.average.record:
        top = BYTE * layer.conv_shape[1] * layer.conv_shape[2]
        bias = layer.average.record[0]
        _check(layer.average.name, np.array([min(0, bias)]), np.array([max(top, top + bias)]),
               width)
