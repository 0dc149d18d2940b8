"""Runs LiteDRAM's generator: a script for a process of its own, called by `hw.litedram`.

    python -P litedram_generator.py CONFIG.json FOLDER real|simulation

LiteX works by side effects on the process (working folder, log), so nothing else of firecore
imports this file. In the folder it leaves `core.json`: the Verilog, the registers' addresses, the
start-up sequence of the memory and the timing exceptions of the constraints.
"""

import json
import os
import re
import sys
from pathlib import Path

from litedram import modules, phy
from litedram.common import get_default_cl
from litedram.gen import LiteDRAMCore
from litedram.init import get_sdram_phy_init_sequence
from litex.build.io import SDRTristate
from litex.build.lattice import LatticePlatform
from litex.build.sim import SimPlatform
from litex.build.xilinx import XilinxPlatform
from litex.soc.integration.builder import Builder
from migen import Instance, Module, Signal

CONTROL = {"SEL": 1, "CKE": 2, "ODT": 4, "RESET_N": 8}
COMMAND = {"CS": 1, "WE": 2, "CAS": 4, "RAS": 8, "WRDATA": 16, "RDDATA": 32}


class VerilogOnly:
    """A platform that only writes the Verilog; nothing is prepared for the tools behind it."""

    def build(self, fragment, *, build_dir, build_name, regular_comb, **_):
        output = self.get_verilog(fragment, name=build_name, regular_comb=regular_comb)
        output.write(os.path.join(build_dir, f"{build_name}.v"))
        return output.ns


class Simulation(VerilogOnly, SimPlatform):
    pass


class PinRegisters(Module):
    """A bidirectional pin with all three registers in the pin itself; LiteX leaves the one of the
    output enable to be placed anywhere, from where the way takes half a cycle."""

    def __init__(self, pin):
        out, off, into = Signal(), Signal(), Signal()
        common = {"i_SCLK": pin.clk, "i_PD": 0, "i_SP": 1}
        self.specials += [
            Instance("OFS1P3BX", **common, i_D=pin.o, o_Q=out),
            Instance("OFS1P3BX", **common, i_D=~pin.oe, o_Q=off),
            Instance("IFS1P3BX", **common, i_D=into, o_Q=pin.i),
            Instance("TRELLIS_IO", p_DIR="BIDIR", io_B=pin.io, i_I=out, i_T=off, o_O=into),
        ]

    lower = classmethod(lambda cls, pin: cls(pin))


class Ecp5(VerilogOnly, LatticePlatform):
    def get_verilog(self, *arguments, **options):
        return super().get_verilog(
            *arguments, special_overrides={SDRTristate: PinRegisters}, **options)


class LateSdrPhy(phy.GENSDRPHY):
    """Takes what the memory sends a cycle later, which leaves it time at 80 MHz and more.

    Pins and memory need about 10 ns from the memory's clock to the input register. That clock comes
    a little before ours (`MEMORY_LEAD` of `hw.ecp5_clocks`), so a cycle more than the PHY has is
    one and that little.
    """

    def __init__(self, pads, sys_clk_freq):
        latency = get_default_cl("SDR", 1 / sys_clk_freq)
        super().__init__(pads, sys_clk_freq, latency + 1)
        self.settings.cl = latency  # the memory's own, which start-up writes into it


def platform_of(settings: dict, variant: str):
    """What LiteDRAM chooses its PHY and primitives by."""
    if variant == "simulation":
        return Simulation("", io=[])
    if settings["memtype"] == "SDR":
        return Ecp5(settings["device"], io=[], toolchain="trellis")
    return XilinxPlatform("", io=[], toolchain="vivado")


def step(address: int, bank: int, text: str, cycles: int) -> dict:
    """One line of LiteDRAM's sequence: `text` is a sum of names such as DFII_COMMAND_RAS."""
    kind, names = None, []
    for name in text.split("|"):
        _, kind, flag = name.split("_", 2)
        names.append(flag)
    flags = CONTROL if kind == "CONTROL" else COMMAND
    return {"kind": kind.lower(), "value": sum(flags[name] for name in names),
            "address": address, "bank": bank, "cycles": cycles}


def main(config: Path, folder: Path, variant: str) -> None:
    settings = json.loads(config.read_text())
    module = getattr(modules, settings["sdram_module"])
    settings["sdram_module"] = type(module.__name__, (module,), {"nbanks": settings.pop("banks")})
    phy.GENSDRPHY = LateSdrPhy  # LiteDRAM knows its PHYs by their class
    settings["sdram_phy"] = getattr(phy, settings["sdram_phy"])
    name = settings.pop("name")
    os.chdir(folder)
    platform = platform_of(settings, variant)
    core = LiteDRAMCore(platform, settings)
    Builder(core, output_dir="build", compile_software=False, compile_gateware=False).build(
        build_name=name, regular_comb=False)
    gateware = folder / "build" / "gateware"
    # the header tells time and place, which say nothing about the design; LiteX repeats
    # assignments to concatenations, which synthesis takes for several drivers
    verilog = (gateware / f"{name}.v").read_text()
    verilog = re.sub(r"^//.*\n", "", verilog, flags=re.MULTILINE)
    verilog = re.sub(r"^(assign .*;\n)\1+", r"\1", verilog, flags=re.MULTILINE)
    constraints = ""
    if variant == "real" and isinstance(platform, XilinxPlatform):
        lines = (gateware / f"{name}.xdc").read_text().splitlines()
        constraints = "\n".join(line for line in lines if line.startswith(
            ("set_false_path", "set_max_delay"))) + "\n"
    csr = json.loads((folder / "build" / "csr.json").read_text())["csr_registers"]
    made = core.sdram.controller.settings
    sequence, _ = get_sdram_phy_init_sequence(made.phy, made.timing)
    (folder / "core.json").write_text(json.dumps({
        "verilog": verilog,
        "row_bits": made.geom.rowbits,
        "bank_bits": made.geom.bankbits,
        "column_bits": made.geom.colbits,
        "port_bits": core.sdram.controller.interface.data_width,
        "registers": {register: entry["addr"] for register, entry in csr.items()},
        "sequence": [step(address, bank, text, cycles)
                     for _, address, bank, text, cycles in sequence],
        "constraints": constraints,
    }))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3])
