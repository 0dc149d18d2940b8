"""The ways to a core that a user can name: `sim`, `chip-sim` and `serial:DEVICE`."""

from __future__ import annotations

import boards
from hw.cache import cache_folder
from hw.config import Config
from hw.link import BAUD
from hw.litedram import Dram, generate
from sw.errors import UserError

from .accelerator import Progress, Target
from .chip import Chip
from .link import Transport
from .serial import SerialPort

__all__ = ["NAMES", "open_target"]

NAMES = ("sim", "chip-sim", "serial:DEVICE")
DEFAULT_CLOCK = 100e6


def open_target(name: str, *, board: boards.Board | str | None = None, config: Config | None = None,
                baud: int | None = None, bit_cycles: int | None = None) -> Target:
    """The target that is named: `sim` is the core alone, `chip-sim` everything below the pins, with
    a bit on the serial line in `bit_cycles` cycles, `serial:DEVICE` a board on a port at `baud`.

    `board`, or its name, tells clock and memory, by default those of the Arty A7; a simulation has
    the core of `config`, else of `board`, else of the first program that is loaded. Raises
    `UserError`.
    """
    kind, _, device = name.partition(":")
    if name not in ("sim", "chip-sim") and not (kind == "serial" and device):
        raise UserError(f"target '{name}' is unknown; there are: {', '.join(NAMES)}")
    if baud is not None and kind != "serial":
        raise UserError(f"target '{name}' has no baud rate; only serial:DEVICE has")
    if bit_cycles is not None and kind != "chip-sim":
        raise UserError(f"target '{name}': cycles of a bit are supported for chip-sim only")
    if isinstance(board, str):
        board = boards.get(board)
    config = config or (board.config if board else None)
    clock_hz = board.clock_hz if board else DEFAULT_CLOCK
    if kind == "sim":
        from sim.simulator import CoreTarget

        return CoreTarget(config, clock_hz=clock_hz)
    dram = board.dram if board else Dram()
    if dram is None:
        raise UserError(f"target '{name}': board {board.name} is a core without a memory controller"
                        "; supported is sim")
    if kind == "chip-sim":
        return _simulated_chip(config, dram, bit_cycles)
    baud = BAUD if baud is None else baud
    if baud < 1:
        raise UserError(f"a serial port at {baud} baud; 1 or more are supported")
    return Chip(lambda config, progress: SerialPort(device, baud),
                lambda: generate(dram, cache_folder(), simulation=False), clock_hz, dram.clock_hz)


def _simulated_chip(config: Config | None, dram: Dram, bit_cycles: int | None) -> Chip:
    """All of it at the memory controller's clock."""
    from sim.chip import BIT_CYCLES, ChipLine, build_chip

    bit_cycles = BIT_CYCLES if bit_cycles is None else bit_cycles
    if bit_cycles < 2:
        raise UserError(f"a bit of {bit_cycles} cycles; 2 or more are supported")
    generated = generate(dram, cache_folder(), simulation=True)

    def connect(wanted: Config, progress: Progress) -> Transport:
        library = build_chip(config or wanted, generated, bit_cycles, progress=progress)
        return ChipLine(library, bit_cycles, dram.clock_hz)

    return Chip(connect, lambda: generated, dram.clock_hz, dram.clock_hz)
