"""Board projects: the command line. A board names its flow, a module of ``FLOWS``."""

import argparse
import dataclasses
import importlib
import json
import sys
import warnings
from pathlib import Path

from amaranth.hdl import UnusedElaboratable

import boards

from . import figures
from .config import Config
from .core_clock import mmcm_for
from .litedram import LitedramError
from .progress import TerminalProgress
from .project import BuildError, Options
from .resources import SynthesisError

FLOWS = {"vivado": "hw.flow_vivado", "ecp5": "hw.flow_ecp5", "ip": "hw.axi_ip"}
"""Each module has ``check_tools(options)``, ``build(board, folder, options, progress)``, which
returns the report, and ``summary(report, folder)``."""


def read_config(text: str) -> Config:
    """A configuration from a JSON object or the name of a file with one. Raises BuildError."""
    try:
        fields = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
        return Config(**fields)
    except (OSError, TypeError, ValueError) as error:
        raise BuildError(f"--config: {error}") from None


def with_clock(board: boards.Board, clock_hz: float) -> boards.Board:
    """The board with another clock of its core. Raises BuildError if it cannot be made."""
    board = board.at_clock(clock_hz)
    if board.crosses_clocks:
        try:
            mmcm_for(board.dram.clock_hz, clock_hz)
        except ValueError as error:
            raise BuildError(f"--core-clock: {error}") from None
    return board


def main(arguments: list[str] | None = None) -> int:
    # Some units are made only to look at their ports.
    warnings.simplefilter("ignore", UnusedElaboratable)
    parser = argparse.ArgumentParser(
        prog="python -m hw.build", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write the project of a board and print what it takes of the device.",
        epilog="example:\n  python -m hw.build --board arty_a7 --variant 35 -o build/arty_a7")
    parser.add_argument("--board", required=True, help=f"one of: {', '.join(boards.available())}")
    parser.add_argument("--variant", help="device of the board; the first one if not given")
    parser.add_argument("--config", metavar="JSON",
                        help="a core other than the board's: an object of hw.config.Config's "
                        "fields, or a file with one")
    parser.add_argument("--core-clock", type=float, metavar="MHZ",
                        help="clock of the core, if not that of the board's memory controller")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR",
                        help="folder of the project (build/BOARD-VARIANT)")
    parser.add_argument("--synth", choices=("yosys", "none"), default="yosys",
                        help="find resources and timing with Yosys (minutes), or not")
    parser.add_argument("--units", action="store_true",
                        help="also synthesise every unit alone (minutes more)")
    parser.add_argument("--seed", type=int, default=1, help="of the placer, if one runs (1)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the report to a file")
    parser.add_argument("--record", action="store_true",
                        help="keep the resources for the table of python -m hw.boards")
    options = parser.parse_args(arguments)
    progress = TerminalProgress()
    try:
        board = boards.get(options.board, options.variant)
        if options.record and (options.config or options.core_clock or options.synth == "none"):
            raise BuildError("--record: supported for the board as it is, with synthesis")
        if options.config:
            board = dataclasses.replace(board, config=read_config(options.config))
        if options.core_clock:
            board = with_clock(board, options.core_clock * 1e6)
        flow = importlib.import_module(FLOWS[board.flow])
        chosen = Options(options.synth, options.units, options.seed)
        flow.check_tools(chosen)
        folder = options.output or Path("build") / str(board)
        report = flow.build(board, folder, chosen, progress)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(report, indent=1) + "\n")
        if options.record:
            variant = f" --variant {board.variant}" if board.variant else ""
            figures.record(board, "resources", report["resources"],
                           f"python -m hw.build --board {board.name}{variant} --record")
    except (boards.UnknownBoard, LitedramError, SynthesisError, BuildError, OSError) as error:
        progress.close()
        print(f"error: {error}", file=sys.stderr)
        return 2
    progress.close()
    print(f"{board}: {board.device}, {board.config.lanes} lanes, "
          f"{board.clock_hz / 1e6:g} MHz, in {folder}")
    print(flow.summary(report, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
