"""The core alone as an IP block: Verilog with AXI ports, packaging script, C header."""

import shutil
import tempfile
from pathlib import Path

from amaranth.back import rtlil, verilog
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, ResetSignal, Signal
from amaranth.lib.wiring import Out

import boards

from .c_header import register_header
from .config import Config
from .core import Core
from .flow_vivado import check_tools, measure, summary_of_resources
from .interfaces import Axi4, AxiLite
from .parts import Series7
from .project import Options, report_of, whole_folder

__all__ = ["AxiIp", "build", "check_tools", "summary"]

TOP = "firecore_axi"
SCRIPT = Path(__file__).with_name("axi_ip.tcl")
CONSTANTS = {"awlock": (1, 0), "awqos": (4, 0), "arlock": (1, 0), "arqos": (4, 0)}
"""Signals of AXI4 that the core has no use for: width and value."""


class AxiIp(Elaboratable):
    """``Core`` with ports as Vivado and others expect them.

    ``aclk``, ``aresetn`` (synchronous), ``m_axi_*`` (AXI4 manager of 128 bits without IDs),
    ``s_axi_*`` (AXI4-Lite subordinate of 32 bits), ``interrupt`` (level, high). Bursts have up to
    ``config.burst`` words and do not cross 4 KiB.
    """

    def __init__(self, config: Config):
        self.config = config
        self.aclk = _port("aclk", 1, "clock:1.0 aclk CLK",
                          "ASSOCIATED_BUSIF m_axi:s_axi, ASSOCIATED_RESET aresetn")
        self.aresetn = _port("aresetn", 1, "reset:1.0 aresetn RST", "POLARITY ACTIVE_LOW")
        self.interrupt = _port("interrupt", 1, "interrupt:1.0 interrupt INTERRUPT",
                               "SENSITIVITY LEVEL_HIGH")
        self.m_axi = {name: Signal(member.shape, name=f"m_axi_{name}")
                      for name, member in Axi4().members.items()}
        self.m_axi |= {name: Signal(width, name=f"m_axi_{name}")
                       for name, (width, _) in CONSTANTS.items()}
        self.s_axi = {name: Signal(member.shape, name=f"s_axi_{name}")
                      for name, member in AxiLite().members.items()}

    @property
    def ports(self) -> list[Signal]:
        return [self.aclk, self.aresetn, *self.s_axi.values(), *self.m_axi.values(),
                self.interrupt]

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.core = core = Core(self.config)
        m.d.comb += [
            ClockSignal().eq(self.aclk),
            ResetSignal().eq(~self.aresetn),
            self.interrupt.eq(core.interrupt),
            *(self.m_axi[name].eq(value) for name, (_, value) in CONSTANTS.items()),
        ]
        for bus, pins in ((core.axi, self.m_axi), (core.csr, self.s_axi)):
            for name, member in bus.signature.members.items():
                inner = getattr(bus, name)
                m.d.comb += pins[name].eq(inner) if member.flow is Out else inner.eq(pins[name])
        return m


def _port(name: str, width: int, interface: str, parameters: str) -> Signal:
    """A port with the attributes by which Vivado's packager knows it."""
    return Signal(width, name=name, attrs={
        "X_INTERFACE_INFO": f"xilinx.com:signal:{interface}",
        "X_INTERFACE_PARAMETER": parameters})


def build(board: boards.Board, folder: Path, options: Options,
          progress=lambda what, fraction: None) -> dict:
    """Write the IP block of ``board.config`` to ``folder``; returns the report.

    With the ``generic`` multiplier the Verilog has no vendor's primitives. Resources are those of
    the core alone, for ``board.device``. Raises SynthesisError, DoesNotFit.
    """
    progress("elaborating", 0)
    design = AxiIp(board.config)
    platform = None if board.config.multiplier == "generic" else Series7()
    form = {"ports": design.ports, "name": TOP, "emit_src": False, "platform": platform}
    report = report_of(board)
    with whole_folder(folder, report) as work:
        (work / f"{TOP}.v").write_text(verilog.convert(design, **form,
                                                      strip_internal_attrs=True))
        (work / "firecore.h").write_text(register_header(board.config))
        shutil.copy(SCRIPT, work / "package.tcl")
        (work / "Makefile").write_text(
            f"# Packs the IP block of {board.config.lanes} lanes into the folder ip.\n"
            f"VIVADO ?= vivado\n\nip: package.tcl {TOP}.v\n"
            f"\t$(VIVADO) -mode batch -nojournal -source package.tcl -tclargs {TOP} "
            f"{board.device}\n")
        if options.synth == "yosys":
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".firecore-") as scratch:
                source = Path(scratch) / f"{TOP}.il"
                source.write_text(rtlil.convert(design, **form))
                measure(board, report, source, TOP, options, progress, pads=False)
    return report


def summary(report: dict, folder: Path) -> str:
    """The report in words, for people."""
    return "\n".join([*summary_of_resources(report),
                      f"next: make -C {folder}    (packs {folder}/ip with Vivado; registers in "
                      f"{folder}/firecore.h)"])
