"""The weight stream of a pass: parameter blocks and tiles (`hw.isa.Walk` gives the order)."""

from __future__ import annotations

import numpy as np

from hw.config import VECTOR, Config
from hw.isa import MANTISSA, RECORD_VECTORS, SHIFT

from .errors import UserError
from .layers import Branch, Layer, ceil_div

__all__ = ["layer_stream", "main_stream", "parameter_blocks", "squeeze_stream", "tiles"]


def parameter_blocks(bias: np.ndarray, mantissa: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """uint8 [groups, RECORD_VECTORS, 16] of per-channel records; missing channels are zero.

    `bias` fits int32, `mantissa` and `shift` their fields (ValueError otherwise).
    """
    if (np.abs(bias.astype(np.int64)) >= 1 << 31).any():
        raise ValueError("a bias does not fit 32 bits")
    for name, values, bits in (("mantissa", mantissa, MANTISSA), ("shift", shift, SHIFT)):
        if ((values < 0) | (values >= 1 << bits)).any():
            raise ValueError(f"a {name} does not fit {bits} bits")
    groups = ceil_div(len(bias), VECTOR)
    records = np.zeros((groups * VECTOR, 2), "<u4")
    records[:len(bias), 0] = bias.astype(np.int64) & 0xFFFF_FFFF
    records[:len(bias), 1] = mantissa.astype(np.int64) | shift.astype(np.int64) << MANTISSA
    return records.view(np.uint8).reshape(groups, RECORD_VECTORS, VECTOR)


def tiles(weights: np.ndarray, co_lanes: int) -> np.ndarray:
    """uint8 [groups, vectors, 16] of int8 weights [co, ci, k, k]: the tiles of each group."""
    co, ci, kernel, _ = weights.shape
    groups, planes, halves = ceil_div(co, VECTOR), ceil_div(ci, VECTOR), VECTOR // co_lanes
    padded = np.zeros((groups * VECTOR, planes * VECTOR, kernel, kernel), np.int8)
    padded[:co, :ci] = weights
    split = padded.reshape(groups, halves, co_lanes, planes, VECTOR, kernel, kernel)
    # group, half, ky, kx, plane, ci, co
    ordered = split.transpose(0, 1, 5, 6, 3, 4, 2)
    return np.ascontiguousarray(ordered).view(np.uint8).reshape(groups, -1, VECTOR)


def squeeze_stream(layer: Layer, config: Config) -> np.ndarray:
    """uint8 [vectors, 16] of the squeeze pass."""
    groups = _branch_groups(layer.squeeze, config)
    return _joined(layer, [np.concatenate(group) for group in groups], config)


def main_stream(layer: Layer, config: Config) -> np.ndarray:
    """uint8 [vectors, 16] of the main pass."""
    head = []
    if layer.rescale_zero is not None:
        for branch in layer.main:
            head.append(_uniform_block(branch.rescale))
    if layer.average and layer.average.record:
        head.append(_uniform_block(layer.average.record))
    branches = [_branch_groups(branch, config) for branch in layer.main]
    groups = []
    for index in range(max(map(len, branches))):
        present = [branch[index] for branch in branches if index < len(branch)]
        groups.append(np.concatenate([part for kind in (0, 1)
                                      for part in (group[kind] for group in present)]))
    return _joined(layer, groups, config, head)


def layer_stream(layer: Layer, config: Config) -> np.ndarray:
    """uint8 [vectors, 16] of one CONV or FIRE. Raises UserError if the ring is too small."""
    parts = [squeeze_stream(layer, config)] if layer.squeeze else []
    return np.concatenate([*parts, main_stream(layer, config)])


def _branch_groups(branch: Branch, config: Config) -> list[tuple[np.ndarray, np.ndarray]]:
    """(parameter block, tiles) of each group, each [vectors, 16]."""
    blocks = parameter_blocks(branch.bias, branch.mantissa, branch.shift)
    return list(zip(blocks, tiles(branch.weights, config.co_lanes), strict=True))


def _uniform_block(record: tuple[int, int, int]) -> np.ndarray:
    """A block with one record for every channel, [RECORD_VECTORS, 16]."""
    return parameter_blocks(*(np.full(VECTOR, value, np.int64) for value in record))[0]


def _joined(layer: Layer, groups: list[np.ndarray], config: Config, head=()) -> np.ndarray:
    largest = max(map(len, groups)) // VECTOR * VECTOR + VECTOR
    if largest > config.weight_vectors:
        raise UserError(f"layer '{layer.name}': the weights of {VECTOR} output channels take "
                        f"{largest} vectors, the weight ring holds {config.weight_vectors}")
    return np.concatenate([*head, *groups])
