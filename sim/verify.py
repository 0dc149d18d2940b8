"""Compares onnxruntime, the golden operators and the core, layer by layer, over many images.

    python -m sim.verify MODEL.onnx --images DIR [--count N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hw.command import add_json, command_parser, run_command
from hw.config import Config
from hw.files import check_writable, write_json
from hw.presets import DEFAULT_PRESET, PRESETS, add_config, parse_config
from sw.accuracy import image_files
from sw.compiler import compile_graph
from sw.graph import Graph, HostOp, Input
from sw.image import load_input
from sw.importer import import_model
from sw.options import STATUS, add_folder, add_model, add_preprocess
from sw.program import Program

from .check import LayerCheck, check_outputs, check_run
from .golden import graph as golden
from .reference import Reference
from .simulator import CoreSimulator
from .tail import host_tail, same_ranking, top_classes

__all__ = ["Line", "Verification", "format_table", "main", "verify"]

OUTPUTS = "outputs"
Progress = Callable[[str, float], None]


@dataclass
class Line:
    """Counts of one layer over all images: golden operators against onnxruntime, core against
    golden operators."""

    name: str
    golden: LayerCheck
    rtl: LayerCheck

    @classmethod
    def empty(cls, name: str) -> Line:
        return cls(name, LayerCheck(name), LayerCheck(name))


@dataclass
class Verification:
    """`lines` in the order of the layers, the model's outputs last. `unknown` names tensors that
    onnxruntime does not show, and that were not compared with it."""

    images: int
    rtl: bool
    lines: list[Line]
    unknown: set[str] = field(default_factory=set)

    @property
    def mismatches(self) -> int:
        return sum(line.golden.mismatches + line.rtl.mismatches for line in self.lines)

    def report(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"images": self.images, "mismatches": self.mismatches, "layers": [
            {"name": line.name, "golden_values": line.golden.checked,
             "golden_mismatches": line.golden.mismatches,
             "rtl_values": line.rtl.checked, "rtl_mismatches": line.rtl.mismatches}
            for line in self.lines], "not_compared": sorted(self.unknown)}


def verify(model: str | Path, images: Sequence[str | Path], *, config: Config | None = None,
           preprocess: str = "auto", rtl: bool = True,
           progress: Progress = lambda what, fraction: None) -> Verification:
    """Runs every image on all three. Without `rtl` only the golden operators are compared.

    Raises `UserError` for bad input, `CoreError` and `HarnessFailure` if the core misbehaves.
    """
    graph = import_model(model)
    config = config or PRESETS[DEFAULT_PRESET]
    passes: dict[str, Graph] = {}
    program = compile_graph(
        graph, config, after=lambda name, work: passes.setdefault(name, work.graph))
    rewritten = passes["rewrite"]
    reference = Reference(model)
    lines = {name: Line.empty(name) for name in (
        *(layer.name for layer in program.layers), OUTPUTS)}
    result = Verification(len(images), rtl, list(lines.values()))
    place = _places(graph, program)
    simulator = CoreSimulator(config, progress=progress) if rtl else None
    try:
        if simulator:
            simulator.load(program)
        for number, file in enumerate(images):
            progress(f"image {number + 1} of {len(images)}", number / len(images))
            image = load_input(file, graph, preprocess)
            values = golden.run(graph, image)
            _compare_golden(graph, values, reference.run(image), lines, place, result.unknown)
            if simulator:
                if rewritten.nodes != graph.nodes:
                    values = golden.run(rewritten, image)
                _compare_core(graph, program, simulator, values, lines)
    finally:
        if simulator:
            simulator.close()
    return result


def _places(graph: Graph, program: Program) -> dict[str, str]:
    """The layer in which each tensor is made; a tensor that no pass gives (a Concat, what is fused
    away) goes with the layer that reads it, or that its inputs are made in."""
    names = [layer.name for layer in program.layers]
    place: dict[str, str] = {}
    for entry in program.trace:
        for item in (*entry["stages"], *entry["outputs"]):
            place.setdefault(item["tensor"], names[entry["layer"]])
    for node in graph.nodes:
        made = [place[name] for name in node.inputs if name in place]
        place.setdefault(node.output, made[-1] if made else names[0])
    return place


def _compare_golden(graph: Graph, values: Mapping[str, np.ndarray],
                    expected: Mapping[str, np.ndarray], lines: Mapping[str, Line],
                    place: Mapping[str, str], unknown: set[str]) -> None:
    """Integers exactly; floats of the outputs by the order of the best classes."""
    for node in graph.nodes:
        name = node.output
        is_output = name in graph.outputs
        if graph.tensors[name].quant is None and not is_output:
            continue
        if name not in expected:
            if not isinstance(node, Input | HostOp):
                unknown.add(name)
            continue
        found, wanted = values[name], expected[name].reshape(values[name].shape)
        check = lines[OUTPUTS if is_output else place[name]].golden
        if graph.tensors[name].quant is None:
            _note_ranking(check, name, found, wanted)
            continue
        differ = found != wanted
        first = ""
        if differ.any():
            where = tuple(int(i) for i in np.argwhere(differ)[0])
            first = (f"{name} at {', '.join(map(str, where))}: onnxruntime {wanted[where]}, golden "
                     f"{found[where]}")
        check.note(differ.size, int(differ.sum()), first)


def _note_ranking(check: LayerCheck, name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    count = min(5, found.size)
    same = same_ranking(found, wanted, count)
    check.note(count, 0 if same else 1, "" if same else
               f"{name}: best classes {top_classes(found)}, expected {top_classes(wanted)}")


def _compare_core(graph: Graph, program: Program, simulator: CoreSimulator,
                  values: Mapping[str, np.ndarray], lines: Mapping[str, Line]) -> None:
    run = simulator.infer(values[graph.input_node.output])
    for layer in check_run(program, values, run.results, run.outputs).layers:
        lines[layer.name].rtl.note(layer.checked, layer.mismatches, layer.first)
    last = lines[OUTPUTS].rtl
    read = check_outputs(program, values, run.tensors)
    last.note(read.checked, read.mismatches, read.first)
    for name, found in host_tail(graph, run.tensors).items():
        differ = int((found != values[name].reshape(found.shape)).sum())
        last.note(found.size, differ, f"{name}: {differ} of {found.size} values differ"
                  if differ else "")


def format_table(result: Verification) -> str:
    """One line for each layer, a sum, and the first mismatch of each layer that has one."""
    names = max(len("layer"), *(len(line.name) for line in result.lines))
    lines = [f"{'layer':<{names}}  {'golden = onnxruntime':>26}  {'rtl = golden':>26}",
             f"{'':<{names}}  {'values':>14}  {'differing':>10}  {'values':>14}  {'differing':>10}"]
    total = Line.empty("all")
    for line in result.lines:
        total.golden.note(line.golden.checked, line.golden.mismatches)
        total.rtl.note(line.rtl.checked, line.rtl.mismatches)
    for line in (*result.lines, total):
        cells = [f"{check.checked:14,d}  {check.mismatches:10,d}"
                 for check in (line.golden, *([line.rtl] if result.rtl else []))]
        lines.append("  ".join([f"{line.name:<{names}}", *cells]))
    lines += [f"MISMATCH in {line.name}: {check.first}" for line in result.lines
              for check in (line.golden, line.rtl) if check.mismatches]
    if result.unknown:
        lines.append(f"not compared, onnxruntime does not show: {_listed(result.unknown)}")
    lines.append(f"{result.images} images: {result.mismatches:,d} mismatches")
    return "\n".join(lines)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sim.verify",
        "Compare every value of every layer over many images: the golden operators with "
        f"onnxruntime, the simulated core with the golden operators. {STATUS}",
        "squeezenet1.1_int8.onnx --images photographs --count 5")
    add_model(parser)
    add_folder(parser)
    add_config(parser, f"the core (default {DEFAULT_PRESET})", default=DEFAULT_PRESET)
    add_preprocess(parser)
    parser.add_argument("--no-rtl", action="store_true",
                        help="leave the core out: golden operators and onnxruntime alone")
    add_json(parser, "the counts")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress) -> int:
        check_writable(options.json)
        result = verify(options.model, image_files(options.images, options.count),
                        config=parse_config(options.config), preprocess=options.preprocess,
                        rtl=not options.no_rtl, progress=progress)
        progress.close()
        print(format_table(result))
        if options.json:
            write_json(options.json, result.report())
        return result.mismatches

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
