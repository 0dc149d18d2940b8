"""Command line: compile a quantized ONNX model for a board.

    python -m sw.compile MODEL.onnx --board arty_a7 [--variant 35] -o DIR
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boards
from hw.command import add_board, add_json, command_parser, run_command
from hw.files import check_writable, write_json

from .assembler import listing
from .compiler import Compilation, compile_graph
from .errors import UserError
from .explain import explain
from .importer import import_model
from .options import add_memory_kind, add_memory_model, add_model
from .perf import LITEDRAM, Memory, Prediction, memory_of, predict
from .program import Program

__all__ = ["compile_model", "main", "report", "summary"]


def compile_model(model: str | Path, board: boards.Board, batch: int = 1,
                  memory: Memory | None = None,
                  after: Callable[[str, Compilation], Any] | None = None) -> Program:
    """The program of an ONNX file for a board, for `batch` images in a row. `memory` and `after`
    are those of `compile_graph`. Raises UserError."""
    memory = memory or Memory()
    program = compile_graph(import_model(model), board.config, memory.rate, after, batch=batch,
                            memory=memory)
    program.source = Path(model).name
    program.clock_hz = board.clock_hz
    program.extra = {"board": board.name, "variant": board.variant}
    return program


def report(program: Program, prediction: Prediction) -> dict[str, Any]:
    """Figures of a program, ready for JSON. Cycles are those of the core's clock: `cycles` of a
    layer without any stall, `predicted_cycles` with what the cycle model knows of them."""
    config = program.config
    return {
        "model": program.source, **program.extra, "clock_hz": program.clock_hz,
        "configuration": f"{program.digest:08x}", "lanes": config.lanes,
        "macs": program.macs, "ideal_cycles": program.ideal_cycles,
        "batch": program.batch, "predicted_cycles": prediction.cycles,
        "predicted_utilisation": round(_use(
            program.batch * program.macs, prediction.cycles, program), 4),
        "predicted_completions": prediction.completions,
        "instructions": len(program.instructions), "program_bytes": len(program.code),
        "weight_bytes": len(program.constants), "memory_bytes": program.memory_vectors * 16,
        "layers": [{
            **dataclasses.asdict(layer), "predicted_cycles": its.cycles,
            "predicted_utilisation": round(_use(layer.macs, its.cycles, program), 4),
            "bound": its.bound,
        } for layer, its in zip(program.layers, prediction.layers, strict=True)],
    }


def _use(macs: int, cycles: int, program: Program) -> float:
    return macs / program.config.lanes / max(cycles, 1)


def summary(program: Program, prediction: Prediction) -> str:
    """A table of the layers and lines of totals."""
    names = max([5, *(len(layer.name) for layer in program.layers)])
    lines = [f"{'layer':<{names}}  bands  strips      cycles    MMACs  % of peak  "
             f"{'bound':<12}  result"]
    for layer, its in zip(program.layers, prediction.layers, strict=True):
        lines.append(f"{layer.name:<{names}}  {layer.bands:5d}  {layer.strips:6d}  "
                     f"{its.cycles:10,d}  {layer.macs / 1e6:7.2f}  "
                     f"{100 * _use(layer.macs, its.cycles, program):9.1f}  {its.bound:<12}  "
                     f"{'on chip' if layer.on_chip else 'memory'}")
    figures = report(program, prediction)
    seconds = ""
    if program.clock_hz:
        rate = program.batch * program.clock_hz / prediction.cycles
        seconds = f", {rate:.1f} images/s at {program.clock_hz / 1e6:g} MHz"
    each = f" for {program.batch} images" if program.batch > 1 else ""
    lines.append(
        f"{program.source}: {program.macs:,d} MACs on {program.config.lanes} lanes; "
        f"{program.ideal_cycles:,d} cycles without stalls, {prediction.cycles:,d} predicted{each} "
        f"({100 * figures['predicted_utilisation']:.1f} % of peak{seconds})")
    lines.append(
        f"{figures['instructions']} instructions, {figures['weight_bytes']:,d} bytes of weights, "
        f"{figures['memory_bytes']:,d} bytes of memory; configuration {program.digest:08x}")
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sw.compile", "Compile a quantized ONNX model and predict its cycles.",
        "squeezenet1.1_int8.onnx --board arty_a7 -o build/v1.1")
    add_model(parser)
    add_board(parser, "the board to compile for", required=True)
    parser.add_argument("--batch", type=int, default=1, metavar="N",
                        help="images that a run processes in a row (default 1)")
    add_memory_kind(parser, default=None)
    add_memory_model(parser, default=False)
    parser.add_argument("-o", "--output", required=True, metavar="DIR",
                        help="folder for the program")
    parser.add_argument("--listing", action="store_true", help="print the instructions too")
    parser.add_argument("--explain", action="store_true",
                        help="print for each layer what the scheduler weighed, and why it chose")
    add_json(parser, "the figures")
    return parser


def _memory(options: argparse.Namespace, board: boards.Board) -> Memory:
    asked = {name: value for name, value in (("latency", options.memory_latency),
                                             ("width", options.memory_width)) if value is not None}
    if options.kind == "litedram":
        if asked:
            raise UserError("memory latency and width are options of the memory model; LiteDRAM's "
                            "memory has its own")
        return LITEDRAM
    return Memory(**asked) if asked or options.kind else memory_of(board)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress):
        passes: dict[str, Compilation] = {}
        check_writable(options.json)
        board = boards.get(options.board, options.variant)
        memory = _memory(options, board)
        program = compile_model(options.model, board, options.batch, memory, passes.setdefault)
        prediction = predict(program, memory)
        program.save(options.output)
        if options.json:
            write_json(options.json, report(program, prediction))
        print(summary(program, prediction), end="")
        for note in passes["emit"].graph.notes:
            print(f"note: {note}")
        if options.explain:
            print(explain(passes["emit"].schedule, program, prediction), end="")
        if options.listing:
            print(listing(program.code), end="")

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
