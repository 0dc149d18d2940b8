"""Trees of ternary adders with a register behind every level."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.utils import ceil_log2

from .ternary_adder import CARRIES, OPERANDS, TernaryAdder


@dataclass(frozen=True)
class Term:
    """``value * 2**shift``; the value is signed."""

    value: Value
    shift: int = 0

    @property
    def bound(self) -> int:
        """The term is at least ``-bound`` and less than ``bound``."""
        return 1 << len(self.value) - 1 + self.shift


def add_up(m: Module, name: str, levels: int, width: int, terms: Sequence[Term],
           carries: Sequence[Value] = (), reset_less: bool = False) -> Value:
    """Sum of the terms and of single bits modulo ``2**width``, ``levels`` cycles later.

    No adder is wider than its operands ask for. Bits that pass a level have a reset unless
    ``reset_less``: so they cannot become a shift register, which would be slow to read. Raises
    ValueError for more terms or carries than the tree has room for.
    """
    if not 1 <= len(terms) <= OPERANDS ** levels:
        raise ValueError(f"{len(terms)} terms: a tree of {levels} levels takes 1 to "
                         f"{OPERANDS ** levels}")
    for level in range(levels):
        # Similar shifts meet: what lies below the second operand needs no adder.
        terms = sorted(terms, key=lambda term: term.shift)
        sums = []
        for i in range(0, len(terms), OPERANDS):
            group = terms[i:i + OPERANDS]
            taken = carries[:CARRIES] if len(group) > 1 and group[1].shift == 0 else []
            carries = carries[len(taken):]
            sums.append(_add(m, f"{name}_{level}_{i // OPERANDS}", width, group, taken,
                             reset_less))
        terms = sums
        carries = [_register(m, bit, f"{name}_{level}_carry{i}") for i, bit in enumerate(carries)]
    if carries:
        raise ValueError(f"{len(carries)} carries find no adder in a tree of {levels} levels")
    return (terms[0].value << terms[0].shift)[:width].as_signed()


def _register(m, value, name):
    register = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


def _add(m, name, width, group, carries, reset_less):
    """One adder and its register; the terms come in the order of their shifts."""
    first, *others = group
    if not others:
        return Term(_register(m, first.value, name), first.shift)
    below = others[0].shift - first.shift
    bound = sum(term.bound for term in group) + len(carries)
    upper = min(ceil_log2(bound) + 1, width) - others[0].shift
    m.submodules[name] = adder = TernaryAdder(upper)
    for operand, term in zip(adder.operands, group, strict=False):
        m.d.comb += operand.eq(
            term.value >> below if term is first
            else term.value << term.shift - others[0].shift)
    m.d.comb += adder.carries.eq(Cat(carries))
    lowest = Signal(below, name=f"{name}_lowest", reset_less=reset_less)
    m.d.sync += lowest.eq(first.value)
    return Term(Cat(lowest, _register(m, adder.total, name)).as_signed(), first.shift)
