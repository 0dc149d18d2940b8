"""Board projects: the command line. A board names its flow, a module of ``FLOWS``."""

import dataclasses
import importlib
import sys
import warnings
from pathlib import Path

from amaranth.hdl import UnusedElaboratable

import boards

from . import figures
from .command import add_board, add_json, command_parser, run_command
from .core_clock import mmcm_for
from .ecp5_clocks import dividers
from .errors import UserError
from .files import check_folder, check_writable, write_json
from .presets import add_config, parse_config
from .project import BuildError, Options

FLOWS = {"vivado": "hw.flow_vivado", "ecp5": "hw.flow_ecp5", "ip": "hw.axi_ip"}
"""Each module has ``check_tools(options)``, ``build(board, folder, options, progress)``, which
returns the report, and ``summary(report, folder)``."""


def board_of(options) -> boards.Board:
    """The board with the core and the clock that are asked for. Raises UserError if there is no
    such board, BuildError if it cannot be made."""
    board = boards.get(options.board, options.variant)
    asked = options.config, options.core_clock
    if options.record and (asked != (None, None) or options.synth == "none"):
        raise BuildError("--record: supported for the board as it is, with synthesis")
    if options.units and (board.flow == "ecp5" or options.synth == "none"):
        raise BuildError("--units: supported for Xilinx devices, with synthesis")
    if options.config is not None:
        try:
            board = dataclasses.replace(board, config=parse_config(options.config))
        except UserError as error:
            raise BuildError(f"--config: {error}") from None
        if board.config.vendor == "ecp5" and board.flow != "ecp5":
            raise BuildError(f"--config: multiplier {board.config.multiplier} is for an ECP5, the "
                             f"board has an {board.device}")
    if options.core_clock is not None:
        board = with_clock(board, options.core_clock * 1e6)
    return board


def with_clock(board: boards.Board, clock_hz: float) -> boards.Board:
    """The board with another clock of its core. Raises BuildError if it cannot be made."""
    try:
        if not 0 < clock_hz < float("inf"):
            raise ValueError(f"core clock: {clock_hz / 1e6:g} MHz, supported: above 0")
        board = board.at_clock(clock_hz)
        if board.crosses_clocks:
            mmcm_for(board.dram.clock_hz, clock_hz)
        elif board.flow == "ecp5":
            dividers(board.dram.input_hz, clock_hz)
    except ValueError as error:
        raise BuildError(f"--core-clock: {error}") from None
    return board


def main(arguments: list[str] | None = None) -> int:
    # Some units are made only to look at their ports.
    warnings.simplefilter("ignore", UnusedElaboratable)
    parser = command_parser(
        "hw.build", "Write the project of a board and print what it takes of the device.",
        "--board arty_a7 --variant 35 -o build/arty_a7")
    add_board(parser, required=True)
    add_config(parser, "a core other than the board's")
    parser.add_argument("--core-clock", type=float, metavar="MHZ",
                        help="clock of the core, if not that of the board's memory controller")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR",
                        help="folder of the project (build/BOARD-VARIANT)")
    parser.add_argument("--synth", choices=("yosys", "none"), default="yosys",
                        help="find resources and timing with Yosys (minutes), or not")
    parser.add_argument("--units", action="store_true",
                        help="also synthesise every unit alone (minutes more)")
    parser.add_argument("--seed", type=int, default=1, help="of the placer, if one runs (1)")
    add_json(parser)
    parser.add_argument("--record", action="store_true",
                        help="keep the resources for the table of python -m hw.boards")
    options = parser.parse_args(arguments)

    def work(progress):
        board = board_of(options)
        flow = importlib.import_module(FLOWS[board.flow])
        chosen = Options(options.synth, options.units, options.seed)
        flow.check_tools(chosen)
        folder = options.output or Path("build") / str(board)
        check_folder(folder)
        check_writable(options.json, new_folders=True)
        if options.record:
            figures.recorded(board, "resources")  # a damaged file is found before the work
        report = flow.build(board, folder, chosen, progress)
        if options.json:
            write_json(options.json, report)
        if options.record:
            variant = f" --variant {board.variant}" if board.variant else ""
            figures.record(board, "resources", report["resources"],
                           f"python -m hw.build --board {board.name}{variant} --record")
        progress.close()
        print(f"{board}: {board.device}, {board.config.lanes} lanes, "
              f"{board.clock_hz / 1e6:g} MHz, in {folder}")
        print(flow.summary(report, folder))

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
