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
from hw.config import Config
from hw.figures import memory_of
from hw.link import BAUD
from hw.profile import EVENTS
from hw.progress import TerminalProgress

from .command import run_command
from .compiler import compile_graph
from .errors import UserError
from .files import check_writable, write_json
from .graph import Graph
from .image import load_input
from .importer import import_model
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
              check: str = "golden", preprocess: str = "auto", baud: int = BAUD,
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
    from sim.tail import labels_of

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
            done = accelerator.infer(check_run.integers(image), lambda part, what=what, n=number:
                                     progress(what, (n + part) / len(inputs)))
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

    def integers(self, image: np.ndarray) -> np.ndarray:
        from sim.golden import graph as golden

        return golden.input_integers(self.graph, image)

    def add(self, image: np.ndarray, done: Inference) -> None:
        from sim.check import check_outputs
        from sim.golden import graph as golden
        from sim.tail import host_tail, top_classes

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
    for image in report["images"]:
        best = ", ".join(f"{_label(outcome.labels, index)} {score:.4g}"
                         for index, score in image["top5"])
        lines.append(f"{image['file']}: {best}")
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


def _label(labels: list[str], index: int) -> str:
    return labels[index] if index < len(labels) else str(index)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sw.run",
        description="Run a network on a core and print what it recognises and how many cycles "
                    "that took. Exit status: 0 all equal, 1 a mismatch or a failure of core or "
                    "link, 2 bad input.",
        epilog="example: python -m sw.run squeezenet.onnx --image cat.jpg --board arty_a7 "
               "--target serial:/dev/ttyUSB1")
    parser.add_argument("model", type=Path, help="quantized model (QDQ ONNX)")
    parser.add_argument("--image", nargs="+", required=True, metavar="FILE", dest="images",
                        help="photographs or tensors (.npy, .npz), one run each")
    parser.add_argument("--target", default="sim", metavar="NAME",
                        help=f"{', '.join(NAMES)} (default sim): the core alone, the whole chip "
                             "with its DRAM through the pins of its serial line, or a board")
    parser.add_argument("--board", default=DEFAULT_BOARD, metavar="NAME",
                        help=f"its core, clock and memory (default {DEFAULT_BOARD})")
    parser.add_argument("--variant", help="of the board")
    parser.add_argument("--config", metavar="JSON", help="another core than the board's, as "
                        "sim.run takes it")
    parser.add_argument("--baud", type=int, default=BAUD,
                        help=f"rate of the serial port (default {BAUD})")
    parser.add_argument("--bit-cycles", type=int, metavar="N",
                        help="cycles of a bit on the line of chip-sim, 2 or more (default 2)")
    parser.add_argument("--preprocess", default="auto", metavar="NAME",
                        help="from pixels to the network's input (default: what the model says)")
    parser.add_argument("--check", choices=CHECKS, default="golden",
                        help="reference for what the core gives back (default golden)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the report there")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress: TerminalProgress) -> int:
        from sim.run import parse_config

        check_writable(options.json)
        try:
            board = boards.get(options.board, options.variant)
        except boards.UnknownBoard as error:
            raise UserError(str(error)) from None
        outcome = recognise(
            options.model, options.images, options.target, board=board,
            config=parse_config(options.config) if options.config else None, check=options.check,
            preprocess=options.preprocess, baud=options.baud, bit_cycles=options.bit_cycles,
            progress=progress)
        progress.close()
        print(format_table(outcome))
        if options.json:
            write_json(options.json, outcome.report)
        return outcome.report["mismatches"]

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
