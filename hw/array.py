"""The multiplier array: 16 input channels x ``co_lanes`` output channels x ``pixels``."""

from functools import reduce
from operator import add

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR, Config
from .interfaces import Bytes
from .multiplier import EXCESS, LATENCY, make_blocks

TREE_LEVELS = exact_log2(VECTOR)
SUM = signed(16 + TREE_LEVELS)
"""Sum of ``VECTOR`` products."""
ARRAY_LATENCY = LATENCY + TREE_LEVELS
"""Cycles from ``x`` to ``sums``."""


def adder_tree(m, terms, name: str):
    """Sum of up to ``VECTOR`` signed terms modulo ``2**SUM.width``, ``TREE_LEVELS`` cycles later.

    One register a level; no adder is wider than its operands ask for. Raises ValueError for more
    terms than the tree has room for.
    """
    if not 1 <= len(terms) <= VECTOR:
        raise ValueError(f"{len(terms)} terms: a tree of {TREE_LEVELS} levels takes 1 to {VECTOR}")
    for level in range(TREE_LEVELS):
        sums = []
        for i in range(0, len(terms), 2):
            total = sum(terms[i + 1:i + 2], terms[i])
            width = min(total.shape().width, SUM.width)
            register = Signal(signed(width), name=f"{name}_{level}_{i // 2}", reset_less=True)
            m.d.sync += register.eq(total)
            sums.append(register)
        terms = sums
    return terms[0]


class Excess(wiring.Component):
    """What the even lanes of packed blocks have too much: the term that sets their sum right.

    ``correction = center - EXCESS * sum(x)`` of ``count`` activations. Latency: ``LATENCY`` cycles,
    that of the blocks, so that it is one more term of the tree.
    """

    def __init__(self, count: int, center: int):
        if center % EXCESS:
            raise ValueError(f"center {center} is not a multiple of {EXCESS}")
        self.center = center
        super().__init__({"x": In(data.ArrayLayout(unsigned(8), count)), "correction": Out(SUM)})

    def elaborate(self, platform):
        m = Module()
        values = list(self.x)
        for level in range(LATENCY - 1):
            groups = [values[i:i + 3] for i in range(0, len(values), 3)]
            values = []
            for i, group in enumerate(groups):
                total = Signal(unsigned(10 + 2 * level), name=f"x{level}_{i}", reset_less=True)
                m.d.sync += total.eq(reduce(add, group))
                values.append(total)
        units = Signal(signed(SUM.width - exact_log2(EXCESS)), reset_less=True)
        m.d.sync += units.eq(self.center // EXCESS - reduce(add, values))
        m.d.comb += self.correction.eq(units << exact_log2(EXCESS))
        return m


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
        channel, packed = 0, []
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
                if block.center:
                    packed.append(self.x[p][channel])
                channel += 1
        corrections = []
        if packed:
            m.submodules[f"excess{p}"] = excess = Excess(
                len(packed), sum(block.center for block in blocks))
            m.d.comb += [to.eq(x) for to, x in zip(excess.x, packed, strict=True)]
            corrections = [excess.correction]
        for o in range(self.config.co_lanes):
            terms = [block.terms[o] for block in blocks] + (corrections if o % 2 == 0 else [])
            m.d.comb += self.sums[p][o].eq(adder_tree(m, terms, f"tree{p}_{o}"))
