"""Sums of three operands: one LUT a bit on Xilinx 7-series parts."""

from amaranth.hdl import Cat, Const, Instance, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .parts import is_series7

OPERANDS = 3
CARRIES = 2


def tables(negative: int) -> int:
    """Contents of a LUT6_2: O6 the sum of three bits and I3, O5 the carry of the three bits.

    The last ``negative`` of the three bits are inverted.
    """
    contents = 0
    for inputs in range(32):
        bits = [inputs >> i & 1 ^ (i >= OPERANDS - negative) for i in range(OPERANDS)]
        contents |= (sum(bits) >> 1) << inputs
        contents |= ((sum(bits) ^ inputs >> 3) & 1) << 32 + inputs
    return contents


class TernaryAdder(wiring.Component):
    """``total``: three operands and two carries, modulo ``2**width``; no register.

    The last ``negative`` operands (at most ``CARRIES``) are subtracted, each takes one of the
    carries. On a platform of the 7 series: ``width`` LUTs, each a full adder (O5) and the sum that
    the carry chain completes (O6). Synthesis left to itself takes two LUTs a bit. On all others and
    in simulation: a plain sum.
    """

    def __init__(self, width: int, negative: int = 0):
        if not 0 <= negative <= CARRIES:
            raise ValueError(f"{negative} operands to subtract, supported: 0 to {CARRIES}")
        self.width, self.negative = width, negative
        super().__init__({
            "operands": In(data.ArrayLayout(signed(width), OPERANDS)),
            "carries": In(CARRIES - negative),
            "total": Out(signed(width)),
        })

    def elaborate(self, platform):
        m = Module()
        if is_series7(platform):
            self._primitives(m)
        else:
            total = Const(0)
            for i, operand in enumerate(self.operands):
                total = total - operand if i >= OPERANDS - self.negative else total + operand
            m.d.comb += self.total.eq(sum(self.carries, total))
        return m

    def _primitives(self, m):
        width = self.width
        carries = Cat(self.carries, Const((1 << self.negative) - 1, self.negative))
        saved, partial = Signal(width + 1), Signal(width)
        m.d.comb += saved[0].eq(carries[0])
        for i in range(width):
            m.submodules[f"lut{i}"] = Instance(
                "LUT6_2", p_INIT=Const(tables(self.negative), 64),
                **{f"i_I{n}": operand[i] for n, operand in enumerate(self.operands)},
                i_I3=saved[i], i_I4=Const(0), i_I5=Const(1),
                o_O6=partial[i], o_O5=saved[i + 1])
        carry = Const(0)
        for i in range(0, width, 4):
            bits = min(4, width - i)
            chain, result = Signal(4, name=f"chain{i}"), Signal(4, name=f"result{i}")
            m.submodules[f"carry{i}"] = Instance(
                "CARRY4", i_CI=carry, i_CYINIT=Const(0) if i else carries[1],
                i_DI=Cat(saved[i:i + bits], Const(0, 4 - bits)),
                i_S=Cat(partial[i:i + bits], Const(0, 4 - bits)),
                o_CO=chain, o_O=result)
            m.d.comb += self.total[i:i + bits].eq(result)
            carry = chain[3]
