"""The top level of a board: the system on chip at the pins of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io

from .core_clock import DOMAIN, CoreClock, crossing_constraints
from .ddr3_pins import ddr3
from .link import BAUD
from .litedram import MODULE, Generated
from .sdram_pins import sdr
from .soc import Soc

if TYPE_CHECKING:
    from boards import Board

__all__ = ["BoardTop"]


MEMORIES = {"DDR3": ddr3, "SDR": sdr}
"""By kind of memory: adds what it needs beside the system on chip, the clock of ``sync`` included,
and gives the controller's ports for `hw.soc.Soc`."""


class BoardTop(Elaboratable):
    """`hw.soc.Soc` on a board with its serial port, lights and memory, at `BAUD` bits a second.

    The controller of a DDR3 memory makes the clock of everything else from the board's. Needs the
    platform's resources of the clock, ``uart``, ``led`` and ``ddr3`` or ``sdram``; adds the
    controller's files to the platform, and constraints if the core has a clock of its own, which
    boards of Series 7 can give it.
    """

    def __init__(self, board: Board, generated: Generated):
        self.board, self.generated = board, generated

    def elaborate(self, platform):
        platform.add_file(f"{MODULE}.v", self.generated.verilog)
        if self.generated.constraints:
            platform.add_file(f"{MODULE}.xdc", self.generated.constraints)
        m = Module()
        m.domains.sync = ClockDomain()
        board = self.board
        memory = MEMORIES[board.dram.kind](m, platform, board, self.generated)
        m.submodules.soc = soc = Soc(board.config, self.generated, memory,
                                     board.dram.clock_hz / BAUD, board.crosses_clocks)
        if board.crosses_clocks:
            clocks = board.dram.clock_hz, board.clock_hz
            m.domains += ClockDomain(DOMAIN)
            m.submodules.core_clock = CoreClock(*clocks)
            platform.add_file("core_clock.xdc", crossing_constraints("core_clock", *clocks))
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [soc.rx.eq(rx.i), tx.o.eq(soc.tx)]
        for number, light in enumerate(soc.leds.as_value()):
            led = m.submodules[f"led_{number}"] = io.Buffer(
                "o", platform.request("led", number, dir="-"))
            m.d.comb += led.o.eq(light)
        return m
