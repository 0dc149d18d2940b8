"""The weight stream of a pass: parameter blocks and tiles (`hw.isa.Walk` gives the order)."""

from __future__ import annotations

import numpy as np

from hw.config import VECTOR, Config
from hw.isa import MANTISSA, RECORD_VECTORS, SHIFT

from .bands import Band
from .estimate import pass_strips
from .layers import Branch, Layer, ceil_div

__all__ = ["instruction_runs", "is_refetched", "layer_stream", "main_stream", "parameter_blocks",
           "squeeze_stream", "tiles", "weight_runs"]


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


def is_refetched(branches: list[Branch], config: Config) -> bool:
    """Whether the ring cannot hold the tiles of 16 output channels, so that each strip of a pass
    fetches them again."""
    return (tiles_of(branches) + 1) * VECTOR > config.weight_vectors


def instruction_runs(layer: Layer, band: Band, config: Config) -> list[tuple[int, int]]:
    """`weight_runs` of the instruction of a band."""
    return weight_runs(layer, config, *(
        strips.count for strips in pass_strips(layer, band, config)))


def tiles_of(branches: list[Branch]) -> int:
    """Tiles of 16 x 16 weights that a strip meets for 16 output channels of each branch."""
    return sum(branch.planes * branch.weights.shape[2] ** 2 for branch in branches)


def weight_runs(layer: Layer, config: Config, *strips: int) -> list[tuple[int, int]]:
    """What one instruction takes of `layer_stream`: (first vector, vectors) of each run, one behind
    the other; `strips` are those of each pass."""
    runs: list[list[int]] = []

    def take(first: int, count: int) -> None:
        if runs and sum(runs[-1]) == first:
            runs[-1][1] += count
        else:
            runs.append([first, count])

    first = 0
    passes = [([layer.squeeze], [])] * bool(layer.squeeze) + [(layer.main, _head(layer))]
    for (branches, head), count in zip(passes, strips, strict=True):
        times = count if is_refetched(branches, config) else 1
        take(first, RECORD_VECTORS * len(head))
        first += RECORD_VECTORS * len(head)
        for index in range(max(branch.groups for branch in branches)):
            present = [branch for branch in branches if index < branch.groups]
            take(first, RECORD_VECTORS * len(present))
            first += RECORD_VECTORS * len(present)
            size = VECTOR * tiles_of(present)
            for _ in range(times):
                take(first, size)
            first += size
    return [(start, count) for start, count in runs if count]


def squeeze_stream(layer: Layer, config: Config) -> np.ndarray:
    """uint8 [vectors, 16] of the squeeze pass."""
    return _joined([], [layer.squeeze], config)


def main_stream(layer: Layer, config: Config) -> np.ndarray:
    """uint8 [vectors, 16] of the main pass."""
    return _joined(_head(layer), layer.main, config)


def layer_stream(layer: Layer, config: Config) -> np.ndarray:
    """uint8 [vectors, 16] of one CONV or FIRE."""
    parts = [squeeze_stream(layer, config)] if layer.squeeze else []
    return np.concatenate([*parts, main_stream(layer, config)])


def _head(layer: Layer) -> list[np.ndarray]:
    """Parameter blocks before those of the first group."""
    head = []
    if layer.rescale_zero is not None:
        head += [_uniform_block(branch.rescale) for branch in layer.main]
    if layer.average and layer.average.record:
        head.append(_uniform_block(layer.average.record))
    return head


def _groups(branches: list[Branch], config: Config) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """For each group (parameter block, tiles) of the branches that take part in it."""
    groups = [list(zip(parameter_blocks(branch.bias, branch.mantissa, branch.shift),
                       tiles(branch.weights, config.co_lanes), strict=True))
              for branch in branches]
    return [[group[index] for group in groups if index < len(group)]
            for index in range(max(map(len, groups)))]


def _uniform_block(record: tuple[int, int, int]) -> np.ndarray:
    """A block with one record for every channel, [RECORD_VECTORS, 16]."""
    return parameter_blocks(*(np.full(VECTOR, value, np.int64) for value in record))[0]


def _joined(head: list[np.ndarray], branches: list[Branch], config: Config) -> np.ndarray:
    parts = [part[kind] for group in _groups(branches, config) for kind in (0, 1)
             for part in group]
    return np.concatenate([*head, *parts])
