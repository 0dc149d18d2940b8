"""Simulates a whole network on the core and compares every value of every layer.

    python -m sim.run MODEL.onnx --image FILE... [--board NAME]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import boards
from hw.command import add_board, add_json, command_parser, run_command
from hw.config import Config
from hw.files import check_writable, write_json
from hw.litedram import Dram
from hw.presets import DEFAULT_PRESET, PRESETS, add_config, parse_config
from sw import perf
from sw.compiler import compile_graph
from sw.errors import UserError
from sw.graph import Graph
from sw.image import load_input
from sw.importer import import_model
from sw.options import (
    STATUS,
    add_check,
    add_images,
    add_memory_kind,
    add_memory_model,
    add_model,
    add_preprocess,
)

from .check import Check, LayerCheck, check_batch, check_outputs
from .golden import graph as golden
from .harness import DEFAULT_MEMORY, Memory
from .profile import format_profile
from .report import build_report, format_report
from .simulator import DEFAULT_DRAM, CoreSimulator, Run
from .tail import host_tail, labels_of, name_classes, same_ranking, top_classes
from .timeline import COUNTED, timeline, vectors_of

__all__ = ["CHECKS", "Outcome", "main", "run", "simulate"]

CHECKS = ("golden", "onnxruntime", "none")
DEFAULT_CLOCK = 100e6
Progress = Callable[[str, float], None]
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """`report` is the JSON report; `checks` has the counts of each layer over all images."""

    report: dict[str, Any]
    checks: list[LayerCheck]
    labels: list[str]
    unknown: list[str]
    """Tensors that the reference does not have: not compared."""
    notes: list[str]
    """What the importer says about the model."""
    timeline: dict[str, Any] | None = None
    """Chrome trace of the first run."""


def run(model: str | Path, inputs: Sequence[str | Path | np.ndarray], **options) -> dict[str, Any]:
    """The report of `simulate`, which see."""
    return simulate(model, inputs, **options).report


def simulate(model: str | Path, inputs: Sequence[str | Path | np.ndarray], *,
             board: str | boards.Board | None = None, variant: str | None = None,
             config: Config | None = None, check: str = "golden", preprocess: str = "auto",
             memory: Memory = DEFAULT_MEMORY, dram: Dram | None = None,
             waves: Path | None = None, batch: int = 1, trace: bool = False,
             progress: Progress = lambda what, fraction: None) -> Outcome:
    """Compiles the model, builds the core and runs the program once for each batch of inputs.

    `inputs` are files that `sw.image` reads, or float arrays (C, H, W) or (1, C, H, W). The core is
    that of the board, or `config`, or 256 lanes; so is `dram`, used if `memory` is LiteDRAM's.
    `check` names the reference: `golden`, `onnxruntime` or `none`. A run processes `batch` inputs
    in a row; the inputs are repeated from the first on until the last batch is full. With `trace`
    the outcome has the timeline of the first run. Raises
    `UserError` for bad input, `CoreError` and `HarnessFailure` if the core misbehaves; differing
    values are counted in the report.
    """
    if check not in CHECKS:
        raise UserError(f"check '{check}' is unknown; there are: {', '.join(CHECKS)}")
    if not len(inputs):
        raise UserError("no image is given")
    if batch < 1:
        raise UserError(f"a batch of {batch} images; 1 or more are supported")
    if board is not None and config is not None:
        raise UserError("a board and a configuration are given; one of them is supported")
    if isinstance(board, str):
        board = boards.get(board, variant)
    clock_hz = board.clock_hz if board else DEFAULT_CLOCK
    config = board.config if board else config or PRESETS[DEFAULT_PRESET]
    if board:
        dram = board.dram
        if dram is None and memory.kind == "litedram":
            raise UserError(f"board {board.name} has no memory controller of its own; supported is "
                            "the memory model")
    dram = dram or DEFAULT_DRAM

    graph = import_model(model)
    inputs = [inputs[i % len(inputs)] for i in range(-(-len(inputs) // batch) * batch)]
    images = [_image(source, graph, preprocess) for source in inputs]
    progress("compile the network", 0)
    modelled = _modelled(memory, dram)
    passes: dict[str, Graph] = {}
    rate = min(memory.vectors_per_cycle, modelled.rate)
    program = compile_graph(graph, config, rate, batch=batch, memory=modelled,
                            after=lambda name, work: passes.setdefault(name, work.graph))
    reference = _reference(check, model, passes["rewrite"])
    checker = _Checker(graph, program)
    runs: list[Run] = []
    tops = []
    with CoreSimulator(config, memory=memory, dram=dram, waves=waves,
                       progress=progress) as simulator:
        simulator.load(program)
        for first in range(0, len(images), batch):
            chosen = images[first:first + batch]
            what = f"image {first + 1} of {len(images)}" if batch == 1 else \
                f"images {first + 1} to {first + batch} of {len(images)}"
            done = simulator.infer(
                [golden.input_integers(graph, image) for image in chosen],
                lambda part, what=what, n=first: progress(what, (n + part * batch) / len(images)),
                trace=(COUNTED, vectors_of(program)) if trace and not first else None)
            outputs = [host_tail(graph, tensors) for tensors in done.images]
            tops += [top_classes(each[graph.outputs[0]]) for each in outputs]
            if reference:
                checker.add(done, outputs, map(reference, chosen), exact=check == "golden")
            # the probes of an image are large: only figures stay
            runs.append(dataclasses.replace(done, results=done.results[:0],
                                            outputs=done.outputs[:0]))
    report = build_report(program, perf.predict(program, modelled), runs, _names(inputs), tops,
                          clock_hz, checker.checked, checker.mismatches)
    return Outcome(report, checker.layers, labels_of(graph), sorted(checker.unknown), graph.notes,
                   timeline(program, runs[0].slices) if trace else None)


def _modelled(memory: Memory, dram: Dram) -> perf.Memory:
    """What the cycle model knows of a memory: all but random stalls."""
    if memory.kind == "litedram":
        return perf.DRAMS[dram.kind]
    return perf.Memory(memory.latency, memory.width, memory.max_reads, memory.max_writes)


def _names(inputs: Sequence[str | Path | np.ndarray]) -> list[str]:
    return [f"input {i}" if isinstance(source, np.ndarray) else str(source)
            for i, source in enumerate(inputs)]


def _image(source: str | Path | np.ndarray, graph: Graph, preprocess: str) -> np.ndarray:
    if not isinstance(source, np.ndarray):
        return load_input(source, graph, preprocess)
    shape = graph.tensors[graph.input_node.output].shape
    if source.shape not in (shape, (1, *shape)):
        raise UserError(f"an input of shape {list(source.shape)}; the network takes "
                        f"{[1, *shape]}")
    return source


def _reference(check: str, model: str | Path,
               graph: Graph) -> Callable[[np.ndarray], dict[str, np.ndarray]] | None:
    if check == "none":
        return None
    if check == "golden":
        # The graph as the core computes it: with the tensors that rewrites insert.
        return lambda image: golden.run(graph, image)
    from .reference import Reference

    return Reference(model).run


class _Checker(Check):
    """Adds up the comparisons of all images by layer."""

    def __init__(self, graph: Graph, program):
        self.graph, self.program = graph, program
        super().__init__([LayerCheck(name) for name in (
            *(layer.name for layer in program.layers), "outputs")])

    def add(self, done: Run, outputs: list[Tensors], references: Iterable[Tensors],
            exact: bool) -> None:
        """`outputs` of the model and `references` for each image of the run."""
        def each() -> Iterator[Tensors]:
            # One after the other: a reference has every value of an image.
            for tensors, final, reference in zip(done.images, outputs, references, strict=True):
                read = check_outputs(self.program, reference, tensors)
                self.layers[-1].note(read.checked, read.mismatches, read.first)
                self._final(final, reference, exact)
                yield reference

        check = check_batch(self.program, each(), done.results, done.outputs)
        self.unknown |= check.unknown
        for total, layer in zip(self.layers, check.layers, strict=False):
            total.note(layer.checked, layer.mismatches, layer.first)

    def _final(self, outputs, reference, exact: bool) -> None:
        """Model outputs: every value if the reference computes the same tail, else the ranking."""
        total = self.layers[-1]
        for name, values in outputs.items():
            expected = reference[name].reshape(values.shape)
            if exact:
                differ = int((values != expected).sum())
                total.note(values.size, differ, f"output {name}: {differ} of {values.size} values "
                           "differ" if differ else "")
            elif not same_ranking(values, expected):
                total.note(0, 1, f"output {name}: best classes {top_classes(values)}, expected "
                           f"{top_classes(expected)}")


def describe(outcome: Outcome, check: str) -> str:
    """The report for a reader."""
    report, labels = outcome.report, outcome.labels
    lines = [format_report(report)]
    lines += [f"{image['file']}: {name_classes(image['top5'], labels)}"
              for image in report["images"]]
    lines += [f"note: {note}" for note in outcome.notes]
    if check == "none":
        lines.append("nothing was compared (--check none)")
        return "\n".join(lines)
    lines.append(f"{report['checked_values']:,} values compared with {check}: "
                 f"{report['mismatches']:,} mismatches")
    if outcome.unknown:
        lines.append(f"not compared, {check} does not give: {', '.join(outcome.unknown)}")
    for layer in outcome.checks:
        if layer.mismatches:
            lines.append(f"MISMATCH in {layer.name}: {layer.mismatches:,} of {layer.checked:,} "
                         f"values; first: {layer.first}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sim.run",
        "Simulate a network on the core, cycle by cycle, and compare every value of every layer "
        f"with a reference. {STATUS}",
        "squeezenet.onnx --image cat.jpg --board arty_a7 --json report.json")
    add_model(parser)
    add_images(parser, "; the program is started again for each batch")
    parser.add_argument("--batch", type=int, default=1, metavar="N",
                        help="images that a run processes in a row, the next one's loads during "
                             "the last layers of the one before (default 1); the images are "
                             "repeated until the last batch is full")
    add_board(parser, "the board whose core, clock and memory controller it is")
    add_config(parser, f"a core without a board (default {DEFAULT_PRESET})")
    add_memory_kind(parser)
    add_memory_model(parser)
    parser.add_argument("--stalls", type=int, default=0, metavar="PERCENT",
                        help="cycles in which each AXI channel stands still (default 0)")
    parser.add_argument("--seed", type=int, default=1, help="of the stalls (default 1)")
    add_preprocess(parser)
    add_check(parser, CHECKS)
    parser.add_argument("--profile", action="store_true",
                        help="print where the cycles of every unit and layer go")
    parser.add_argument("--timeline", type=Path, metavar="FILE",
                        help="write what every unit does for every instruction of the first run "
                             "(Chrome trace, for Perfetto)")
    add_json(parser)
    parser.add_argument("--waves", type=Path, metavar="FILE",
                        help="write all signals there (VCD, large)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress) -> int:
        if options.variant is not None and options.board is None:
            raise UserError("--variant needs --board")
        for path in (options.json, options.waves, options.timeline):
            check_writable(path)
        outcome = simulate(
            options.model, options.images, board=options.board, variant=options.variant,
            config=None if options.config is None else parse_config(options.config),
            check=options.check, preprocess=options.preprocess, waves=options.waves,
            batch=options.batch, trace=options.timeline is not None,
            memory=Memory(options.memory_latency, options.memory_width, stalls=options.stalls,
                          seed=options.seed, kind=options.kind),
            progress=progress)
        progress.close()
        print(describe(outcome, options.check))
        if options.profile:
            print("\n" + format_profile(outcome.report))
        if options.timeline:
            write_json(options.timeline, outcome.timeline)
        if options.json:
            write_json(options.json, outcome.report)
        return outcome.report["mismatches"]

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
