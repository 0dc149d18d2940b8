"""Multiplier blocks: one or two input channels against ``co_lanes`` output channels.

All blocks share one signature and one latency, so the array mixes them freely. Weights are double
buffered: a shadow bank loads while the active bank multiplies.
"""

from amaranth.hdl import Cat, Const, Module, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .config import VECTOR, Config

LATENCY = 3
"""Cycles from an activation on ``x`` to its terms: input, multiplier and output register."""

TERM = signed(17)
"""Sum of two products of a uint8 activation and an int8 weight."""
EXCESS = 128
"""What a packed block adds to the weights of its even lanes."""

NIBBLE = 16
"""Multiples of a weight in one bank of a table: one for each value of half an activation."""
MULTIPLE = 12
"""Bits of a signed multiple: -128 * 15 to 127 * 15."""


class MultiplierBlock(wiring.Component):
    """Sums of products of ``channels`` uint8 activations with int8 weights, one set a cycle.

    The terms of the activations in cycle ``t`` appear in cycle ``t + LATENCY``. ``load[c]`` puts
    ``weights[c]`` into the shadow bank; ``swap`` makes the shadow bank active for the activations
    of the same cycle and later ones. ``swap`` comes at least ``LOAD_CYCLES`` cycles after its
    ``load``; the next ``load`` may come in the cycle of the ``swap``. The datapath has no reset.

    Members
    -------
    x : In(channels x 8)
        Activations, 0 to 255.
    terms : Out(co_lanes x TERM)
        Lane ``o``: the sum over ``c`` of ``weights[c][o] * x[c]``; in even lanes of a block whose
        ``center`` is not 0, that plus ``EXCESS`` times the sum of ``x``, minus ``center``.
    """

    LOAD_CYCLES = 1
    """Least distance in cycles from ``load`` to its ``swap``."""

    center = 0

    def __init__(self, config: Config, channels: int = 1):
        self.lanes, self.channels = config.co_lanes, channels
        super().__init__({
            "load": In(channels),
            "weights": In(data.ArrayLayout(data.ArrayLayout(signed(8), self.lanes), channels)),
            "swap": In(1),
            "x": In(data.ArrayLayout(unsigned(8), channels)),
            "terms": Out(data.ArrayLayout(TERM, self.lanes)),
        })


class GenericBlock(MultiplierBlock):
    """Plain multiplications of one channel, left to the synthesis tool: the reference."""

    def elaborate(self, platform):
        m = Module()
        x = Signal(8, reset_less=True)
        m.d.sync += x.eq(self.x[0])
        for weight, term in zip(self.weights[0], self.terms, strict=True):
            shadow, active = (Signal(signed(8), reset_less=True) for _ in range(2))
            product = Signal(signed(16), reset_less=True)
            output = Signal(signed(16), reset_less=True)
            with m.If(self.load[0]):
                m.d.sync += shadow.eq(weight)
            with m.If(self.swap):
                m.d.sync += active.eq(shadow)
            m.d.sync += [product.eq(active * x), output.eq(product)]
            m.d.comb += term.eq(output)
        return m


