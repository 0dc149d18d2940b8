"""Frames per second of every board for the table of ``python -m hw.boards``, by the cycle model.

    python -m sw.predict_boards [BOARD ...] [--json PATH]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import boards
from boards import Board
from hw import figures
from hw.command import add_json, command_parser, run_command
from hw.files import check_writable, write_json

from .compiler import compile_graph
from .importer import import_proto
from .models import FAMILY, constant_ranges, float_model, quantized, random_parameters
from .perf import memory_of, predict

__all__ = ["MODELS", "predicted", "update"]

MODELS = {"v1.1": "squeezenet1.1", "v1.0": "squeezenet1.0"}
"""Network of each column of the table."""
COMMAND = "python -m sw.predict_boards"


def predicted(board: Board, progress: Callable[[str, float], None] = lambda what, part: None,
              ) -> dict[str, dict[str, float]]:
    """For every one of `MODELS` the `cycles` of an image and the `frames_per_second`. A second or
    more for each network; values of weights do not matter."""
    memory, found = memory_of(board), {}
    for i, (column, name) in enumerate(MODELS.items()):
        progress(f"{board}: {name}", i / len(MODELS))
        model = float_model(FAMILY[name], random_parameters(FAMILY[name]))
        graph = import_proto(quantized(model, ranges=constant_ranges(model)), name)
        program = compile_graph(graph, board.config, memory.rate, memory=memory)
        cycles = predict(program, memory).cycles
        found[column] = {"cycles": cycles, "frames_per_second": round(board.clock_hz / cycles, 2)}
    return found


def update(names: Sequence[str],
           progress: Callable[[str, float], None]) -> dict[str, dict[str, dict[str, float]]]:
    """Predicts the boards with these `names` (all variants), without names every board that has no
    figures, and keeps what is found, which is returned by board. Raises UnknownBoard."""
    every = [board for variants in boards.available().values() for board in variants]
    wanted = [board for name in names for board in every if board.name == boards.get(name).name] \
        if names else [board for board in every if figures.recorded(board, "predicted") is None]
    found = {}
    for i, board in enumerate(wanted):
        found[str(board)] = predicted(board, lambda what, part, i=i: progress(
            what, (i + part) / len(wanted)))
        figures.record(board, "predicted", found[str(board)], f"{COMMAND} {board.name}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = command_parser(
        "sw.predict_boards",
        "Predict the frames per second of SqueezeNet v1.1 and v1.0 on boards by the cycle model, "
        "ten seconds for each board, and keep them for the table of python -m hw.boards.",
        "ulx3s --json build/frames.json")
    parser.add_argument("boards", nargs="*", metavar="BOARD",
                        help="all variants of these boards (default: those of every board that has "
                        "no figures since it was last changed)")
    add_json(parser, "the figures")
    options = parser.parse_args(arguments)

    def work(progress):
        check_writable(options.json, new_folders=True)
        found = update(options.boards, progress)
        if options.json:
            write_json(options.json, found)
        progress.close()
        for board, models in found.items():
            rates = (f"{name} {each['frames_per_second']:.1f}" for name, each in models.items())
            print(f"{board}: frames/s of {', '.join(rates)}")
        if not found:
            print("no board without figures")

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
