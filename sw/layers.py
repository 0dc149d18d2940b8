"""What the core computes in one go: layers, the maps between them, and their parts.

Everything here is in the machine's uint8 domain: an int8 tensor is stored as value + 128, so its
zero points carry the 128 too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hw.config import VECTOR
from hw.isa import PIXELS_PER_VECTOR

from .graph import Quant

__all__ = ["Addition", "Average", "Branch", "FeatureMap", "Layer", "Network", "NetworkOutput",
           "Place", "Pooling", "Window", "ceil_div", "image_row_vectors", "unsigned_zero"]


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def unsigned_zero(quant: Quant) -> int:
    """The zero point of a tensor as the machine stores it."""
    return int(quant.zero_point) + (128 if quant.signed else 0)


@dataclass(frozen=True)
class FeatureMap:
    """A region of memory: the planes of a (C, H, W) tensor, or the int32 sums of a global average.

    `writers` counts the layers that write planes of it (several for a general concatenation).
    """

    name: str
    shape: tuple[int, int, int]
    sums: bool = False
    image: bool = False
    writers: int = 1

    @property
    def planes(self) -> int:
        return ceil_div(self.shape[0], VECTOR)

    @property
    def plane_vectors(self) -> int:
        """Vectors from one plane to the next."""
        return 4 if self.sums else self.shape[1] * self.shape[2]

    @property
    def vectors(self) -> int:
        if self.image:
            return self.shape[1] * image_row_vectors(self.shape[2])
        return self.planes * self.plane_vectors


def image_row_vectors(width: int) -> int:
    """Vectors of an image row: 4-byte pixels, padded to whole vectors."""
    return ceil_div(width * 4, VECTOR)


@dataclass(frozen=True)
class Place:
    """Where a tensor lives: planes of a map from `plane` on."""

    map: FeatureMap
    plane: int = 0


@dataclass(frozen=True, eq=False)
class Branch:
    """One convolution of a pass, as the array computes it.

    `weights` int8 [co, ci, k, k] (the gathered form for a first layer, where k is 1); `bias` int64
    [co] with the input's zero point folded in; `mantissa`, `shift` int64 [co]; `tensor` is the
    name of its result, `channel` the first channel of the layer's output that it makes.
    """

    name: str
    tensor: str
    weights: np.ndarray
    bias: np.ndarray
    mantissa: np.ndarray
    shift: np.ndarray
    zero: int
    low: int
    channel: int = 0
    macs: int = 0
    rescale: tuple[int, int, int] | None = None
    """(bias, mantissa, shift) from its own scale to the concatenation's."""

    @property
    def channels(self) -> int:
        return self.weights.shape[0]

    @property
    def groups(self) -> int:
        return ceil_div(self.weights.shape[0], VECTOR)

    @property
    def planes(self) -> int:
        return ceil_div(self.weights.shape[1], VECTOR)


@dataclass(frozen=True)
class Addition:
    """The bypass: `operand` is the other addend, in external memory."""

    tensor: str
    operand: Place
    add_a: int
    add_b: int
    add_c: int
    corrections: tuple[tuple[int, int, bool], ...]
    """(a, b, up)."""
    low: int


