"""The core on LiteDRAM's controller and its model of the memory, for Verilator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from amaranth.hdl import ClockSignal, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.interfaces import Axi4
from hw.litedram import MODULE, Dram, Generated, Litedram, Wishbone, generate

from . import verilator

__all__ = ["Monitor", "System", "build", "controller", "files"]

INSTANCE = "core__DOT__dram__02econtroller__DOT__"
"""How Verilator spells the path of the controller."""


class Monitor(wiring.Signature):
    """All signals of `Axi4`, to look at."""

    def __init__(self):
        super().__init__({name: Out(member.shape) for name, member in Axi4().members.items()})


class System(wiring.Component):
    """A component with the ports of `hw.core.Core` and, behind its AXI port, the DRAM.

    `axi` only shows what goes on there. Commands of DRAM under way do not know of `rst`: it must
    last until their data have gone by.
    """

    def __init__(self, core: wiring.Component, generated: Generated):
        self.core, self.generated = core, generated
        super().__init__({
            **{name: member for name, member in core.signature.members.items() if name != "axi"},
            "axi": Out(Monitor()),
            "control": In(Wishbone()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        m.submodules.dram = dram = Litedram(
            self.generated, {"i_clk": ClockSignal(), "i_sim_trace": 0})
        wiring.connect(m, core.axi, dram.axi)
        wiring.connect(m, wiring.flipped(self.control), dram.control)
        for name in core.signature.members:
            if name != "axi":
                _pass(m, core.signature.members[name], getattr(core, name), getattr(self, name))
        for name in Monitor().members:
            m.d.comb += getattr(self.axi, name).eq(getattr(core.axi, name))
        return m


def _pass(m: Module, member, inner, outer) -> None:
    """Connects a port of a submodule to the same port of its parent."""
    if member.is_signature:
        wiring.connect(m, inner, wiring.flipped(outer))
    elif member.flow is Out:
        m.d.comb += outer.eq(inner)
    else:
        m.d.comb += inner.eq(outer)


def controller(dram: Dram) -> Generated:
    """The controller's simulation variant. Raises `UserError`."""
    return generate(dram, verilator.cache_folder(), simulation=True)


def files(generated: Generated) -> dict[str, str]:
    """What Verilator and the harness read beside the core: the controller, the permission to reach
    the arrays of its memory model from C++, and where they are."""
    banks = [f"mem_{bank}" if bank else "mem" for bank in range(1 << generated.bank_bits)]
    access = "`verilator_config\n" + "".join(
        f'public_flat_rw -module "{MODULE}" -var "{bank}"\n' for bank in banks)
    members = ", ".join(f"&VCore___024root::{INSTANCE}{bank}" for bank in banks)
    header = f"""\
// Arrays of the memory model, one a bank: rows of ROW_VECTORS vectors.
constexpr unsigned ROW_VECTORS = {generated.row_vectors}, ROWS = {1 << generated.row_bits};
constexpr auto BANKS = std::to_array({{{members}}});
"""
    return {f"{MODULE}.v": generated.verilog, "access.vlt": access, "litedram_banks.h": header}


def build(core: Callable[[], wiring.Component], generated: Generated, *, key: str = "",
          **options) -> Path:
    """The library of `core` on the controller; `key`, which stands for what the core is made from,
    and `options` as of `sim.verilator.build`."""
    if key:
        key += "\0" + Path(__file__).read_text()
    return verilator.build(lambda: System(core(), generated), key=key, extra=files(generated),
                           defines=("LITEDRAM",), **options)
