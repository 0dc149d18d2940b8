"""Command line: compile a quantized ONNX model for a board.

    python -m sw.compile MODEL.onnx --board arty_a7 [--variant 35] -o DIR
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import boards

from .assembler import listing
from .compiler import compile_graph
from .errors import UserError
from .importer import import_model
from .program import Program

__all__ = ["compile_model", "main", "report", "summary"]


def compile_model(model: str | Path, board: boards.Board) -> Program:
    """The program of an ONNX file for a board. Raises UserError."""
    program = compile_graph(import_model(model), board.config)
    program.source = Path(model).name
    program.clock_hz = board.clock_hz
    program.extra = {"board": board.name, "variant": board.variant}
    return program


def report(program: Program) -> dict[str, Any]:
    """Figures of a program, ready for JSON. Cycles are those of the core's clock."""
    return {
        "model": program.source, **program.extra, "clock_hz": program.clock_hz,
        "configuration": f"{program.digest:08x}", "lanes": program.config.lanes,
        "macs": program.macs, "ideal_cycles": program.ideal_cycles,
        "estimated_cycles": program.estimate,
        "estimated_utilisation": round(program.macs / program.config.lanes / program.estimate, 4),
        "instructions": len(program.instructions), "program_bytes": len(program.code),
        "weight_bytes": len(program.constants), "memory_bytes": program.memory_vectors * 16,
        "layers": [dataclasses.asdict(layer) for layer in program.layers],
    }


def summary(program: Program) -> str:
    """A table of the layers and a line of totals."""
    names = max([5, *(len(layer.name) for layer in program.layers)])
    lines = [f"{'layer':<{names}}  bands  strips         MACs  ideal cycles  use %  result"]
    for layer in program.layers:
        use = 100 * layer.macs / program.config.lanes / layer.cycles
        lines.append(f"{layer.name:<{names}}  {layer.bands:5d}  {layer.strips:6d}  "
                     f"{layer.macs:11,d}  {layer.cycles:12,d}  {use:5.1f}  "
                     f"{'on chip' if layer.on_chip else 'memory'}")
    figures = report(program)
    seconds = f", {program.clock_hz / program.estimate:.1f} images/s" if program.clock_hz else ""
    lines.append(
        f"{program.source}: {program.macs:,d} MACs on {program.config.lanes} lanes; "
        f"{program.ideal_cycles:,d} cycles without stalls, about {program.estimate:,d} with "
        f"({100 * figures['estimated_utilisation']:.1f} % of peak{seconds})")
    lines.append(
        f"{figures['instructions']} instructions, {figures['weight_bytes']:,d} bytes of weights, "
        f"{figures['memory_bytes']:,d} bytes of memory; configuration {program.digest:08x}")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sw.compile", description="Compile a quantized (QDQ) ONNX model.")
    parser.add_argument("model", help="the ONNX file")
    parser.add_argument("--board", required=True, help="the board to compile for")
    parser.add_argument("--variant", help="the board's variant, such as the size of its device")
    parser.add_argument("-o", "--output", required=True, metavar="DIR",
                        help="folder for the program")
    parser.add_argument("--listing", action="store_true", help="print the instructions too")
    parser.add_argument("--json", metavar="PATH", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    try:
        try:
            board = boards.get(options.board, options.variant)
        except boards.UnknownBoard as error:
            raise UserError(str(error)) from None
        program = compile_model(options.model, board)
        program.save(options.output)
        if options.json:
            try:
                Path(options.json).write_text(json.dumps(report(program), indent=1) + "\n")
            except OSError as error:
                raise UserError(f"{options.json}: cannot write: {error.strerror}") from None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary(program), end="")
    if options.listing:
        print(listing(program.code), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
