"""The multiplier array: 16 input channels x ``co_lanes`` output channels x ``pixels``."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .adder_tree import Term, add_up
from .config import VECTOR, Config
from .ecp5 import copies
from .interfaces import Bytes
from .multiplier import latency, make_blocks

TREE_LEVELS = 2
"""Levels of adders that sum the terms of all blocks."""
SUM = signed(16 + exact_log2(VECTOR))
"""Sum of ``VECTOR`` products."""
GROUP = 4
"""Output channels that share their copies of the inputs, where the way to them is long (ECP5)."""


def array_latency(config: Config) -> int:
    """Cycles from ``x`` to ``sums``."""
    return latency(config) + TREE_LEVELS + (config.vendor == "ecp5")


class Array(wiring.Component):
    """Products of a tile's weights with ``pixels`` vectors, summed over the input channels.

    ``load[i]`` takes ``weights`` into the shadow of input channel ``i``; ``swap`` makes all shadows
    active for the pixels presented with it. ``sums[p][o]``, the dot product of pixel ``p`` with
    output channel ``o``, follows ``x`` by ``array_latency`` cycles.
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
        config = self.config
        inputs = {"load": self.load} | {
            f"x{p}": self.x[p].as_value() for p in range(config.pixels)}
        weights = self.weights
        if config.vendor == "ecp5":
            lanes = GROUP
            groups = config.co_lanes // GROUP
            given = {name: copies(m, name, value, groups) for name, value in inputs.items()}
            # One for all: its net takes a network of clocks.
            given["swap"] = copies(m, "swap", self.swap, 1) * groups
            weights = Signal.like(self.weights, reset_less=True)
            m.d.sync += weights.eq(self.weights)
        else:
            lanes = config.co_lanes
            given = {name: [value] for name, value in inputs.items()} | {"swap": [self.swap]}
        for group in range(config.co_lanes // lanes):
            load, *x, swap = (copy[group] for copy in given.values())
            here = [Cat(row[group * lanes:][:lanes]) for row in weights]
            for p in range(config.pixels):
                self._group(m, p, group * lanes, lanes, load, swap, here, x[p])
        return m

    def _group(self, m, p, first, lanes, load, swap, weights, x):
        """``lanes`` output channels of a pixel."""
        blocks = make_blocks(self.config, lanes)
        channel = 0
        for i, block in enumerate(blocks):
            m.submodules[f"block{p}_{first}_{i}"] = block
            m.d.comb += block.swap.eq(swap)
            for c in range(block.channels):
                m.d.comb += [
                    block.load[c].eq(load[channel]),
                    block.weights[c].as_value().eq(weights[channel % len(weights)]),
                    block.x[c].eq(x.word_select(channel, 8)),
                ]
                channel += 1
        for o in range(lanes):
            terms = [Term(block.terms[o]) for block in blocks]
            carries = [block.carries[o] for block in blocks if o in block.carry_lanes]
            m.d.comb += self.sums[p][first + o].eq(
                add_up(m, f"tree{p}_{first + o}", TREE_LEVELS, SUM.width, terms, carries,
                       reset_less=self.config.vendor == "ecp5"))