@dataclass(frozen=True)
class Pooling:
    """Square max pooling; `out_shape` is (rows, columns)."""

    name: str
    tensor: str
    kernel: int
    stride: int
    pad_top: int
    pad_left: int
    rows: int
    width: int
    out_shape: tuple[int, int]

    def _complete(self, size: int, pad: int) -> int:
        return max(0, (size + pad - self.kernel) // self.stride + 1)

    @property
    def close_right(self) -> int:
        return int(self.out_shape[1] > self._complete(self.width, self.pad_left))

    @property
    def used_rows(self) -> int:
        """Rows up to the last one that any window reads: no others need to be computed."""
        end = (self.out_shape[0] - 1) * self.stride - self.pad_top + self.kernel
        return min(self.rows, end)

    def finished(self, row: int) -> int:
        """Pooled rows that are complete once conv rows below `row` have come in."""
        if row >= self.used_rows:
            return self.out_shape[0]
        return min(self._complete(row, self.pad_top), self.out_shape[0])

    def phase(self, row: int) -> int:
        """Position of `row` in the oldest window that is still open there."""
        position = (row + self.pad_top) % self.stride
        if row + self.pad_top > 0 and position == 0 and self.kernel > self.stride:
            return self.stride
        return position


@dataclass(frozen=True)
class Average:
    """Global average: quantised with these parameters, or raw sums if `record` is None."""

    name: str
    tensor: str
    record: tuple[int, int, int] | None
    zero: int = 0


@dataclass(frozen=True)
class Window:
    """The window that a GATHER unrolls: the true kernel, stride and padding of a first layer."""

    kernel: int
    stride: int
    pad_top: int
    pad_left: int

    @property
    def vectors(self) -> int:
        """Vectors of one window."""
        return ceil_div(self.kernel ** 2, PIXELS_PER_VECTOR)


@dataclass(eq=False)
class Layer:
    """A gather or loads, an optional squeeze, one pass with branches A (1x1) and B, its stages.

    `in_shape` is what the main pass reads, (C, H, W): the squeeze map, the source, or the gathered
    planes; `conv_shape` its result before pooling. `stride` is the horizontal one; a vertical one
    that differs is `row_stride`: the rows then go one by one.
    """

    index: int
    name: str
    source: Place
    in_zero: int
    in_shape: tuple[int, int, int]
    conv_shape: tuple[int, int, int]
    kernel: int
    stride: int
    pad_top: int
    pad_left: int
    a: Branch | None
    b: Branch | None
    tensor: str
    """The result of the branches together, before addition and pooling."""
    output: Place | None = None
    squeeze: Branch | None = None
    gather: Window | None = None
    rescale_zero: int | None = None
    addition: Addition | None = None
    pooling: Pooling | None = None
    average: Average | None = None
    row_stride: int = 0
    """0: the same as `stride`."""

    def __post_init__(self) -> None:
        self.row_stride = self.row_stride or self.stride

    @property
    def main(self) -> list[Branch]:
        return [branch for branch in (self.a, self.b) if branch]

    @property
    def branches(self) -> list[Branch]:
        return ([self.squeeze] if self.squeeze else []) + self.main

    @property
    def planes(self) -> int:
        """Input planes of the main pass."""
        return self.main[0].planes

    @property
    def macs(self) -> int:
        return sum(branch.macs for branch in self.branches)

    @property
    def out_rows(self) -> int:
        """Rows of the map that the layer writes."""
        if self.average:
            return 1
        return self.pooling.out_shape[0] if self.pooling else self.conv_shape[1]

    @property
    def conv_rows(self) -> int:
        """Rows that the main pass computes."""
        return self.pooling.used_rows if self.pooling else self.conv_shape[1]

    def input_rows(self, start: int, stop: int) -> tuple[int, int]:
        """Rows of the main pass's input that its output rows [start, stop) read, at least one."""
        height = self.in_shape[1]
        first = min(max(0, start * self.row_stride - self.pad_top), height - 1)
        last = min(height, (stop - 1) * self.row_stride - self.pad_top + self.kernel)
        return first, max(last, first + 1)

    def output_rows(self, start: int, stop: int) -> tuple[int, int]:
        """Rows of the output map that conv rows [start, stop) complete."""
        if self.average:
            return (0, 1) if stop == self.conv_rows else (0, 0)
        if self.pooling:
            return self.pooling.finished(start), self.pooling.finished(stop)
        return start, stop


@dataclass(frozen=True)
class NetworkOutput:
    """What the host reads: `tensor` of the graph from `place`; for a mean the sums of `summed`, or
    `summed` itself."""

    tensor: str
    place: Place
    summed: str | None = None


@dataclass
class Network:
    """All layers in order, the input map and the outputs."""

    input: FeatureMap
    input_tensor: str
    layers: list[Layer]
    outputs: list[NetworkOutput]
    places: dict[str, Place] = field(default_factory=dict)
