"""Sweeps the SqueezeNet family over squeeze ratio and share of 3x3 filters, as in figure 3 of the
paper: size, work, and the cycles and frames per second that the cycle model predicts.

    python -m sw.explore_models [NAME] [--board arty_a7 | --config JSON] [--json PATH]

No network is trained or calibrated: cycles do not depend on the values of the weights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import boards
from hw.command import add_board, add_json, command_parser, run_command
from hw.config import Config
from hw.files import check_writable, write_json
from hw.presets import add_config, parse_config

from .compiler import compile_graph
from .errors import UserError
from .importer import import_proto
from .models import FAMILY, Architecture, constant_ranges, float_model, quantized, random_parameters
from .models.options import add_architecture, architecture_of
from .options import add_memory_kind
from .perf import LITEDRAM, Memory, predict

__all__ = ["FIGURE_3", "Point", "explore", "format_table", "main", "measure"]

SQUEEZE_RATIOS = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
SHARES = (1.0, 12.5, 25.0, 37.5, 50.0, 62.5, 75.0, 87.5, 99.0)
FIGURE_3 = (*((ratio, 50.0) for ratio in SQUEEZE_RATIOS),
            *((0.5, share) for share in SHARES if share != 50.0))
"""(squeeze ratio, percent of 3x3 filters) of every network of the paper's figure."""

DEFAULT_BOARD = "arty_a7"
DEFAULT_CLOCK = 100e6
_SWEPT = ("squeeze_ratio", "share_3x3")


@dataclass(frozen=True)
class Point:
    """One network. `float_bytes` is the paper's model size, `int8_bytes` that of int8 weights and
    int32 biases. The figures of the core are None where the compiler refuses the network, and
    `refused` says why."""

    squeeze_ratio: float
    share_3x3: float
    parameters: int
    float_bytes: int
    int8_bytes: int
    macs: int
    cycles: int | None = None
    utilisation: float | None = None
    frames_per_second: float | None = None
    refused: str | None = None


def measure(architecture: Architecture, config: Config, clock_hz: float,
            memory: Memory | None = None) -> Point:
    """Compiles one network as `sw.compile` does, and asks the cycle model. Takes some seconds for
    a billion multiply-accumulates."""
    memory = memory or Memory()
    size = {
        "squeeze_ratio": architecture.squeeze_ratio, "share_3x3": architecture.share_3x3,
        "parameters": architecture.parameters, "float_bytes": 4 * architecture.parameters,
        "int8_bytes": 4 * architecture.parameters - 3 * architecture.weights,
        "macs": architecture.macs}
    model = float_model(architecture, random_parameters(architecture))
    graph = import_proto(quantized(model, ranges=constant_ranges(model)), "network")
    try:
        program = compile_graph(graph, config, memory.rate, memory=memory)
    except UserError as error:
        return Point(**size, refused=str(error).removeprefix("network: "))
    cycles = predict(program, memory).cycles
    return Point(**size, cycles=cycles,
                 utilisation=round(architecture.macs / config.lanes / cycles, 4),
                 frames_per_second=round(clock_hz / cycles, 2))


def explore(architecture: Architecture, points: Iterable[tuple[float, float]], config: Config,
            clock_hz: float, memory: Memory | None = None, jobs: int = 1,
            progress: Callable[[str, float], None] = lambda what, fraction: None) -> list[Point]:
    """`measure` for every (squeeze ratio, share of 3x3 filters), in `jobs` processes. Raises
    UserError."""
    networks = [architecture.replace(squeeze_ratio=ratio, share_3x3=share)
                for ratio, share in points]
    work = partial(measure, config=config, clock_hz=clock_hz, memory=memory)
    found: list[Point] = []
    with _pool(min(jobs, len(networks))) as pool:
        for point in pool.map(work, networks) if pool else map(work, networks):
            found.append(point)
            progress(f"{len(found)} of {len(networks)} networks", len(found) / len(networks))
    return found


