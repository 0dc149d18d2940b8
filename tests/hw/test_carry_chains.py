"""Carry chains without slices before and behind them: the same function, fewer LUTs."""

import json

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Mux, Signal, signed

from hw.carry_chains import rebuild
from hw.ecp5 import GatedAdder
from hw.netlist_edits import edit
from hw.parts import Ecp5
from hw.resources import SynthesisError, run_yosys
from hw.synth_ecp5 import script
from tests.netlist import ECP5

INPUTS = "ABCD"
PROVE = "".join(
    f"read_json {name}.json; rename dut {name}; read_verilog -overwrite {{models}}; "
    f"setundef -anyseq {name}; prep -flatten -top {name}; design -stash {name}; "
    for name in ("before", "after")) + """\
design -copy-from before -as before before; design -copy-from after -as after after;
miter -equiv -flatten before after miter; sat -verify -prove trigger 0 miter
"""
"""What comes into a chain is anything."""


def adders():
    """Sums of even and odd width, a difference, a product's sum, carries that somebody reads."""
    m = Module()
    a, b, c = Signal(9), Signal(9), Signal(signed(4))
    sums, total, less, gated = Signal(30), Signal(10), Signal(), Signal(6)
    m.submodules.gated = adder = GatedAdder(4)
    m.d.comb += [
        sums.eq(Cat((a + b)[:8], (a[:7] - b[:7])[:7], (a + b + 1)[:9])),
        total.eq(a + b), less.eq(a < b),
        adder.a.eq(c), adder.b.eq(b[:4]), adder.p.eq(a[0]), adder.q.eq(a[1]),
        gated.eq(Mux(a[2], adder.total, 0)),
    ]
    return m, [a, b, c, sums, total, less, gated]


def chains(cells):
    """Lists of names, from those without a carry-in of their own."""
    carries = {cell["connections"]["CIN"][0]: name for name, cell in cells.items()
               if cell["type"] == "CCU2C" and cell["connections"]["CIN"] != ["x"]}
    found = []
    for name, cell in cells.items():
        if cell["type"] == "CCU2C" and not isinstance(cell["connections"]["CIN"][0], int):
            found.append([name])
            while (carry := cells[found[-1][-1]]["connections"]["COUT"][0]) in carries:
                found[-1].append(carries[carry])
    return found


def test_same_function(tmp_path):
    """Proven by Yosys for every input, and for anything that stands before a chain."""
    models = ECP5.cells[-1]
    module, ports = adders()
    (tmp_path / "dut.il").write_text(
        rtlil.convert(module, ports=ports, name="dut", platform=Ecp5()))
    run_yosys(f"read_rtlil dut.il; {script('dut')}; write_json before.json", tmp_path)
    before = json.loads((tmp_path / "before.json").read_text())["modules"]["dut"]
    for name in "before", "after":  # without Yosys' own models of the cells
        (tmp_path / f"{name}.json").write_text(json.dumps({"modules": {"dut": before}}))
    edit(tmp_path / "after.json", "dut", "LFE5U-85F")
    after = json.loads((tmp_path / "after.json").read_text())
    cells = after["modules"]["dut"]["cells"]
    found = chains(cells)
    assert len(found) >= 5
    for chain in found:
        first, last = cells[chain[0]], cells[chain[-1]]
        assert first["connections"]["CIN"] == ["x"] and last["connections"]["COUT"] == ["x"]
        assert all(first["connections"][f"{port}0"] == ["1"] for port in INPUTS)
    run_yosys(PROVE.format(models=models), tmp_path)

    # The proof would see a wrong carry.
    broken = cells[found[0][0]]["parameters"]
    broken["INIT0"] = broken["INIT0"][:12] + ("0000" if broken["INIT0"][-1] == "1" else "1111")
    (tmp_path / "after.json").write_text(json.dumps(after))
    with pytest.raises(SynthesisError):
        run_yosys(PROVE.format(models=models), tmp_path)


def cell(carry_in, carry_out, sums):
    inputs = {f"{port}{n}": [100 * n + i] for i, port in enumerate(INPUTS) for n in range(2)}
    return {
        "type": "CCU2C", "attributes": {},
        "parameters": {"INIT0": "0110" * 4, "INIT1": "1001" * 4, "INJECT1_0": "NO",
                       "INJECT1_1": "NO"},
        "port_directions": {**dict.fromkeys([*inputs, "CIN"], "input"),
                            "S0": "output", "S1": "output", "COUT": "output"},
        "connections": {**inputs, "CIN": [carry_in], "COUT": [carry_out],
                        "S0": [sums[0]], "S1": [sums[1]]},
    }


def module(cells, outputs):
    return {"cells": cells, "ports": {"o": {"direction": "output", "bits": outputs}}}


@pytest.mark.parametrize(("outputs", "halves"), [
    ([10], 2), ([10, 11], 3), ([10, 11, 12], 4), ([10, 11, 12, 13], 5), ([10, 30], 6)])
def test_no_longer_than_needed(outputs, halves):
    """A half before the first bit, none behind the last that is read, one for a carry (30)."""
    found = module({"a": cell("0", 20, (10, 11)), "b": cell(20, 30, (12, 13))}, outputs)
    rebuild(found)
    cells = found["cells"]
    assert len(cells) == -(-halves // 2)
    sums = [cell["connections"][f"S{n}"][0] for cell in cells.values() for n in range(2)]
    assert [bit for bit in sums if bit != "x"] == outputs
    assert sums.index(outputs[-1]) == halves - 1
    assert list(cells)[0] == "a"


@pytest.mark.parametrize(("carry", "lowest"), [("0", "0000"), ("x", "0000"), ("1", "1111")])
def test_carry_of_the_first_half(carry, lowest):
    found = module({"a": cell(carry, 20, (10, 11))}, [10, 11])
    rebuild(found)
    assert found["cells"]["a"]["parameters"]["INIT0"] == "0" * 12 + lowest
    assert found["cells"]["a"]["parameters"]["INIT1"] == "0110" * 4


def test_others_stay():
    """A carry from the fabric, and one that goes on to a chain and to somewhere else."""
    for first in (cell(50, 20, (10, 11)), cell("0", 20, (10, 11))):
        cells = {"a": first, "b": cell(20, 30, (12, 13)), "l": {
            "type": "LUT4", "attributes": {}, "parameters": {}, "port_directions": {"A": "input"},
            "connections": {"A": [20]}}}
        before = json.dumps(cells)
        rebuild(found := module(cells, [10, 11, 12, 13]))
        assert json.dumps(found["cells"]) == before
