"""ECP5 primitives with the registers that the open synthesis does not infer.

Without them a multiplier or a block RAM takes half the cycle of a 100 MHz design for itself.
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .parts import is_ecp5

BLOCK_BITS = 14
"""Address bits of a block RAM that is one bit wide."""
WIDTHS = {1: 0, 2: 1, 4: 2, 9: 3, 18: 4}
"""Widths of a block RAM, and how many of its address bits they leave out."""


def bits(prefix: str, name: str, value) -> dict[str, Signal]:
    """The bits of a value as ports of their own, which is how these primitives have them."""
    return {f"{prefix}_{name}{i}": value[i] for i in range(len(value))}


class Multiplier(wiring.Component):
    """One MULT18X18D with all its registers: ``product`` is ``a * b`` three cycles later.

    The register of ``a`` takes a new value only with ``load``; a value taken multiplies the ``b``
    of its own cycle and of later ones. No reset.
    """

    a: In(signed(18))
    b: In(signed(18))
    load: In(1)
    product: Out(signed(36))

    def elaborate(self, platform):
        m = Module()
        registers = {}
        for stage, enable in (("INPUTA", "CE0"), ("INPUTB", "CE1"), ("PIPELINE", "CE1"),
                              ("OUTPUT", "CE1")):
            registers |= {f"p_REG_{stage}_CLK": "CLK0", f"p_REG_{stage}_CE": enable,
                          f"p_REG_{stage}_RST": "RST0"}
        m.submodules.dsp = Instance(
            "MULT18X18D", **registers, p_REG_INPUTC_CLK="NONE", p_GSR="DISABLED",
            i_CLK0=ClockSignal(), i_CE0=self.load, i_CE1=Const(1), i_RST0=Const(0),
            i_SIGNEDA=Const(1), i_SIGNEDB=Const(1), i_SOURCEA=Const(0), i_SOURCEB=Const(0),
            **bits("i", "A", self.a), **bits("i", "B", self.b), **bits("o", "P", self.product))
        return m


class Product(wiring.Component):
    """``product`` is ``a * b`` a cycle later; no reset. Shapes of up to 18 bits with their sign.

    On the platform of an ECP5 the register is that of a MULT18X18D: the way to flip-flops outside,
    which synthesis takes, is as long as a third of the multiplication. Elsewhere plain hardware.
    """

    def __init__(self, a, b):
        super().__init__({"a": In(a), "b": In(b), "product": Out((Signal(a) * Signal(b)).shape())})

    def elaborate(self, platform):
        m = Module()
        if not is_ecp5(platform):
            register = Signal.like(self.product, reset_less=True)
            m.d.sync += register.eq(self.a * self.b)
            m.d.comb += self.product.eq(register)
            return m
        a, b, product = Signal(signed(18)), Signal(signed(18)), Signal(signed(36))
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.product.eq(product)]
        m.submodules.dsp = Instance(
            "MULT18X18D", p_GSR="DISABLED", p_REG_INPUTC_CLK="NONE",
            **{f"p_REG_{stage}_CLK": "NONE" for stage in ("INPUTA", "INPUTB", "PIPELINE")},
            p_REG_OUTPUT_CLK="CLK0", p_REG_OUTPUT_CE="CE0", p_REG_OUTPUT_RST="RST0",
            i_CLK0=ClockSignal(), i_CE0=Const(1), i_RST0=Const(0),
            i_SIGNEDA=Const(1), i_SIGNEDB=Const(1), i_SOURCEA=Const(0), i_SOURCEB=Const(0),
            **bits("i", "A", a), **bits("i", "B", b), **bits("o", "P", product))
        return m


class Copy(wiring.Component):
    """``copy`` is ``value`` one cycle later, in flip-flops that synthesis does not share.

    For signals with loads all over the device: each copy can stay near those that it drives.
    No reset.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__({"value": In(width), "copy": Out(width)})

    def elaborate(self, platform):
        m = Module()
        for i in range(self.width):
            m.submodules[f"ff{i}"] = Instance(
                "TRELLIS_FF", p_GSR="DISABLED", p_CEMUX="1", p_CLKMUX="CLK", p_LSRMUX="LSR",
                p_REGSET="RESET", p_SRMODE="LSR_OVER_CE", i_CLK=ClockSignal(), i_LSR=Const(0),
                i_CE=Const(1), i_DI=self.value[i], o_Q=self.copy[i])
        return m


