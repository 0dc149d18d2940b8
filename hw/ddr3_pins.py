"""What LiteDRAM's DDR3 controller needs of a board with an Artix-7: its pins, for it makes the
clocks itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import ClockSignal, Module, ResetSignal
from amaranth.lib import io

from .litedram import Generated

if TYPE_CHECKING:
    from boards import Board

__all__ = ["ddr3"]


def ddr3(m: Module, platform, board: Board, generated: Generated) -> dict:
    """Ports of a DDR3 memory's controller, which has its own buffers and polarities at the pins and
    makes the clock and reset of ``sync``.

    Bank addresses that it does not use are low. Needs the platform's default clock and ``ddr3``.
    """
    pins = platform.request("ddr3", 0, dir="-")
    bank_bits = generated.bank_bits
    if bank_bits < len(pins.ba):
        m.submodules.other_banks = other_banks = io.Buffer("o", pins.ba[bank_bits:])
        m.d.comb += other_banks.o.eq(0)
    outputs = {"a": pins.a, "ba": pins.ba[:bank_bits], "ras_n": pins.ras, "cas_n": pins.cas,
               "we_n": pins.we, "cs_n": pins.cs, "dm": pins.dm, "cke": pins.clk_en,
               "odt": pins.odt, "reset_n": pins.rst}
    return {
        "i_clk": platform.request(platform.default_clk, 0, dir="-").io,
        "i_rst": 0,
        "o_user_clk": ClockSignal(), "o_user_rst": ResetSignal(),
        **{f"o_ddram_{name}": port.io for name, port in outputs.items()},
        "o_ddram_clk_p": pins.clk.p, "o_ddram_clk_n": pins.clk.n,
        "io_ddram_dq": pins.dq.io,
        "io_ddram_dqs_p": pins.dqs.p, "io_ddram_dqs_n": pins.dqs.n,
    }
