"""Command line: compile a quantized ONNX model for a board.

    python -m sw.compile MODEL.onnx --board arty_a7 [--variant 35] -o DIR
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boards

from .assembler import listing
from .compiler import Compilation, compile_graph
from .errors import UserError
from .explain import explain
from .importer import import_model
from .perf import LITEDRAM, Memory, Prediction, predict
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
    parser = argparse.ArgumentParser(
        prog="python -m sw.compile", description="Compile a quantized ONNX model and predict its "
        "cycles.",
        epilog="example: python -m sw.compile squeezenet1.1_int8.onnx --board arty_a7 "
               "-o build/v1.1")
    parser.add_argument("model", help="the ONNX file")
    parser.add_argument("--board", required=True, help="the board to compile for")
    parser.add_argument("--variant", help="the board's variant, such as the size of its device")
    parser.add_argument("--batch", type=int, default=1, metavar="N",
                        help="images that a run processes in a row (default 1)")
    parser.add_argument("--memory", choices=("model", "litedram"), default="model", dest="kind",
                        help="a model, or LiteDRAM's controller with a DDR3 memory (default model)")
    parser.add_argument("--memory-latency", type=int, default=30, metavar="CYCLES",
                        help="from a read address to the first beat (default 30)")
    parser.add_argument("--memory-width", type=int, default=16, metavar="BYTES",
                        help="bytes a cycle, reads and writes together, 1 to 32 (default 16)")
    parser.add_argument("-o", "--output", required=True, metavar="DIR",
                        help="folder for the program")
    parser.add_argument("--listing", action="store_true", help="print the instructions too")
    parser.add_argument("--explain", action="store_true",
                        help="print for each layer what the scheduler weighed, and why it chose")
    parser.add_argument("--json", metavar="PATH", help="write the figures as JSON")
    return parser


def _memory(options: argparse.Namespace) -> Memory:
    memory = Memory(options.memory_latency, options.memory_width)
    if options.kind == "model":
        return memory
    if memory != Memory():
        raise UserError("memory latency and width are options of the memory model; LiteDRAM's "
                        "memory has its own")
    return LITEDRAM


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    passes: dict[str, Compilation] = {}
    try:
        try:
            board = boards.get(options.board, options.variant)
        except boards.UnknownBoard as error:
            raise UserError(str(error)) from None
        memory = _memory(options)
        program = compile_model(options.model, board, options.batch, memory,
                                passes.setdefault)
        prediction = predict(program, memory)
        program.save(options.output)
        if options.json:
            try:
                Path(options.json).write_text(
                    json.dumps(report(program, prediction), indent=1) + "\n")
            except OSError as error:
                raise UserError(f"{options.json}: cannot write: {error.strerror}") from None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary(program, prediction), end="")
    for note in passes["emit"].graph.notes:
        print(f"note: {note}")
    if options.explain:
        print(explain(passes["emit"].schedule, program, prediction), end="")
    if options.listing:
        print(listing(program.code), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
