"""What LiteDRAM's SDR controller needs of a board with an ECP5: clocks and pins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.lib import io

from .ecp5_clocks import Ecp5Clocks
from .litedram import Generated

if TYPE_CHECKING:
    from boards import Board

__all__ = ["sdr"]


def sdr(m: Module, platform, board: Board, generated: Generated) -> dict:
    """Ports of an SDR memory's controller, which has its own buffers and polarities at the pins.

    Adds the PLL that makes the clocks of ``sync`` and of the memory. Bank addresses that the
    controller does not use are low. Needs the platform's default clock and ``sdram``.
    """
    dram = board.dram
    m.submodules.clocks = clocks = Ecp5Clocks(dram.input_hz, dram.clock_hz)
    m.submodules.source = source = io.Buffer(
        "i", platform.request(platform.default_clk, 0, dir="-"))
    pins = platform.request("sdram", 0, dir="-")
    m.domains.memory = ClockDomain(reset_less=True, local=True)
    m.submodules.memory_clock = memory_clock = io.DDRBuffer("o", pins.clk, o_domain="memory")
    m.d.comb += [
        clocks.source.eq(source.i),
        ClockSignal("memory").eq(clocks.memory),
        memory_clock.o[0].eq(1),
    ]
    bank_bits = generated.bank_bits
    if bank_bits < len(pins.ba):
        m.submodules.other_banks = other_banks = io.Buffer("o", pins.ba[bank_bits:])
        m.d.comb += other_banks.o.eq(0)
    outputs = {"a": pins.a, "ba": pins.ba[:bank_bits], "ras_n": pins.ras, "cas_n": pins.cas,
               "we_n": pins.we, "cs_n": pins.cs, "cke": pins.clk_en, "dm": pins.dqm}
    return {
        "i_clk": clocks.clock,
        "i_rst": ~clocks.locked,
        "o_user_clk": ClockSignal(),
        "o_user_rst": ResetSignal(),
        **{f"o_sdram_{name}": port.io for name, port in outputs.items()},
        "io_sdram_dq": pins.dq.io,
    }
