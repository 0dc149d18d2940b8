"""Multiplier rows: one input channel against ``co_lanes`` output channels, three implementations.

All rows share one signature and one latency, so the array mixes them freely. Weights are double
buffered: a shadow bank loads while the active bank multiplies.
"""

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .config import VECTOR, Config

LATENCY = 3
"""Cycles from an activation on ``x`` to its products: input, multiplier and output register."""

NIBBLE = 16
"""Multiples of a weight in one bank of a table: one for each value of half an activation."""
MULTIPLE = 12
"""Bits of a signed multiple: -128 * 15 to 127 * 15."""


class MultiplierRow(wiring.Component):
    """Products of a uint8 activation with ``co_lanes`` int8 weights, one activation a cycle.

    The products of the activation in cycle ``t`` appear in cycle ``t + LATENCY``. ``load`` puts
    ``weights`` into the shadow bank; ``swap`` makes the shadow bank active for the activation of
    the same cycle and later ones. ``swap`` comes at least ``LOAD_CYCLES`` cycles after ``load``;
    the next ``load`` may come in the cycle of the ``swap``. There is no reset of the datapath.

    Members
    -------
    x : In(8)
        Activation, 0 to 255.
    products : Out(co_lanes x signed(16))
        Lane ``i``; lanes 2k+1 are one short where bit ``k`` of ``carries`` is set.
    carries : Out(co_lanes / 2)
        What is still to be added to the odd lanes (constant 0 but in ``PackedRow``).
    """

    LOAD_CYCLES = 1
    """Least distance in cycles from ``load`` to its ``swap``."""

    def __init__(self, config: Config):
        self.lanes = lanes = config.co_lanes
        super().__init__({
            "load": In(1),
            "weights": In(data.ArrayLayout(signed(8), lanes)),
            "swap": In(1),
            "x": In(unsigned(8)),
            "products": Out(data.ArrayLayout(signed(16), lanes)),
            "carries": Out(lanes // 2),
        })


class GenericRow(MultiplierRow):
    """Plain multiplications, left to the synthesis tool: the reference of the other rows."""

    def elaborate(self, platform):
        m = Module()
        x = Signal(8, reset_less=True)
        m.d.sync += x.eq(self.x)
        for weight, result in zip(self.weights, self.products, strict=True):
            shadow, active = (Signal(signed(8), reset_less=True) for _ in range(2))
            product = Signal(signed(16), reset_less=True)
            output = Signal(signed(16), reset_less=True)
            with m.If(self.load):
                m.d.sync += shadow.eq(weight)
            with m.If(self.swap):
                m.d.sync += active.eq(shadow)
            m.d.sync += [product.eq(active * x), output.eq(product)]
            m.d.comb += result.eq(output)
        return m


class PackedRow(MultiplierRow):
    """Two lanes in one DSP48E1: ``((w1 << 16) + w0) * x`` holds both products.

    Every register is one of the slice: A and D the shadow weights, AD (behind the pre-adder) the
    active pair, B the activation, then M and P. The upper product lacks the borrow of a negative
    lower one: that is the carry. Yosys maps a pair to one DSP48E1 and 8 flip-flops (it leaves A
    outside, as its low bits are constant) without any LUT.
    """

    def elaborate(self, platform):
        m = Module()
        for pair in range(self.lanes // 2):
            low, high = (self.weights[2 * pair + i] for i in range(2))
            a = Signal(signed(24), reset_less=True)
            d = Signal(signed(8), reset_less=True)
            ad = Signal(signed(25), reset_less=True)
            b = Signal(signed(9), reset_less=True)
            product = Signal(signed(34), reset_less=True)
            p = Signal(signed(34), reset_less=True)
            with m.If(self.load):
                m.d.sync += [a.eq(high << 16), d.eq(low)]
            with m.If(self.swap):
                m.d.sync += ad.eq(a + d)
            m.d.sync += [b.eq(self.x), product.eq(ad * b), p.eq(product)]
            m.d.comb += [
                self.products[2 * pair].eq(p[:16].as_signed()),
                self.products[2 * pair + 1].eq(p[16:32].as_signed()),
                self.carries[pair].eq(p[15]),
            ]
        return m


class TableRow(MultiplierRow):
    """No multipliers: per lane a table of the 16 multiples of its weight, in LUT RAM.

    Two banks of 16 entries and one read for each half of the activation, then one addition:
    ``w * x = table[x & 15] + 16 * table[x >> 4]``. Loading steps through the multiples with one
    accumulator a lane. About 40 LUTs a lane on Artix-7, 16 of them RAM, and 61 flip-flops.
    """

    LOAD_CYCLES = NIBBLE

    def elaborate(self, platform):
        m = Module()
        bank = Signal()
        x = Signal(8, reset_less=True)
        m.d.sync += [bank.eq(bank ^ self.swap), x.eq(self.x)]

        step = Signal(range(NIBBLE))
        filling = Signal()
        with m.If(filling):
            m.d.sync += [step.eq(step + 1), filling.eq(step != NIBBLE - 1)]
        with m.If(self.load):
            m.d.sync += [step.eq(0), filling.eq(1)]

        for lane, (weight, result) in enumerate(zip(self.weights, self.products, strict=True)):
            held = Signal(signed(8), reset_less=True)
            multiple = Signal(signed(MULTIPLE), reset_less=True)
            with m.If(self.load):
                m.d.sync += [held.eq(weight), multiple.eq(0)]
            with m.Else():
                m.d.sync += multiple.eq(multiple + held)

            terms = []
            for half, nibble in enumerate((x[:4], x[4:])):
                table = memory.Memory(shape=signed(MULTIPLE), depth=2 * NIBBLE, init=[])
                m.submodules[f"table{lane}_{half}"] = table
                write, read = table.write_port(), table.read_port(domain="comb")
                term = Signal(signed(MULTIPLE), reset_less=True)
                m.d.comb += [
                    write.addr.eq(Cat(step, ~bank)),
                    write.data.eq(multiple),
                    write.en.eq(filling),
                    read.addr.eq(Cat(nibble, bank)),
                ]
                m.d.sync += term.eq(read.data)
                terms.append(term)
            low, high = terms
            output = Signal(signed(16), reset_less=True)
            # The low four bits need no adder.
            m.d.sync += output.eq(Cat(low[:4], ((low >> 4) + high)[:12]))
            m.d.comb += result.eq(output)
        return m


ROWS = {"generic": GenericRow, "dsp48-packed": PackedRow}


def make_row(config: Config, index: int) -> MultiplierRow:
    """Row ``index`` (0 to 15): a ``TableRow`` below ``config.table_rows``, else by
    ``config.multiplier``. Raises ValueError for an index outside the array.
    """
    if not 0 <= index < VECTOR:
        raise ValueError(f"multiplier row {index}: the array has rows 0 to {VECTOR - 1}")
    return TableRow(config) if index < config.table_rows else ROWS[config.multiplier](config)
