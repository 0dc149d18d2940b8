"""What the scheduler weighed for each layer, as data; `sw.explain` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from .bands import Banding
from .layers import Layer

__all__ = ["Alternative", "Choice", "Refusal", "Weighed"]


@dataclass(frozen=True)
class Alternative:
    """A way to run a layer: `bands` are conv rows (first, end), `kept` tells whether all rows of
    the squeeze stay on chip (None without a squeeze), `on_chip` whether the result does.

    `cycles`: from the start to the layer's end in the fastest schedule with it; `whole`: all layers
    in the fastest complete one, None if it was given up before.
    """

    bands: tuple[tuple[int, int], ...]
    kept: bool | None
    on_chip: bool
    cycles: int
    whole: int | None


@dataclass(frozen=True)
class Refusal:
    """Numbers of bands that do not fit: the least of them `needs` so many vectors of activation
    memory; None if they are there, but not in one piece."""

    counts: tuple[int, ...]
    kept: bool | None
    on_chip: bool
    needs: int | None


@dataclass(frozen=True)
class Choice:
    """`others` are the alternatives that fit, fastest first."""

    layer: Layer
    chosen: Alternative
    others: tuple[Alternative, ...]
    refused: tuple[Refusal, ...]


Key = tuple[int, Banding, bool]
"""Layer, banding, and whether the result stays on chip."""
Chosen = list[tuple[Layer, Banding, bool]]


class Weighed:
    """Collects the alternatives during the search."""

    def __init__(self) -> None:
        self._ends: dict[Key, int | None] = {}
        self._needs: dict[tuple[int, bool, bool], dict[int, int]] = {}

    def tried(self, layer: Layer, banding: Banding, keep: bool, end: int | None) -> None:
        """The layer ends at `end`, or finds no place."""
        key = layer.index, banding, keep
        before = self._ends.get(key)
        self._ends[key] = before if end is None else end if before is None else min(before, end)

    def refused(self, layer: Layer, banding: Banding, keep: bool, needs: int) -> None:
        """It needs more vectors than the memory has."""
        least = self._needs.setdefault((layer.index, banding.kept, keep), {})
        count = len(banding.bands)
        least[count] = min(needs, least.get(count, needs))

    def choices(self, chosen: Chosen, complete: list[tuple[int, Chosen]]) -> list[Choice]:
        """`complete`: cycles of complete schedules, and what each has chosen."""
        whole: dict[Key, int] = {}
        for cycles, each in complete:
            for layer, banding, keep in each:
                key = layer.index, banding, keep
                whole[key] = min(cycles, whole.get(key, cycles))
        return [self._choice(layer, (layer.index, banding, keep), whole)
                for layer, banding, keep in chosen]

    def _choice(self, layer: Layer, chosen: Key, whole: dict[Key, int]) -> Choice:
        def alternative(key: Key) -> Alternative:
            _, banding, keep = key
            return Alternative(tuple(band.rows for band in banding.bands),
                               banding.kept if layer.squeeze else None, keep, self._ends[key],
                               whole.get(key))

        mine = [key for key in self._ends if key[0] == layer.index]
        others = [alternative(key) for key in mine
                  if key != chosen and self._ends[key] is not None]
        others.sort(key=lambda each: (each.whole is None, each.whole or 0, each.cycles))
        return Choice(layer, alternative(chosen), tuple(others), tuple(self._refusals(layer, mine)))

    def _refusals(self, layer: Layer, mine: list[Key]) -> Iterator[Refusal]:
        for kept, keep in product((True, False), repeat=2):
            here = [(len(banding.bands), self._ends[key]) for key in mine
                    for banding in [key[1]] if (banding.kept, key[2]) == (kept, keep)]
            fits = {count for count, end in here if end is not None}
            scattered = {count for count, _ in here} - fits
            least = self._needs.get((layer.index, kept, keep), {})
            large = least.keys() - fits - scattered
            squeeze = kept if layer.squeeze else None
            if large:
                yield Refusal(tuple(sorted(large)), squeeze, keep,
                              min(least[count] for count in large))
            if scattered:
                yield Refusal(tuple(sorted(scattered)), squeeze, keep, None)
