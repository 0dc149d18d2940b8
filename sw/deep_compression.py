"""Reader of Deep Compression's container (Han et al.): pruned layers with shared weights.

The file holds little-endian, for a network whose layers the reader must know:

* the number of stored entries of each layer, uint32;
* then layer by layer: a codebook of 256 float32, of which entry 0 is 0; a float32 bias for each
  output channel; a uint8 code for each stored entry; a 4-bit gap for each, two to a byte, the low
  half first, the half that an odd number leaves over being 0.

An entry lies `gap + 1` weights behind the one before. Code 0 is a filler, with gap 15, where more
zeros follow one another than a gap can say. Weights that no entry names are 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .errors import UserError

__all__ = ["decode", "read"]

CODEBOOK = 256
LONGEST = 15
Layers = dict[str, tuple[np.ndarray, np.ndarray]]


def read(path: str | Path, shapes: Mapping[str, tuple[int, ...]]) -> Layers:
    """`decode` of a file; raises UserError, one line with the file and the layer."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return decode(data, shapes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def decode(data: bytes, shapes: Mapping[str, tuple[int, ...]]) -> Layers:
    """float32 weights and biases [co] of each layer by name; `shapes` are those of the weights
    [co, ...] in the order of the file. Raises UserError if the file is truncated or damaged."""
    source = _Source(data)
    counts = source.take("<u4", len(shapes), "the table of entries")
    layers = {}
    for (name, shape), count in zip(shapes.items(), counts.tolist(), strict=True):
        layers[name] = _layer(source, name, shape, count)
    if source.left:
        raise UserError(f"damaged: {source.left} bytes follow the last layer")
    return layers


class _Source:
    """The bytes of a container from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.place

    def take(self, dtype: str, count: int, what: str) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        if size > self.left:
            raise UserError(f"truncated: {what} takes {size} bytes from {self.place} on, "
                            f"the file has {self.left}")
        self.place += size
        return np.frombuffer(self.data, dtype, count, self.place - size)


def _layer(source: _Source, name: str, shape: tuple[int, ...],
           count: int) -> tuple[np.ndarray, np.ndarray]:
    size = math.prod(shape)
    if not 1 <= count <= size:
        raise UserError(f"damaged: layer {name} has {size} weights and {count} stored entries")
    codebook = source.take("<f4", CODEBOOK, f"the codebook of {name}")
    biases = source.take("<f4", shape[0], f"the biases of {name}")
    codes = source.take("u1", count, f"the codes of {name}")
    pairs = source.take("u1", (count + 1) // 2, f"the gaps of {name}")
    gaps = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)
    places = np.cumsum(gaps[:count].astype(np.int64) + 1) - 1
    for wrong, what in (
            (codebook[0] != 0, "entry 0 of its codebook is not 0"),
            (not np.isfinite(codebook).all(), "its codebook holds values that are not finite"),
            (not np.isfinite(biases).all(), "its biases hold values that are not finite"),
            (gaps[count:].any(), "the unused half of its last byte of gaps is not 0"),
            ((gaps[:count][codes == 0] != LONGEST).any(), f"a filler has not gap {LONGEST}"),
            (places[-1] >= size, f"its entries reach weight {places[-1]} of {size}")):
        if wrong:
            raise UserError(f"damaged: layer {name}: {what}")
    weights = np.zeros(size, np.float32)
    weights[places] = codebook[codes]
    return weights.reshape(shape), biases.astype(np.float32)
