"""The boards in a table: parts, cores, clocks, memories, resources used, predicted frames.

    python -m hw.boards [--json PATH]
"""

import sys

import boards

from . import figures
from .command import add_json, command_parser, run_command
from .files import check_writable, write_json

COLUMNS = {"LUT": ("lut",), "flip-flop": ("ff",), "multiplier": ("dsp", "mult18"),
           "block RAM": ("bram36", "bram18")}
"""Headings, and the keys of resources under them, of which a device has one."""
MODELS = "v1.1", "v1.0"
"""SqueezeNets whose predicted frames per second are shown."""


def rows() -> list[dict]:
    """All boards, the layout of ``--json``. ``resources`` and ``predicted`` are None where they
    have not been found for the board as it is."""
    return [{
        "board": board.name, "variant": board.variant, "part": board.device,
        "lanes": board.config.lanes, "clock_hz": board.clock_hz, "memory": board.memory,
        "available": dict(board.resources),
        "resources": figures.recorded(board, "resources"),
        "predicted": figures.recorded(board, "predicted"),
    } for variants in boards.available().values() for board in variants]


def table(found: list[dict]) -> str:
    """As Markdown."""
    headings = ["board", "part", "lanes", "MHz", "memory", *COLUMNS,
                *(f"{name} frames/s" for name in MODELS)]
    lines = [f"| {' | '.join(headings)} |", "|---|---|---:|---:|---" + "|---:" * (
        len(headings) - 5) + "|"]
    for row in found:
        name = f"{row['board']} {row['variant']}".strip()
        cells = [name, row["part"], str(row["lanes"]), f"{row['clock_hz'] / 1e6:g}", row["memory"]]
        for keys in COLUMNS.values():
            [key] = [key for key in keys if key in row["available"]]
            used = f"{row['resources'][key]:,}" if row["resources"] else "-"
            cells.append(f"{used} of {row['available'][key]:,}")
        for model in MODELS:
            cells.append(f"{row['predicted'][model]['frames_per_second']:.1f}"
                         if row["predicted"] else "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = command_parser(
        "hw.boards",
        "List the boards: part, lanes, clock, memory, resources used, and predicted frames per "
        "second of SqueezeNet v1.1 and v1.0. Resources are those of python -m hw.build --record, "
        "frames those of python -m sw.predict_boards; - stands for a figure that has not been "
        "found since the board was last changed.",
        "--json build/boards.json")
    add_json(parser, "the table")
    options = parser.parse_args(arguments)

    def work(progress):
        check_writable(options.json, new_folders=True)
        found = rows()
        if options.json:
            write_json(options.json, found)
        progress.close()
        print(table(found))

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
