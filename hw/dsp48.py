"""One DSP slice of a 7-series part: a product, and a sum that passes from slice to slice."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .parts import is_series7

MULTIPLY, ADD_C, ADD_CASCADE = 0b0000101, 0b0110000, 0b0010000
"""OPMODE: what is added up in a slice."""
UNUSED = {
    "i_D": 25, "i_INMODE": 5, "i_ALUMODE": 4, "i_CARRYIN": 1, "i_CARRYINSEL": 3, "i_CEAD": 1,
    "i_CEALUMODE": 1, "i_CECARRYIN": 1, "i_CECTRL": 1, "i_CED": 1, "i_CEINMODE": 1, "i_RSTA": 1,
    "i_RSTB": 1, "i_RSTC": 1, "i_RSTM": 1, "i_RSTP": 1, "i_RSTD": 1, "i_RSTCTRL": 1,
    "i_RSTALLCARRYIN": 1, "i_RSTALUMODE": 1, "i_RSTINMODE": 1, "i_ACIN": 30, "i_BCIN": 18,
    "i_CARRYCASCIN": 1, "i_MULTSIGNIN": 1,
}
"""Inputs that are 0, with their bits."""
NO_REGISTERS = ("ADREG", "ALUMODEREG", "CARRYINREG", "CARRYINSELREG", "DREG", "INMODEREG",
                "OPMODEREG")


class MultiplyAdd(wiring.Component):
    """``total = a * b + addend``, or plus the total of the slice before if ``chained``.

    ``load`` takes ``a`` into a first register, ``swap`` from there into a second one. ``b`` has
    ``delay`` registers, 1 or 2, the last one beside the second one of ``a``; then comes one for the
    product. ``addend`` has one register; ``cascade_in`` none, it must be a ``cascade_out``.
    ``total`` and ``cascade_out``, the same value for fabric and next slice, have one if
    ``registered``. So ``b`` takes ``delay`` + 1 cycles, or one more. No reset.
    """

    a: In(signed(25))
    load: In(1)
    swap: In(1)
    b: In(signed(18))
    addend: In(signed(48))
    cascade_in: In(signed(48))
    total: Out(signed(48))
    cascade_out: Out(signed(48))

    def __init__(self, chained: bool, delay: int, registered: bool):
        if delay not in (1, 2):
            raise ValueError(f"{delay} registers of b, supported: 1 or 2")
        self.chained, self.delay, self.registered = chained, delay, registered
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        if is_series7(platform):
            self._primitive(m)
            return m
        held, a, addend, b, product, total = (
            Signal(shape, name=name, reset_less=True) for name, shape in (
                ("held", self.a.shape()), ("active", self.a.shape()), ("c", self.total.shape()),
                ("b1", self.b.shape()), ("product", signed(43)), ("p", self.total.shape())))
        with m.If(self.load):
            m.d.sync += held.eq(self.a)
        with m.If(self.swap):
            m.d.sync += a.eq(held)
        m.d.sync += b.eq(self.b)
        if self.delay == 2:
            first, b = b, Signal(self.b.shape(), name="b2", reset_less=True)
            m.d.sync += b.eq(first)
        m.d.sync += [addend.eq(self.addend), product.eq(a * b)]
        m.d[("comb", "sync")[self.registered]] += total.eq(
            product + (self.cascade_in if self.chained else addend))
        m.d.comb += [self.total.eq(total), self.cascade_out.eq(total)]
        return m

    def _primitive(self, m):
        m.submodules.slice = Instance(
            "DSP48E1", **{f"p_{name}": 0 for name in NO_REGISTERS},
            p_AREG=2, p_ACASCREG=2, p_BREG=self.delay, p_BCASCREG=self.delay, p_CREG=1, p_MREG=1,
            p_PREG=int(self.registered), p_USE_DPORT="FALSE", p_USE_MULT="MULTIPLY",
            i_CLK=ClockSignal(), i_OPMODE=Const(
                MULTIPLY | (ADD_CASCADE if self.chained else ADD_C), 7),
            i_A=Cat(self.a, self.a[-1].replicate(5)), i_CEA1=self.load, i_CEA2=self.swap,
            i_B=self.b, i_CEB1=Const(int(self.delay == 2)), i_CEB2=Const(1),
            i_C=self.addend, i_CEC=Const(1), i_CEM=Const(1), i_CEP=Const(int(self.registered)),
            i_PCIN=self.cascade_in, o_P=self.total, o_PCOUT=self.cascade_out,
            **{name: Const(0, bits) for name, bits in UNUSED.items()})
