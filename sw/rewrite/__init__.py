"""Rewrites of the typed graph into one whose every node the core has a path for.

Each is a function from a graph to a graph with the same results, bit for bit; what it inserts are
convolutions (and pools and additions behind them) whose sums are exact integers. Tensors keep their
names; new ones are named after those that they come from, see `edit.Editor`.
"""

from __future__ import annotations

from collections.abc import Callable

from hw.config import Config

from ..graph import Graph
from .average import replace_averages
from .concats import arrange_concats
from .convolutions import shape_convolutions
from .fusion import insert_carriers
from .groups import split_groups
from .pools import replace_pools

__all__ = ["REWRITES", "rewrite"]

REWRITES: tuple[tuple[str, Callable[[Graph, Config], Graph]], ...] = (
    ("averages", replace_averages),
    ("pools", replace_pools),
    ("convolutions", shape_convolutions),
    ("groups", split_groups),
    ("concats", arrange_concats),
    ("carriers", insert_carriers),
)
"""Name and function, in order."""


def rewrite(graph: Graph, config: Config | None = None) -> Graph:
    """All rewrites, for a core of this configuration. Raises UserError naming a node that has no
    exact form on the core."""
    for _, function in REWRITES:
        graph = function(graph, config or Config())
    return graph
