"""Benchmark: share of the multipliers' peak for several cores and memories, every value compared.

    python -m sim.bench MODEL... --image FILE [--json PATH]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.command import add_json, command_parser, run_command
from hw.config import Config
from hw.files import check_writable, write_bytes, write_json
from hw.presets import PRESETS
from sw.models import FAMILY, float_model, quantized, random_parameters
from sw.options import STATUS, add_check

from .harness import Memory
from .run import CHECKS, simulate

__all__ = ["ROWS", "Row", "format_table", "main", "measure"]


@dataclass(frozen=True)
class Row:
    """A core and its memory."""

    name: str
    config: Config
    memory: Memory
    what: str
    """The memory in words."""


def _rows() -> tuple[Row, ...]:
    litedram = Memory(kind="litedram")
    rows = [Row(name, PRESETS[name], litedram, "LiteDRAM, DDR3-800 x16")
            for name in ("128-lanes", "256-lanes", "512-lanes")]
    rows.append(Row("1024-lanes", PRESETS["1024-lanes"], Memory(width=32),
                    "model, 16 bytes a cycle each way"))
    rows.append(Row("256-lanes-sdram", PRESETS["256-lanes-sdram"], Memory(width=2),
                    "model, 2 bytes a cycle"))
    return tuple(rows)


ROWS = _rows()
FAMILY_FOLDER = Path("build/models")


def measure(models: Sequence[str | Path], image: str | Path, rows: Sequence[Row] = ROWS,
            check: str = "golden",
            progress: Callable[[str, float], None] = lambda what, fraction: None,
            ) -> dict[str, Any]:
    """Simulates `image` on every row with every model; returns the layout of `--json`.

    Raises what `sim.run.simulate` raises.
    """
    results = []
    total = len(rows) * len(models)
    for place, (row, model) in enumerate((row, model) for row in rows for model in models):
        name = f"{row.name}, {Path(model).stem}"

        def report(what: str, fraction: float, place=place, name=name) -> None:
            progress(f"{name}: {what}", (place + fraction) / total)

        done = simulate(model, [image], config=row.config, memory=row.memory, check=check,
                        progress=report).report
        results.append({
            "configuration": row.name, "memory": row.what, "model": Path(model).stem,
            "lanes": row.config.lanes, "on_chip_bytes": row.config.on_chip_bytes,
            "cycles": done["total"]["cycles"], "efficiency": done["total"]["efficiency"],
            "predicted": done["total"]["predicted"],
            "checked_values": done["checked_values"], "mismatches": done["mismatches"],
            "layers": [{key: layer[key] for key in ("name", "cycles", "predicted", "efficiency")}
                       for layer in done["layers"]],
        })
    return {"image": str(image), "check": check, "results": results}


def format_table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, one line for each row and model."""
    lines = ["| core | memory | model | cycles | % of peak | cycle model | mismatches |",
             "|---|---|---|---:|---:|---:|---:|"]
    for each in results:
        error = 100 * (each["predicted"] / each["cycles"] - 1)
        lines.append(
            f"| {each['configuration']} | {each['memory']} | {each['model']} "
            f"| {each['cycles']:,} | {100 * each['efficiency']:.1f} | {error:+z.1f} % "
            f"| {each['mismatches']:,} of {each['checked_values']:,} |")
    return "\n".join(lines)


def _model(name: str) -> Path:
    """The file of a model; that of a network of the family is made."""
    if name not in FAMILY:
        return Path(name)
    path = FAMILY_FOLDER / f"{name}.onnx"
    model = float_model(FAMILY[name], random_parameters(FAMILY[name], 0), name)
    write_bytes(path, quantized(model).SerializeToString())
    return path


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sim.bench",
        "Simulate an image on several cores and memories and print the share of the multipliers' "
        f"peak, from start to done. {STATUS}",
        "squeezenet1.1.onnx --image cat.jpg --row 256-lanes")
    parser.add_argument("models", nargs="+", metavar="MODEL",
                        help="quantized ONNX models; or networks of sw.models by name, which are "
                             f"written to {FAMILY_FOLDER}: {', '.join(FAMILY)}")
    parser.add_argument("--image", required=True, metavar="FILE", help="photograph or tensor")
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS],
                        help="only this row; may be given again (default: all)")
    add_check(parser, CHECKS)
    add_json(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress) -> int:
        check_writable(options.json)
        models = [_model(name) for name in options.models]
        rows = [row for row in ROWS if not options.row or row.name in options.row]
        report = measure(models, options.image, rows, options.check, progress)
        progress.close()
        print(format_table(report["results"]))
        if options.json:
            write_json(options.json, report)
        return sum(each["mismatches"] for each in report["results"])

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
