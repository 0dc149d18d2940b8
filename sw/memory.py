"""Places in memory: regions of the activation memory, and external maps by their lifetimes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .layers import FeatureMap, ceil_div

__all__ = ["Region", "consecutive_addresses", "external_addresses", "place"]

ALIGNMENT = 256
"""External maps start at whole 4 KiB, so that bursts are not cut."""


@dataclass(frozen=True)
class Region:
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def place(size: int, live: Iterable[Region], edges: Iterable[int], memory: int,
          cost: Callable[[int], tuple]) -> Region | None:
    """The cheapest free region of `size` that touches a live region, an edge or an end."""
    live = list(live)
    starts = {0, memory - size}
    for region in live:
        starts |= {region.end, region.start - size}
    for edge in edges:
        starts |= {edge, edge - size}
    free = [start for start in starts if 0 <= start <= memory - size and all(
        start >= region.end or start + size <= region.start for region in live)]
    return Region(min(free, key=cost), size) if free else None


def external_addresses(lifetimes: list[tuple[FeatureMap, int, int]],
                       base: int) -> tuple[dict[str, int], int]:
    """Addresses of maps that live over layers [first, last], and the end of the memory.

    A region is free for the next map once the last layer that reads it is over. That holds over
    images too, where layer 0 follows the last one: a pass writes after all earlier passes have got
    what they read, and so after the loads that they waited for; and loads never run ahead of the
    passes that write what they read.
    """
    taken: list[tuple[Region, int]] = []
    addresses = {}
    end = base
    for feature_map, first, last in sorted(lifetimes, key=lambda each: each[1]):
        taken = [(region, until) for region, until in taken if until >= first]
        size = ceil_div(feature_map.vectors, ALIGNMENT) * ALIGNMENT
        start = base
        for region, _ in sorted(taken, key=lambda each: each[0].start):
            if start + size <= region.start:
                break
            start = max(start, region.end)
        taken.append((Region(start, size), last))
        addresses[feature_map.name] = start
        end = max(end, start + size)
    return addresses, end


def consecutive_addresses(maps: Iterable[FeatureMap], base: int) -> tuple[dict[str, int], int]:
    """Addresses of maps one behind the other, and the vectors that all take together."""
    addresses, end = {}, base
    for feature_map in maps:
        addresses[feature_map.name] = end
        end += ceil_div(feature_map.vectors, ALIGNMENT) * ALIGNMENT
    return addresses, end - base
