"""Bands: how the rows of a layer are cut into instructions, and what each one reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .layers import Layer

__all__ = ["Band", "Banding", "bandings"]

MORE = 4
"""Band counts tried beyond the fewest that fit."""


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


def bandings(layer: Layer, fits) -> Iterator[Banding]:
    """Bandings for which `fits(banding)` holds: few bands first, equal ones and ones with a smaller
    first band (it is what the array waits for)."""
    rows = layer.conv_rows
    for kept in (True, False):
        found = 0
        for count in range(1, rows + 1):
            any_fits = False
            for cuts in _cuts(rows, count, layer.gather is not None):
                banding = _banding(layer, cuts, kept)
                if banding and fits(banding):
                    any_fits = True
                    yield banding
            found += any_fits
            if found > MORE:
                break
        if found or not layer.squeeze:
            return


def _cuts(rows: int, count: int, ramp: bool) -> Iterator[list[int]]:
    """Row boundaries of `count` bands of full size."""
    yield [rows * i // count for i in range(count + 1)]
    if count > 1:
        parts = 2 * count - 1
        yield [0] + [rows * (2 * i - 1) // parts for i in range(1, count + 1)]
    if ramp:
        size = -(-rows // count)
        steps = [0]
        while size > 3 and len(steps) < 5:
            size = -(-size // 3)
            steps.append(size)
        head = [0]
        for step in reversed(steps[1:]):
            head.append(head[-1] + step)
        rest = rows - head[-1]
        if rest > 0:
            yield head + [head[-1] + rest * i // count for i in range(1, count + 1)]


def _banding(layer: Layer, cuts: list[int], kept: bool) -> Banding | None:
    """None if a band would be empty, or close no pooled row, or squeeze no new row."""
    bands = []
    squeezed = 0
    for first, end in zip(cuts, cuts[1:], strict=False):
        if end <= first:
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
        bands.append(Band((first, end), squeeze, squeeze or needed))
    if layer.average and len(bands) > 1:
        return None
    return Banding(tuple(bands), kept)