class PackedBlock(MultiplierBlock):
    """One DSP48E1 for two lanes of a channel: ``((w1 << 17) + w0 + 128) * x`` holds both products.

    With 128 added the lower product is never negative, so nothing is borrowed from the upper one,
    and 17 bits hold the sum of two lower ones: the DSPs of two channels add up in their own adders.
    The packed weight is a concatenation, its registers are those of the A port, then B, M and P.
    """

    PACK = 17

    def __init__(self, config: Config, channels: int):
        self.center = 1 << (15 if channels == 1 else 16)
        super().__init__(config, channels)

    def elaborate(self, platform):
        m = Module()
        x = [Signal(signed(9), name=f"x{c}", reset_less=True) for c in range(self.channels)]
        m.d.sync += [register.eq(value) for register, value in zip(x, self.x, strict=True)]
        for pair in range(self.lanes // 2):
            products = []
            for c in range(self.channels):
                low, high = (self.weights[c][2 * pair + i] for i in range(2))
                shadow, active = (Signal(signed(25), reset_less=True) for _ in range(2))
                product = Signal(signed(34), reset_less=True)
                with m.If(self.load[c]):
                    m.d.sync += shadow.eq(
                        Cat((low ^ EXCESS)[:8], Const(0, self.PACK - 8), high).as_signed())
                with m.If(self.swap):
                    m.d.sync += active.eq(shadow)
                m.d.sync += product.eq(active * x[c])
                products.append(product)
            p = Signal(signed(2 * self.PACK), reset_less=True)
            m.d.sync += p.eq(sum(products[1:], products[0]))
            # Flipping the top bit centers the unsigned lower sum around 0.
            bits = self.center.bit_length()
            m.d.comb += [
                self.terms[2 * pair].eq((p[:bits] ^ self.center).as_signed()),
                self.terms[2 * pair + 1].eq(p[self.PACK:].as_signed()),
            ]
        return m


class TableBlock(MultiplierBlock):
    """One channel without multipliers: per lane the 16 multiples of its weight, in LUT RAM.

    Two banks of 16 entries and one read for each half of the activation, then one addition:
    ``w * x = table[x & 15] + 16 * table[x >> 4]``. Loading steps through the multiples with one
    accumulator a lane. About 40 LUTs a lane on Artix-7, 16 of them RAM, and 61 flip-flops.
    """

    LOAD_CYCLES = NIBBLE

    def elaborate(self, platform):
        m = Module()
        bank = Signal()
        x = Signal(8, reset_less=True)
        m.d.sync += [bank.eq(bank ^ self.swap), x.eq(self.x[0])]

        step = Signal(range(NIBBLE))
        filling = Signal()
        with m.If(filling):
            m.d.sync += [step.eq(step + 1), filling.eq(step != NIBBLE - 1)]
        with m.If(self.load[0]):
            m.d.sync += [step.eq(0), filling.eq(1)]

        for lane, (weight, term) in enumerate(zip(self.weights[0], self.terms, strict=True)):
            held = Signal(signed(8), reset_less=True)
            multiple = Signal(signed(MULTIPLE), reset_less=True)
            with m.If(self.load[0]):
                m.d.sync += [held.eq(weight), multiple.eq(0)]
            with m.Else():
                m.d.sync += multiple.eq(multiple + held)

            parts = []
            for half, nibble in enumerate((x[:4], x[4:])):
                table = memory.Memory(shape=signed(MULTIPLE), depth=2 * NIBBLE, init=[])
                m.submodules[f"table{lane}_{half}"] = table
                write, read = table.write_port(), table.read_port(domain="comb")
                part = Signal(signed(MULTIPLE), reset_less=True)
                m.d.comb += [
                    write.addr.eq(Cat(step, ~bank)),
                    write.data.eq(multiple),
                    write.en.eq(filling),
                    read.addr.eq(Cat(nibble, bank)),
                ]
                m.d.sync += part.eq(read.data)
                parts.append(part)
            low, high = parts
            output = Signal(signed(16), reset_less=True)
            # The low four bits need no adder.
            m.d.sync += output.eq(Cat(low[:4], ((low >> 4) + high)[:12]))
            m.d.comb += term.eq(output)
        return m


def make_blocks(config: Config) -> list[MultiplierBlock]:
    """Blocks for the ``VECTOR`` input channels of one pixel, in their order.

    The first ``config.table_rows`` channels are table blocks, the others by ``config.multiplier``;
    packed ones by pairs, the last one alone if their number is odd.
    """
    blocks = [TableBlock(config) for _ in range(config.table_rows)]
    left = VECTOR - config.table_rows
    if config.multiplier == "dsp48-packed":
        blocks += [PackedBlock(config, 2) for _ in range(left // 2)]
        blocks += [PackedBlock(config, 1) for _ in range(left % 2)]
    else:
        blocks += [GenericBlock(config) for _ in range(left)]
    return blocks
