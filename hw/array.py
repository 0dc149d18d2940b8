"""The multiplier array: 16 input channels x ``co_lanes`` output channels x ``pixels``."""

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .adder_tree import Term, add_up
from .config import VECTOR, Config
from .interfaces import Bytes
from .multiplier import LATENCY, make_blocks

TREE_LEVELS = 2
"""Levels of adders that sum the terms of all blocks."""
SUM = signed(16 + exact_log2(VECTOR))
"""Sum of ``VECTOR`` products."""
ARRAY_LATENCY = LATENCY + TREE_LEVELS
"""Cycles from ``x`` to ``sums``."""


class Array(wiring.Component):
    """Products of a tile's weights with ``pixels`` vectors, summed over the input channels.

    ``load[i]`` takes ``weights`` into the shadow of input channel ``i``; ``swap`` makes all shadows
    active for the pixels presented with it. ``sums[p][o]``, the dot product of pixel ``p`` with
    output channel ``o``, follows ``x`` by ``ARRAY_LATENCY`` cycles.
    """

    def __init__(self, config: Config):
        self.config = config
        rows_per_vector = VECTOR // config.tile_vectors
        super().__init__({
            "load": In(VECTOR),
            "weights": In(data.ArrayLayout(data.ArrayLayout(8, config.co_lanes),
                                           rows_per_vector)),
            "swap": In(1),
            "x": In(data.ArrayLayout(Bytes, config.pixels)),
            "sums": Out(data.ArrayLayout(data.ArrayLayout(SUM, config.co_lanes), config.pixels)),
        })

    def elaborate(self, platform):
        m = Module()
        for p in range(self.config.pixels):
            self._pixel(m, p)
        return m

    def _pixel(self, m, p):
        rows_per_vector = VECTOR // self.config.tile_vectors
        blocks = make_blocks(self.config)
        channel = 0
        for i, block in enumerate(blocks):
            m.submodules[f"block{p}_{i}"] = block
            m.d.comb += block.swap.eq(self.swap)
            for c in range(block.channels):
                m.d.comb += [
                    block.load[c].eq(self.load[channel]),
                    block.weights[c].as_value().eq(
                        self.weights[channel % rows_per_vector].as_value()),
                    block.x[c].eq(self.x[p][channel]),
                ]
                channel += 1
        for o in range(self.config.co_lanes):
            terms = [Term(block.terms[o]) for block in blocks]
            carries = [block.carries[o] for block in blocks if o in block.carry_lanes]
            m.d.comb += self.sums[p][o].eq(
                add_up(m, f"tree{p}_{o}", TREE_LEVELS, SUM.width, terms, carries))
