"""Runs a network on a core and shows what it recognises: simulated, or on a board.

    python -m sw.run MODEL.onnx --image FILE... --target sim|chip-sim|serial:DEVICE
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import boards
from hw import csr
from hw.command import add_board, add_json, command_parser, run_command
from hw.config import Config
from hw.files import check_writable, write_json
from hw.link import BAUD
from hw.presets import add_config, parse_config
from hw.profile import EVENTS
from sim.check import check_outputs
from sim.golden import graph as golden
from sim.tail import host_tail, labels_of, name_classes, top_classes

from .compiler import compile_graph
from .errors import UserError
from .graph import Graph
from .image import load_input
from .importer import import_model
from .options import STATUS, add_check, add_images, add_model, add_preprocess
from .perf import memory_of
from .program import Program
from .runtime import Accelerator, Inference
from .runtime.chip import Chip
from .runtime.targets import NAMES, open_target

__all__ = ["CHECKS", "Outcome", "format_table", "main", "recognise"]

CHECKS = ("golden", "none")
DEFAULT_BOARD = "arty_a7"
MEANING = {
    "BUSY": "array at work", "WAIT_INPUT": "waits for a load", "WAIT_WEIGHTS": "waits for weights",
    "WAIT_OUTPUT": "waits for results to leave", "WAIT_ORDER": "waits for a pass before",
    "IDLE": "no instruction", "DRAIN": "last results", "READ_BEATS": "vectors read",
    "WRITE_BEATS": "vectors written",
}
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Outcome:
    """`report` is the JSON report; `first` the first difference, or empty."""

    report: dict[str, Any]
    labels: list[str]
    notes: list[str]
    first: str = ""


def recognise(model: str | Path, images: Sequence[str | Path], target: str, *,
              board: boards.Board | None = None, config: Config | None = None,
              check: str = "golden", preprocess: str = "auto", baud: int | None = None,
              bit_cycles: int | None = None,
              progress: Progress = lambda what, fraction: None) -> Outcome:
    """Compiles the model for the core of `board`, or of `config` on that board's memory, loads it
    on the target and runs it once for each image, a file that `sw.image` reads.

    `check` is `golden`, to compare what the core gives back with the golden operators, or `none`.
    `target`, `baud` and `bit_cycles` are those of `sw.runtime.targets.open_target`. Raises
    `UserError` for bad input, `Failure` if core, chip or link fail.
    """
    if check not in CHECKS:
        raise UserError(f"check '{check}' is unknown; there are: {', '.join(CHECKS)}")
    if not images:
        raise UserError("no image is given")
    board = board or boards.get(DEFAULT_BOARD)
    if config is not None:
        board = dataclasses.replace(board, config=config)
    opened = open_target(target, board=board, baud=baud, bit_cycles=bit_cycles)
    graph = import_model(model)
    inputs = [load_input(file, graph, preprocess) for file in images]
    progress("compile the network", 0)
    passes: dict[str, Graph] = {}
    memory = memory_of(board)
    program = compile_graph(graph, board.config, memory.rate, memory=memory,
                            after=lambda name, work: passes.setdefault(name, work.graph))
    check_run = _Check(graph, passes["rewrite"], program, check != "none")
    runs = []
    with Accelerator(opened, progress) as accelerator:
        accelerator.load(program)
        for number, image in enumerate(inputs):
            what = f"image {number + 1} of {len(inputs)}"
            done = accelerator.infer(
                golden.input_integers(graph, image),
                lambda part, what=what, n=number: progress(what, (n + part) / len(inputs)))
            check_run.add(image, done)
            runs.append(done)
        link = dataclasses.asdict(opened.link.statistics) if isinstance(opened, Chip) else None
    report = _report(target, board, program, runs, list(map(str, images)), check_run, link)
    return Outcome(report, labels_of(graph), graph.notes, check_run.first)


class _Check:
    """Scores of each run, and how many values of what came back are not the reference's."""

    def __init__(self, graph: Graph, computed: Graph, program: Program, compare: bool) -> None:
        self.graph, self.computed, self.program, self.compare = graph, computed, program, compare
        self.tops: list[list[list[int | float]]] = []
        self.checked = self.mismatches = 0
        self.first = ""

    def add(self, image: np.ndarray, done: Inference) -> None:
        outputs = host_tail(self.graph, done.tensors)
        self.tops.append(top_classes(outputs[self.graph.outputs[0]]))
        if not self.compare:
            return
        reference = golden.run(self.computed, image)
        read = check_outputs(self.program, reference, done.tensors)
        self._note(read.checked, read.mismatches, read.first)
        for name, values in outputs.items():
            differ = int((values != reference[name].reshape(values.shape)).sum())
            self._note(values.size, differ,
                       f"output {name}: {differ} of {values.size} values differ")

    def _note(self, checked: int, mismatches: int, first: str) -> None:
        self.checked += checked
        self.mismatches += mismatches
        if mismatches:
            self.first = self.first or first