def _pool(jobs: int):
    """None for one process: this one."""
    if jobs < 2:
        return nullcontext()
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))


def format_table(points: Sequence[Point]) -> str:
    """A Markdown table, and a line for every network that the compiler refuses."""
    lines = ["| squeeze ratio | % of 3x3 | parameters | MB float32 | MB int8 | M MACs | cycles "
             "| % of peak | frames/s |", "|---:" * 9 + "|"]
    notes = []
    for point in points:
        size = (f"| {point.squeeze_ratio:g} | {point.share_3x3:g} | {point.parameters:,} "
                f"| {point.float_bytes / 1e6:.2f} | {point.int8_bytes / 1e6:.2f} "
                f"| {point.macs / 1e6:,.1f} ")
        if point.refused:
            lines.append(f"{size}| - | - | - |")
            notes.append(f"squeeze ratio {point.squeeze_ratio:g}, {point.share_3x3:g} % of 3x3: "
                         f"does not compile: {point.refused}")
        else:
            lines.append(f"{size}| {point.cycles:,} | {100 * point.utilisation:.1f} "
                         f"| {point.frames_per_second:.1f} |")
    return "\n".join([*lines, *notes])


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sw.explore_models",
        "Sweep squeeze ratio and share of 3x3 filters, and predict the cycles of every network. "
        "Without values of either: the networks of the paper's figure 3.",
        "--board arty_a7 --variant 100 --squeeze-ratio 0.125 0.25 --share-3x3 25 50 75")
    parser.add_argument("name", nargs="?", choices=FAMILY, default="squeezenet1.0",
                        metavar="NAME", help="the network to vary (default squeezenet1.0): one of "
                        f"{', '.join(FAMILY)}")
    add_board(parser, f"the board whose core and clock it is (default {DEFAULT_BOARD})")
    add_config(parser, f"a core without a board, at {DEFAULT_CLOCK / 1e6:g} MHz")
    add_memory_kind(parser)
    parser.add_argument("--squeeze-ratio", type=float, nargs="+", metavar="X",
                        help="values to try: squeeze filters to expand filters, 0.125 to 1")
    parser.add_argument("--share-3x3", type=float, nargs="+", metavar="X",
                        help="values to try: percent of the expand filters that are 3x3, 1 to 99")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="networks compiled at a time (default: one for each processor)")
    add_json(parser, "the figures")
    add_architecture(parser, _SWEPT)
    return parser


def _core(options: argparse.Namespace) -> tuple[dict[str, Any], Config, float]:
    """What to call the core in the report, its configuration and its clock."""
    if options.config is not None:
        if options.board or options.variant:
            raise UserError("--board and --config are given; one of them is supported")
        return {"config": options.config}, parse_config(options.config), DEFAULT_CLOCK
    board = boards.get(options.board or DEFAULT_BOARD, options.variant)
    return {"board": board.name, "variant": board.variant}, board.config, board.clock_hz


def _points(options: argparse.Namespace, base: Architecture) -> Sequence[tuple[float, float]]:
    if options.squeeze_ratio is None and options.share_3x3 is None:
        return FIGURE_3
    return [(ratio, share) for ratio in options.squeeze_ratio or [base.squeeze_ratio]
            for share in options.share_3x3 or [base.share_3x3]]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress):
        if options.jobs < 1:
            raise UserError(f"--jobs {options.jobs}: 1 or more are supported")
        core, config, clock_hz = _core(options)
        check_writable(options.json)
        base = architecture_of(options, _SWEPT)
        points = explore(base, _points(options, base), config, clock_hz,
                         LITEDRAM if options.kind == "litedram" else Memory(), options.jobs,
                         progress)
        progress.close()
        print(format_table(points))
        if options.json:
            write_json(options.json, {
                "model": options.name, **core, "lanes": config.lanes, "clock_hz": clock_hz,
                "memory": options.kind, "points": [asdict(point) for point in points]})

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