def copies(m: Module, name: str, value, count: int) -> list[Signal]:
    """``count`` registers with the same value, one cycle later."""
    found = []
    for i in range(count):
        m.submodules[f"{name}_copy{i}"] = register = Copy(len(value))
        m.d.comb += register.value.eq(value)
        found.append(register.copy)
    return found


class GatedAdder(wiring.Component):
    """``total`` is ``a * p + b * q`` of two bits ``p`` and ``q``: one LUT a bit. No register.

    The LUTs before a carry chain have four inputs, so two products cost no more than a sum.
    """

    TABLE = sum(((i & 3 == 3) ^ (i >> 2 == 3)) << i for i in range(16))
    """Contents of these LUTs: the sum of ``a & p`` and ``b & q``; the lowest four also the carry
    where the sum is 0."""

    def __init__(self, width: int):
        self.width = width
        super().__init__({"a": In(signed(width)), "b": In(signed(width)), "p": In(1), "q": In(1),
                          "total": Out(signed(width + 1))})

    def elaborate(self, platform):
        m = Module()
        carry = Const(0)
        bits = self.width + 1
        for i in range(0, bits, 2):
            both, above = Signal(2, name=f"sum{i}"), Signal(name=f"carry{i}")
            inputs = {}
            for n in range(2):
                a, b = (value[min(i + n, self.width - 1)] for value in (self.a, self.b))
                inputs |= {f"i_A{n}": a, f"i_B{n}": self.p, f"i_C{n}": b, f"i_D{n}": self.q,
                           f"o_S{n}": both[n], f"p_INIT{n}": Const(self.TABLE, 16),
                           f"p_INJECT1_{n}": "NO"}
            m.submodules[f"bits{i}"] = Instance("CCU2C", i_CIN=carry, o_COUT=above, **inputs)
            m.d.comb += self.total[i:i + 2].eq(both)
            carry = above
        return m


class BlockRams(wiring.Component):
    """A memory of ``depth`` words of ``width`` bits in DP16KD, side by side: no decoder.

    One write and one read a cycle; ``read_data`` two cycles after ``read_address``, from the output
    registers. A read in the cycle of a write to the same address gives meaningless data. No
    contents at the start. Raises ValueError if it is deeper than one block RAM.
    """

    def __init__(self, width: int, depth: int):
        if not 2 <= depth <= 1 << BLOCK_BITS:
            raise ValueError(f"block RAM: {depth} words, supported: 2 to {1 << BLOCK_BITS}")
        self.width, self.depth = width, depth
        address = unsigned(ceil_log2(depth))
        super().__init__({
            "write_enable": In(1), "write_address": In(address), "write_data": In(width),
            "read_address": In(address), "read_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        each, skipped = max(item for item in WIDTHS.items()
                            if self.depth <= 1 << BLOCK_BITS - item[1])
        rest = BLOCK_BITS - skipped
        # Of the address bits left out the lowest two are write enables of bytes.
        low = Const((1 << skipped) - 1, skipped)
        write = Cat(low if each == 18 else Const(0, skipped), self.write_address)
        read = Cat(Const(0, skipped), self.read_address)
        for i in range(0, self.width, each):
            word = Signal(18, name=f"word{i}")
            data = Signal(18, name=f"data{i}")
            last = min(i + each, self.width)
            m.d.comb += [data.eq(self.write_data[i:last]), self.read_data[i:last].eq(word)]
            m.submodules[f"block{i // each}"] = Instance(
                "DP16KD", p_DATA_WIDTH_A=each, p_DATA_WIDTH_B=each,
                p_REGMODE_A="NOREG", p_REGMODE_B="OUTREG", p_WRITEMODE_A="NORMAL",
                p_WRITEMODE_B="NORMAL", p_RESETMODE="SYNC", p_GSR="AUTO",
                i_CLKA=ClockSignal(), i_CEA=Const(1), i_OCEA=Const(1), i_RSTA=Const(0),
                i_WEA=self.write_enable, **bits("i", "CSA", Const(0, 3)),
                **bits("i", "ADA", Cat(write, Const(0, rest))[:BLOCK_BITS]),
                **bits("i", "DIA", data),
                i_CLKB=ClockSignal(), i_CEB=Const(1), i_OCEB=Const(1), i_RSTB=Const(0),
                i_WEB=Const(0), **bits("i", "CSB", Const(0, 3)),
                **bits("i", "ADB", Cat(read, Const(0, rest))[:BLOCK_BITS]),
                **bits("i", "DIB", Const(0, 18)), **bits("o", "DOB", word))
        return m