def _report(target: str, board: boards.Board, program: Program, runs: list[Inference],
            files: list[str], check: _Check, link: dict[str, int] | None) -> dict[str, Any]:
    """Cycles and counters are the mean over all images."""
    counters = {name: round(float(np.mean([run.counters[name] for run in runs])))
                for name in (*EVENTS, *(state.name for state in csr.ARRAY_COUNTERS))}
    cycles = counters["CYCLES"]
    return {
        "target": target, "clock_hz": board.clock_hz,
        "configuration": f"{program.digest:08x}", "lanes": program.config.lanes,
        "cycles": cycles, "fps": round(board.clock_hz / cycles, 3) if cycles else 0.0,
        "efficiency": round(program.macs / (cycles * program.config.lanes), 5) if cycles else 0.0,
        "counters": counters,
        "images": [{"file": file, "cycles": run.cycles, "top5": top}
                   for file, run, top in zip(files, runs, check.tops, strict=True)],
        "check": "golden" if check.compare else "none",
        "checked_values": check.checked, "mismatches": check.mismatches,
        "seconds": round(sum(run.seconds for run in runs), 3), "link": link,
    }


def format_table(outcome: Outcome) -> str:
    """The report for a reader: the same lines for every target."""
    report = outcome.report
    cycles = report["cycles"]
    lines = [f"{report['target']}: {report['lanes']} lanes at {report['clock_hz'] / 1e6:g} MHz, "
             f"configuration {report['configuration']}",
             f"{'cycles of an image':<28}{cycles:>12,}  "
             f"{100 * report['efficiency']:5.1f} % of peak"]
    for name, what in MEANING.items():
        count = report["counters"][name]
        share = "" if name in EVENTS else f"  {100 * count / max(cycles, 1):5.1f} %"
        lines.append(f"  {what:<26}{count:>12,}{share}")
    lines.append(f"{report['fps']:.1f} images/s at {report['clock_hz'] / 1e6:g} MHz")
    lines += [f"{image['file']}: {name_classes(image['top5'], outcome.labels)}"
              for image in report["images"]]
    if link := report["link"]:
        lines.append(f"link: {link['requests']:,} requests, {link['retries']:,} asked again; "
                     f"{link['bytes_sent']:,} bytes sent, {link['bytes_received']:,} received")
    lines += [f"note: {note}" for note in outcome.notes]
    if report["check"] == "none":
        lines.append("nothing was compared (--check none)")
    else:
        lines.append(f"{report['checked_values']:,} output values compared with golden: "
                     f"{report['mismatches']:,} mismatches")
    if outcome.first:
        lines.append(f"MISMATCH: {outcome.first}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sw.run",
        "Run a network on a core and print what it recognises and how many cycles that took. "
        f"{STATUS}",
        "squeezenet.onnx --image cat.jpg --board arty_a7 --target serial:/dev/ttyUSB1")
    add_model(parser)
    add_images(parser, ", one run each")
    parser.add_argument("--target", default="sim", metavar="NAME",
                        help=f"{', '.join(NAMES)} (default sim): the core alone, the whole chip "
                             "with its DRAM through the pins of its serial line, or a board")
    add_board(parser, f"the board whose core, clock and memory it is (default {DEFAULT_BOARD})",
              default=DEFAULT_BOARD)
    add_config(parser, "another core than the board's")
    parser.add_argument("--baud", type=int,
                        help=f"rate of the serial port of a board (default {BAUD})")
    parser.add_argument("--bit-cycles", type=int, metavar="N",
                        help="cycles of a bit on the line of chip-sim, 2 or more (default 2)")
    add_preprocess(parser)
    add_check(parser, CHECKS)
    add_json(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress) -> int:
        check_writable(options.json)
        outcome = recognise(
            options.model, options.images, options.target,
            board=boards.get(options.board, options.variant),
            config=None if options.config is None else parse_config(options.config),
            check=options.check, preprocess=options.preprocess, baud=options.baud,
            bit_cycles=options.bit_cycles, progress=progress)
        progress.close()
        print(format_table(outcome))
        if options.json:
            write_json(options.json, outcome.report)
        return outcome.report["mismatches"]

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
