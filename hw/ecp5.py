"""ECP5 primitives with the registers that the open synthesis does not infer.

Without them a multiplier or a block RAM takes half the cycle of a 100 MHz design for itself.
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

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
