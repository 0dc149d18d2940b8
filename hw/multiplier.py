"""Multiplier blocks: up to four input channels against ``co_lanes`` output channels.

All blocks share one signature and one latency, so the array mixes them freely. Weights are double
buffered: a shadow bank loads while the active bank multiplies.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from . import ecp5
from .adder_tree import Term, add_up
from .config import VECTOR, Config
from .dsp48 import MultiplyAdd
from .ternary_adder import TernaryAdder

TERM = signed(18)
"""Sum of four products of a uint8 activation and an int8 weight."""

TABLE_BITS = 4
"""Address bits of a bank of a table."""
TABLE_LEVELS = 2
"""Levels of adders behind the register of the activation and that of the table."""


class MultiplierBlock(wiring.Component):
    """Sums of products of ``channels`` uint8 activations with int8 weights, one set a cycle.

    The sums for the activations in cycle ``t`` appear in cycle ``t + LATENCY``. ``load[c]`` puts
    ``weights[c]`` into the shadow bank, the last channel not before any other; ``swap`` makes the
    shadow bank active for the activations of the same cycle and later ones. ``swap`` comes at least
    ``LOAD_CYCLES`` cycles after the last ``load``; the next ``load`` may come in the cycle of the
    ``swap``. The datapath has no reset.

    Members
    -------
    x : In(channels x 8)
        Activations, 0 to 255.
    terms : Out(co_lanes x TERM)
    carries : Out(co_lanes)
        Lane ``o``: the sum over ``c`` of ``weights[c][o] * x[c]`` is ``terms[o] + carries[o]``.
        Only lanes in ``carry_lanes`` have a carry.
    """

    LATENCY = 4
    """Cycles from an activation on ``x`` to its terms."""

    LOAD_CYCLES = 1
    """Least distance in cycles from the last ``load`` to its ``swap``."""

    CHANNELS: tuple[int, ...]
    """Supported numbers of channels, the most efficient one first, the last one 1."""

    carry_lanes = range(0)

    def __init__(self, config: Config, channels: int = 1, lanes: int | None = None):
        if channels not in self.CHANNELS:
            raise ValueError(f"{type(self).__name__}: {channels} channels, supported: "
                             f"{', '.join(map(str, self.CHANNELS))}")
        self.lanes, self.channels = lanes or config.co_lanes, channels
        super().__init__({
            "load": In(channels),
            "weights": In(data.ArrayLayout(data.ArrayLayout(signed(8), self.lanes), channels)),
            "swap": In(1),
            "x": In(data.ArrayLayout(unsigned(8), channels)),
            "terms": Out(data.ArrayLayout(TERM, self.lanes)),
            "carries": Out(self.lanes),
        })


class GenericBlock(MultiplierBlock):
    """Plain multiplications, left to the synthesis tool: the reference."""

    CHANNELS = (2, 1)

    def elaborate(self, platform):
        m = Module()
        x = [Signal(8, name=f"x{c}", reset_less=True) for c in range(self.channels)]
        m.d.sync += [register.eq(value) for register, value in zip(x, self.x, strict=True)]
        for lane in range(self.lanes):
            outputs = []
            for c in range(self.channels):
                shadow, active = (Signal(signed(8), reset_less=True) for _ in range(2))
                product, output = (Signal(signed(16), reset_less=True) for _ in range(2))
                with m.If(self.load[c]):
                    m.d.sync += shadow.eq(self.weights[c][lane])
                with m.If(self.swap):
                    m.d.sync += active.eq(shadow)
                m.d.sync += [product.eq(active * x[c]), output.eq(product)]
                outputs.append(output)
            total = Signal(TERM, reset_less=True)
            m.d.sync += total.eq(sum(outputs[1:], outputs[0]))
            m.d.comb += self.terms[lane].eq(total)
        return m


class PackedBlock(MultiplierBlock):
    """One DSP48E1 for two lanes of a channel: ``((w1 << 17) + w0 + 128) * x`` holds both products.

    The packed weight is a concatenation. What the 128 adds is taken away by the third operand of
    the first DSP. The DSPs of all channels add up in their own adders, two in a cycle, so those
    before the last two are a cycle ahead. The lower sum has 18 bits: its sign lies on the lowest
    bit of the upper sum, which is known to be the parity of all ``w1 * x``. A negative lower sum
    has borrowed one from the upper sum: the carry. With four channels 22 LUTs and 3 a pair.
    """

    CHANNELS = (4, 3, 2, 1)
    PACK = 17
    EXCESS = 128

    def __init__(self, config: Config, channels: int = 1, lanes: int | None = None):
        super().__init__(config, channels, lanes)
        self.carry_lanes = range(1, self.lanes, 2)

    def elaborate(self, platform):
        m = Module()
        ahead = max(0, self.channels - 2)

        def later(value, name):
            register = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += register.eq(value)
            return register

        swap, load, weights, lowest = [], [], [], []
        for c in range(self.channels):
            swap.append(self.swap)
            load.append(self.load[c])
            weights.append([weight.as_unsigned() for weight in self.weights[c]])
            lowest.append(later(self.x[c][0], f"x{c}"))
            if c >= ahead:
                swap[c] = later(swap[c], f"swap{c}")
                load[c] = later(load[c], f"load{c}")
                weights[c] = [later(weight, f"weight{c}_{lane}")
                              for lane, weight in enumerate(weights[c])]
                lowest[c] = later(lowest[c], f"x{c}_late")
        correction = self._minus_sum(m)
        if not ahead:
            correction = later(correction, "correction")

        for pair in range(self.lanes // 2):
            parity = [Const(0)] * 2
            before = None
            for c in range(self.channels):
                low, high = weights[c][2 * pair:2 * pair + 2]
                last = c == self.channels - 1
                m.submodules[f"dsp{pair}_{c}"] = dsp = MultiplyAdd(
                    chained=c > 0, delay=1 + (c >= ahead), registered=last or c + 1 == ahead)
                m.d.comb += [
                    dsp.a.eq(Cat(low ^ self.EXCESS, Const(0, self.PACK - 8), high)),
                    dsp.load.eq(load[c]),
                    dsp.swap.eq(swap[c]),
                    dsp.b.eq(self.x[c]),
                    dsp.cascade_in.eq(before.cascade_out) if before else
                    dsp.addend.eq(correction * self.EXCESS),
                ]
                before = dsp
                held, active = (Signal(name=f"{name}{pair}_{c}", reset_less=True)
                                for name in ("held", "active"))
                with m.If(load[c]):
                    m.d.sync += held.eq(high[0])
                with m.If(swap[c]):
                    m.d.sync += active.eq(held)
                parity[c >= ahead] ^= active & lowest[c]
            total = before.total
            odd = later(later(parity[1] ^ later(parity[0], f"odd{pair}_0"), f"odd{pair}_1"),
                        f"odd{pair}_2")
            borrowed = Signal(name=f"borrowed{pair}")
            m.d.comb += [
                borrowed.eq(total[self.PACK] ^ odd),
                self.terms[2 * pair].eq(Cat(total[:self.PACK], borrowed).as_signed()),
                self.terms[2 * pair + 1].eq(total[self.PACK:].as_signed()),
                self.carries[2 * pair + 1].eq(borrowed),
            ]
        return m

    def _minus_sum(self, m) -> Value:
        """Minus the sum of the activations of the cycle before."""
        m.submodules.first = first = TernaryAdder(11)
        m.submodules.second = second = TernaryAdder(11, negative=2)
        some, fourth = Signal(signed(11), reset_less=True), Signal(8, reset_less=True)
        for operand, value in zip(first.operands, self.x, strict=False):
            m.d.comb += operand.eq(value)
        if self.channels == 4:
            m.d.sync += fourth.eq(self.x[3])
        m.d.sync += some.eq(first.total)
        m.d.comb += [second.operands[1].eq(some), second.operands[2].eq(fourth)]
        return second.total


class TableBlock(MultiplierBlock):
    """No multipliers: each lane has the sums of products of its weights with digits in LUT RAM.

    A digit of each activation (one bit of four channels, two bits of two, four bits of one) makes
    an address. A lane reads its table for every position of the digits and adds up what it finds
    (distributed arithmetic). A table has two banks of 16 entries. Loading visits them in the order
    of a Gray code, so one accumulator a lane adds or subtracts one weight a cycle.

    With four channels 124 LUTs a lane, 54 of them RAM, and 200 flip-flops.
    """

    LOAD_CYCLES = 1 << TABLE_BITS
    CHANNELS = (4, 2, 1)

    def __init__(self, config: Config, channels: int = 1, lanes: int | None = None):
        super().__init__(config, channels, lanes)
        self.digit = TABLE_BITS // channels
        self.entry = signed(8 + ceil_log2(channels * ((1 << self.digit) - 1)))

    def elaborate(self, platform):
        m = Module()
        bank = Signal()
        x = [Signal(8, name=f"x{c}", reset_less=True) for c in range(self.channels)]
        m.d.sync += bank.eq(bank ^ self.swap)
        m.d.sync += [register.eq(value) for register, value in zip(x, self.x, strict=True)]
        write, index, entries = self._load(m)
        terms = [[] for _ in range(self.lanes)]
        for position in range(0, 8, self.digit):
            # A memory for each read: so LUT RAM takes four LUTs for six bits.
            table = m.submodules[f"table{position}"] = memory.Memory(
                shape=entries.shape(), depth=2 << TABLE_BITS, init=[])
            writer, reader = table.write_port(), table.read_port(domain="comb")
            found = Signal(entries.shape(), name=f"found{position}", reset_less=True)
            digits = [value[position:position + self.digit] for value in x]
            m.d.comb += [
                writer.addr.eq(Cat(index, ~bank)),
                writer.data.eq(entries),
                writer.en.eq(write),
                reader.addr.eq(Cat(digits, bank)),
            ]
            m.d.sync += found.eq(reader.data)
            for lane in range(self.lanes):
                terms[lane].append(Term(found[lane], position))
        for lane in range(self.lanes):
            m.d.comb += self.terms[lane].eq(
                add_up(m, f"lane{lane}", TABLE_LEVELS, TERM.width, terms[lane]))
        return m

    def _load(self, m):
        """Whether an entry is written, its index in the bank, and its value for each lane."""
        write, index = Signal(), Signal(TABLE_BITS)
        entries = Signal(data.ArrayLayout(self.entry, self.lanes), reset_less=True)
        start = self.load[self.channels - 1]

        # Step s > 0 changes the bit of the index that is the lowest one set in s; the next bit of
        # s tells in which direction. Entry 0, the sum of nothing, is written in step 1.
        step, change, subtract = Signal(TABLE_BITS), Signal(range(TABLE_BITS)), Signal()
        m.d.sync += [write.eq(start | (step != 0)), index.eq(step ^ step[1:])]
        with m.If(start):
            m.d.sync += [step.eq(1), change.eq(0), subtract.eq(0)]
        with m.Elif(step != 0):
            m.d.sync += step.eq(step + 1)
            with m.Switch(step):
                for bit in range(TABLE_BITS):
                    with m.Case("-" * (TABLE_BITS - 1 - bit) + "0" + "1" * bit):
                        m.d.sync += [change.eq(bit), subtract.eq(step[bit + 1:bit + 2])]

        for lane in range(self.lanes):
            weights = [Signal(signed(8), name=f"weight{lane}_{c}", reset_less=True)
                       for c in range(self.channels)]
            for c, weight in enumerate(weights):
                with m.If(self.load[c]):
                    m.d.sync += weight.eq(self.weights[c][lane])
            a, b, c, d = (weights[bit // self.digit] << bit % self.digit
                          for bit in range(TABLE_BITS))
            weight = Signal(self.entry, name=f"weight{lane}")
            m.d.comb += weight.eq(Mux(change[1], Mux(change[0], d, c), Mux(change[0], b, a)))
            # The bits below make the carry that a subtraction needs.
            total = (Cat(1, entries[lane])
                     + (Cat(0, weight) ^ subtract.replicate(self.entry.width + 1)))[1:]
            with m.If(start):
                m.d.sync += entries[lane].eq(0)
            with m.Else():
                m.d.sync += entries[lane].eq(total)
        return write, index, entries


class Mult18Block(MultiplierBlock):
    """One MULT18X18D for each lane of a channel, which holds all registers but the shadow bank.

    All inputs have a register, for the way to the multipliers is long.
    """

    CHANNELS = (2, 1)
    LATENCY = 5

    def elaborate(self, platform):
        m = Module()
        swap, load, weights, x = (
            Signal.like(port, reset_less=True)
            for port in (self.swap, self.load, self.weights, self.x))
        m.d.sync += [swap.eq(self.swap), load.eq(self.load), weights.eq(self.weights), x.eq(self.x)]
        for lane in range(self.lanes):
            products = []
            for c in range(self.channels):
                shadow = Signal(signed(8), name=f"shadow{lane}_{c}", reset_less=True)
                with m.If(load[c]):
                    m.d.sync += shadow.eq(weights[c][lane])
                m.submodules[f"lane{lane}_{c}"] = multiplier = ecp5.Multiplier()
                m.d.comb += [
                    multiplier.a.eq(shadow),
                    multiplier.load.eq(swap),
                    multiplier.b.eq(x[c]),
                ]
                products.append(multiplier.product[:16].as_signed())
            total = Signal(TERM, name=f"total{lane}", reset_less=True)
            m.d.sync += total.eq(sum(products[1:], products[0]))
            m.d.comb += self.terms[lane].eq(total)
        return m


class CarryBlock(MultiplierBlock):
    """Shift and add on the carry chains of an ECP5, which have the AND of two bits for nothing.

    The first adders take a bit each of two activations, or two bits of one; a tree of two operands
    a level sums these. With two channels 79 LUTs and 97 flip-flops a lane.
    """

    CHANNELS = (2, 1)
    LATENCY = 5

    def elaborate(self, platform):
        m = Module()
        x = Signal.like(self.x, reset_less=True)
        m.d.sync += x.eq(self.x)

        def later(name, value):
            register = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += register.eq(value)
            return register

        for lane in range(self.lanes):
            weights = []
            for c in range(self.channels):
                shadow, active = (Signal(signed(8), name=f"{name}{lane}_{c}", reset_less=True)
                                  for name in ("shadow", "active"))
                with m.If(self.load[c]):
                    m.d.sync += shadow.eq(self.weights[c][lane])
                with m.If(self.swap):
                    m.d.sync += active.eq(shadow)
                weights.append(active)
            terms = []
            step = 1 if self.channels == 2 else 2
            for i in range(0, 8, step):
                m.submodules[f"first{lane}_{i}"] = adder = ecp5.GatedAdder(7 + step)
                m.d.comb += [adder.a.eq(weights[0]), adder.p.eq(x[0][i])]
                m.d.comb += [adder.b.eq(weights[1]), adder.q.eq(x[1][i])] if step == 1 else [
                    adder.b.eq(weights[0] << 1), adder.q.eq(x[0][i + 1])]
                terms.append(later(f"first{lane}_{i}", adder.total))
            for level in range(self.LATENCY - 2):
                if len(terms) > 1:
                    # What lies below the second operand needs no adder.
                    terms = [Cat(low[:step], (low >> step) + high).as_signed()
                             for low, high in zip(terms[::2], terms[1::2], strict=True)]
                    step *= 2
                terms = [later(f"sum{lane}_{level}_{i}", term) for i, term in enumerate(terms)]
            m.d.comb += self.terms[lane].eq(terms[0])
        return m


BLOCKS = {"generic": GenericBlock, "dsp48-packed": PackedBlock, "mult18": Mult18Block}
"""Blocks of channels without tables, by ``config.multiplier``."""


def lut_block(config: Config) -> type[MultiplierBlock]:
    """The blocks of the first ``config.table_rows`` channels."""
    return CarryBlock if config.vendor == "ecp5" else TableBlock


def latency(config: Config) -> int:
    """Cycles from an activation on ``x`` to its terms, in all blocks of a configuration."""
    return BLOCKS[config.multiplier].LATENCY


def make_blocks(config: Config, lanes: int | None = None) -> list[MultiplierBlock]:
    """Blocks for the ``VECTOR`` input channels of one pixel, in their order.

    The first ``config.table_rows`` channels have blocks of LUTs, the others those of
    ``config.multiplier``; of each kind the largest ones that fit.
    """
    blocks = []
    for kind, channels in ((lut_block(config), config.table_rows),
                           (BLOCKS[config.multiplier], VECTOR - config.table_rows)):
        for size in kind.CHANNELS:
            while channels >= size:
                blocks.append(kind(config, size, lanes))
                channels -= size
    return blocks
