"""Bands: how the rows of a layer are cut into instructions, and what each one reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .layers import Layer

__all__ = ["Band", "Banding", "bandings"]

MORE = 4
"""Band counts tried beyond the fewest that fit."""

MAX_PIXELS = (1 << 16) - 1
"""Pixels of a pass that an instruction can count."""
RAMPS = (3, 2, 1.4)
"""Growth of the first bands of a gathered layer, which nothing before it can hide."""


@dataclass(frozen=True)
class Band:
    """Conv rows `rows`; `squeeze` rows that its squeeze computes; `source` rows that it needs in
    the activation memory, of the input map or of gathered windows. All are (first, end)."""

    rows: tuple[int, int]
    squeeze: tuple[int, int] | None
    source: tuple[int, int]


@dataclass(frozen=True)
class Banding:
    """All bands of a layer; `kept`: the squeeze map of all rows stays, else only a band's."""

    bands: tuple[Band, ...]
    kept: bool

    @property
    def source_rows(self) -> int:
        return max(band.source[1] - band.source[0] for band in self.bands)

    @property
    def squeeze_rows(self) -> int:
        """Rows of the squeeze region."""
        ends = [band.squeeze for band in self.bands if band.squeeze]
        if self.kept:
            return max((end for _, end in ends), default=0)
        return max((end - first for first, end in ends), default=0)


def bandings(layer: Layer, fits: Callable[[Banding, int], bool]) -> Iterator[Banding]:
    """Bandings worth trying: few bands first, with equal ones and with a smaller first band (it is
    what the array waits for).

    `fits(banding, copies)` tells whether the memory can hold that many copies of the source rows of
    a band. Without a squeeze, whose end frees the source, two copies let the next band be fetched
    while one is at work, so more and smaller bands are tried for that.
    """
    for kept in (True, False) if layer.squeeze else (True,):
        found = False
        for copies in (1,) if layer.squeeze else (1, 2):
            tried = 0
            for count in range(1, layer.conv_rows + 1):
                fitting = [banding for banding in _of_count(layer, count, kept)
                           if fits(banding, copies)]
                yield from fitting
                found |= bool(fitting)
                tried += bool(fitting)
                if tried > MORE:
                    break
        if found:
            return


def _of_count(layer: Layer, count: int, kept: bool) -> Iterator[Banding]:
    for cuts in _cuts(layer.conv_rows, count, layer.gather is not None):
        banding = _banding(layer, cuts, kept)
        if banding:
            yield banding


def _cuts(rows: int, count: int, ramp: bool) -> Iterator[list[int]]:
    """Row boundaries of `count` bands of full size."""
    yield [rows * i // count for i in range(count + 1)]
    if count > 1:
        parts = 2 * count - 1
        yield [0] + [rows * (2 * i - 1) // parts for i in range(1, count + 1)]
    if ramp:
        for growth in RAMPS:
            sizes = [-(-rows // count)]
            while sizes[0] > 3 and len(sizes) < 6:
                sizes.insert(0, math.ceil(sizes[0] / growth))
            head = [sum(sizes[:i]) for i in range(len(sizes))]
            rest = rows - head[-1]
            if len(head) > 1 and rest > 0:
                yield head[:-1] + [head[-1] + rest * i // count for i in range(count + 1)]


def _banding(layer: Layer, cuts: list[int], kept: bool) -> Banding | None:
    """None if a band would be empty or too large, or close no pooled row, or squeeze no new row,
    or have two rows though the vertical stride is not the horizontal one."""
    bands = []
    squeezed = 0
    for first, end in zip(cuts, cuts[1:], strict=False):
        if end <= first or end - first > 1 and layer.row_stride != layer.stride:
            return None
        pooled = layer.output_rows(first, end)
        if layer.pooling and pooled[0] == pooled[1]:
            return None
        needed = layer.input_rows(first, end)
        squeeze = None
        if layer.squeeze:
            squeeze = (squeezed, needed[1]) if kept else needed
            if squeeze[0] >= squeeze[1]:
                return None
            squeezed = needed[1]
        band = Band((first, end), squeeze, squeeze or needed)
        if max((end - first) * layer.conv_shape[2],
               (band.source[1] - band.source[0]) * layer.in_shape[2]) > MAX_PIXELS:
            return None
        bands.append(band)
    if layer.average and len(bands) > 1:
        return None
    return Banding(tuple(bands), kept)
