"""The multiplier array: 16 input channels x ``co_lanes`` output channels x ``pixels``."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import VECTOR, Config
from .interfaces import Bytes
from .multiplier import LATENCY, make_row

PRODUCT = signed(16)
"""A uint8 activation times an int8 weight."""

TREE_LEVELS = VECTOR.bit_length() - 1
SUM = signed(PRODUCT.width + TREE_LEVELS)
"""Sum over the input channels of a vector."""
ARRAY_LATENCY = LATENCY + TREE_LEVELS
"""Cycles from ``x`` to ``sums``."""


def add_with_carry(a, b, carry):
    """``a + b + carry`` on one carry chain: the carry enters through an extra lowest bit."""
    total = Cat(Const(1, 1), a).as_signed() + Cat(carry, b).as_signed()
    return total[1:].as_signed()


class AdderTree(wiring.Component):
    """Sum of ``VECTOR`` products and as many carries, one register a level.

    Each adder takes one carry; the one left over leaves beside the sum, aligned with it.
    Latency: ``TREE_LEVELS`` cycles.
    """

    products: In(data.ArrayLayout(PRODUCT, VECTOR))
    carries: In(VECTOR)
    sum: Out(SUM)
    carry: Out(1)

    def elaborate(self, platform):
        m = Module()
        terms = list(self.products)
        carries = list(self.carries)
        for level in range(TREE_LEVELS):
            sums = []
            for i in range(0, len(terms), 2):
                total = Signal(signed(PRODUCT.width + level + 1), name=f"sum{level}_{i // 2}")
                m.d.sync += total.eq(add_with_carry(terms[i], terms[i + 1], carries[i // 2]))
                sums.append(total)
            left = Signal(len(carries) - len(sums), name=f"carries{level}")
            m.d.sync += left.eq(Cat(carries[len(sums):]))
            terms, carries = sums, list(left)
        m.d.comb += [self.sum.eq(terms[0]), self.carry.eq(carries[0])]
        return m


class Array(wiring.Component):
    """Products of a tile's weights with ``pixels`` vectors, summed over the input channels.

    ``load[i]`` takes ``weights`` into the shadow of input channel ``i``; ``swap`` makes all shadows
    active for the pixels presented with it. ``sums[p][o]`` and ``carries[p][o]`` follow ``x`` by
    ``ARRAY_LATENCY`` cycles; their sum is the dot product of pixel ``p`` with output channel ``o``.
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
            "carries": Out(data.ArrayLayout(config.co_lanes, config.pixels)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        rows_per_vector = VECTOR // config.tile_vectors
        for p in range(config.pixels):
            rows = []
            for i in range(VECTOR):
                row = m.submodules[f"row{p}_{i}"] = make_row(config, i)
                m.d.comb += [
                    row.load.eq(self.load[i]),
                    row.weights.as_value().eq(self.weights[i % rows_per_vector].as_value()),
                    row.swap.eq(self.swap),
                    row.x.eq(self.x[p][i]),
                ]
                rows.append(row)
            for o in range(config.co_lanes):
                tree = m.submodules[f"tree{p}_{o}"] = AdderTree()
                for i, row in enumerate(rows):
                    m.d.comb += [
                        tree.products[i].eq(row.products[o]),
                        tree.carries[i].eq(row.carries[o // 2] if o % 2 else 0),
                    ]
                m.d.comb += [
                    self.sums[p][o].eq(tree.sum),
                    self.carries[p][o].eq(tree.carry),
                ]
        return m
