"""Read levelling of a DDR3 PHY of LiteDRAM on Series 7: when to take what the memory sends.

The memory answers a read at a time that depends on board and device. For each of its chips (8 data
lines) the PHY can move that time by whole bits (`BITSLIPS`) and by taps of an IDELAYE2 (`DELAYS`).
A pattern is written and read with every setting, and each chip gets the middle of its widest run of
delays that read it back. Chips are levelled at once: they have different windows, but the same
scan. Commands go to the memory through the registers of LiteDRAM's DFI injector, one clock phase
after another, so that a setting costs six requests of the link.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hw.link import WORD
from sw.errors import Failure

__all__ = ["BITSLIPS", "DELAYS", "DramError", "ReadWindow", "Registers", "best_window",
           "level_reads", "needs_levelling"]

BITSLIPS, DELAYS = 8, 32
"""Settings of the PHY."""
NARROWEST = 4
"""Delays of the smallest window that leaves room for temperature: 4 of 78 ps."""
CS, WE, CAS, RAS, WRDATA, RDDATA = 1, 2, 4, 8, 16, 32
SOFTWARE = 14
"""Of `sdram_dfii_control`: clock enable, termination, no reset, and commands from the registers."""
SEEDS = (42, 84, 36)
CHIP_LINES = 8


class DramError(Failure):
    """The memory does not work; one line that says what was tried."""


class Registers(Protocol):
    """Access to the controller's registers, byte addresses."""

    def read(self, address: int, words: int) -> list[int]: ...

    def write(self, address: int, values: list[int]) -> None: ...


@dataclass(frozen=True)
class ReadWindow:
    """Delays `first` to `last` of `bitslip` read the pattern back."""

    bitslip: int
    first: int
    last: int

    @property
    def width(self) -> int:
        return self.last - self.first + 1

    @property
    def middle(self) -> int:
        return (self.first + self.last) // 2

    def __str__(self) -> str:
        return f"bitslip {self.bitslip}, delays {self.first} to {self.last}"


def needs_levelling(registers: Mapping[str, int]) -> bool:
    """Whether the PHY that has these registers does; models and SDR memories do not."""
    return "ddrphy_rdly_dq_rst" in registers


def best_window(works: np.ndarray) -> ReadWindow | None:
    """The widest run in bool [bitslip, delay], the first of equals."""
    best = None
    for bitslip, row in enumerate(works):
        edges = np.flatnonzero(np.diff([False, *row, False]))
        for first, end in edges.reshape(-1, 2):
            window = ReadWindow(bitslip, int(first), int(end) - 1)
            if best is None or window.width > best.width:
                best = window
    return best


def level_reads(bus: Registers, registers: Mapping[str, int], chips: int,
                progress: Callable[[float], None] = lambda fraction: None) -> list[ReadWindow]:
    """Sets every chip to the middle of its window, which are returned. Raises `DramError`.

    The memory must have been started and not be the controller's yet.
    """
    phy = _Phy(bus, registers, chips)
    works = np.zeros((chips, BITSLIPS, DELAYS), bool)
    phy.store(SEEDS[0])
    phy.select(range(chips), "rdly_dq_bitslip_rst")
    for bitslip in range(BITSLIPS):
        phy.select(range(chips), "rdly_dq_rst")
        for delay in range(DELAYS):
            works[:, bitslip, delay] = phy.reads(SEEDS[0])
            phy.step("rdly_dq_inc")
            progress((bitslip * DELAYS + delay) / (BITSLIPS * DELAYS))
        phy.step("rdly_dq_bitslip")
    windows = []
    for chip in range(chips):
        window = best_window(works[chip])
        if window is None or window.width < NARROWEST:
            found = f"the widest window is {window}" if window else "no setting reads it back"
            raise DramError(f"the memory's read levelling failed: chip {chip} of {chips}: {found}; "
                            f"needed are {NARROWEST} delays in a row of one bitslip")
        phy.set(chip, window.bitslip, window.middle)
        windows.append(window)
    for seed in SEEDS[::-1]:
        phy.store(seed)
        for chip, works_now in enumerate(phy.reads(seed)):
            if not works_now:
                raise DramError(f"the memory's read levelling failed: chip {chip} of {chips} does "
                                f"not read back at the middle of its window, {windows[chip]}")
    return windows


class _Phy:
    """The settings of the chips, and a burst in the memory's first row."""

    def __init__(self, bus: Registers, registers: Mapping[str, int], chips: int) -> None:
        self.bus, self.registers, self.chips = bus, registers, chips
        self.phases = sum(name.endswith("_command_issue") for name in registers)
        self.read_phase, = bus.read(registers["ddrphy_rdphase"], 1)
        self.write_phase, = bus.read(registers["ddrphy_wrphase"], 1)
        self._write("sdram_dfii_control", SOFTWARE)
        for phase in range(self.phases):
            # row, column and bank 0; a precharge of that bank alone
            self._write(f"sdram_dfii_pi{phase}_address", 0)
            self._write(f"sdram_dfii_pi{phase}_baddress", 0)

    def _write(self, name: str, *values: int) -> None:
        self.bus.write(self.registers[name], list(values))

    def select(self, chips, action: str) -> None:
        """Selects chips for this and later actions of `step`."""
        self._write("ddrphy_dly_sel", sum(1 << chip for chip in chips))
        self.step(action)

    def step(self, action: str) -> None:
        self._write(f"ddrphy_{action}", 1)

    def set(self, chip: int, bitslip: int, delay: int) -> None:
        self.select([chip], "rdly_dq_bitslip_rst")
        for _ in range(bitslip):
            self.step("rdly_dq_bitslip")
        self.step("rdly_dq_rst")
        for _ in range(delay):
            self.step("rdly_dq_inc")

    def _command(self, phase: int, value: int) -> None:
        # the register of the command is followed by the one that issues it
        self._write(f"sdram_dfii_pi{phase}_command", value, 1)

    def store(self, seed: int) -> None:
        """Puts the pattern of the seed where writes take it from."""
        for phase, word in enumerate(self._pattern(seed)):
            self._write(f"sdram_dfii_pi{phase}_wrdata", int(word))

    def _pattern(self, seed: int) -> np.ndarray:
        """uint64 [phase]: for each edge of the two of a phase, `chips` bytes."""
        top = 1 << 2 * CHIP_LINES * self.chips
        return np.random.default_rng(seed).integers(0, top, self.phases, np.uint64)

    def reads(self, seed: int) -> list[bool]:
        """Writes the pattern of `store`, and whether each chip reads that of the seed back."""
        for phase, command in ((0, RAS | CS), (self.write_phase, CAS | WE | CS | WRDATA),
                               (self.read_phase, CAS | CS | RDDATA), (0, RAS | WE | CS)):
            self._command(phase, command)
        # all phases in one read: they are as many registers apart
        first = self.registers["sdram_dfii_pi0_rddata"]
        stride = (self.registers["sdram_dfii_pi1_rddata"] - first) // WORD
        words = self.bus.read(first, stride * (self.phases - 1) + 1)[::stride]
        differ = int(np.bitwise_or.reduce(np.array(words, np.uint64) ^ self._pattern(seed)))
        lines = ((1 << CHIP_LINES) - 1) * (1 | 1 << CHIP_LINES * self.chips)
        return [not differ & lines << CHIP_LINES * chip for chip in range(self.chips)]
