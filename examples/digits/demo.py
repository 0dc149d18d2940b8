"""Runs test digits through the simulated accelerator and shows what it recognises.

Every digit goes through the core's own logic, cycle by cycle; every value that the core writes is
compared with the reference model. Ends with status 1 where a value differs or where fewer than
97 % of the digits shown are right.

Example: ``python examples/digits/demo.py --count 8``
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import digits
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository: sim, sw

MODEL = Path(__file__).with_name("digits.onnx")
LEAST_ACCURACY = 0.97
CELL = 2 * digits.PIXELS  # characters of one digit's line
GAP = 3


def predictions(report: dict) -> list[int]:
    """The best class of each image of a report of ``sim.run.run``."""
    return [int(image["top5"][0][0]) for image in report["images"]]


def gallery(images: np.ndarray, labels: np.ndarray, predicted: list[int], width: int) -> str:
    """The digits side by side, as many as fit ``width`` characters, each above what the core
    says it is and its label. ``images`` is ``[n, 1, 32, 32]``."""
    columns = max(1, (width + GAP) // (CELL + GAP))
    lines = []
    for first in range(0, len(images), columns):
        row = range(first, min(first + columns, len(images)))
        drawn = [digits.as_text(images[index]).splitlines() for index in row]
        captions = [
            f"{predicted[index]}, {'right' if predicted[index] == label else f'wrong: {label}'}"
            for index, label in zip(row, labels[row.start : row.stop], strict=True)
        ]
        cells = [*zip(*drawn, strict=True), [f"{caption:^{CELL}}" for caption in captions]]
        lines += [(" " * GAP).join(cell).rstrip() for cell in cells] + [""]
    return "\n".join(lines)


def summary(report: dict, right: int) -> str:
    """Accuracy, speed and checks, one figure a line."""
    count = len(report["images"])
    cycles = [image["cycles"] for image in report["images"]]
    checked, total = report["checked_values"], report["total"]
    clock = f"{report['clock_hz'] / 1e6:g} MHz"
    return "\n".join(
        [
            f"digits right     {right} of {count} ({100 * right / count:.1f} %)",
            f"cycles a digit   {sum(cycles) / count:,.0f} ({min(cycles):,} to {max(cycles):,})",
            f"multipliers      {total['lanes']} lanes, {100 * total['efficiency']:.1f} % busy",
            f"on the board     {report['fps']:,.0f} digits a second at {clock}",
            f"values checked   {checked:,} against the reference model",
            f"values differing {report['mismatches']:,}",
            f"simulation       {report['sim_seconds']:.1f} s",
        ]
    )


def passed(report: dict, right: int) -> bool:
    """Whether every value agreed and enough digits were right."""
    accurate = right >= LEAST_ACCURACY * len(report["images"])
    return accurate and report["checked_values"] > 0 and report["mismatches"] == 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Recognise handwritten digits on the simulated accelerator.",
        epilog="example: python examples/digits/demo.py --count 8",
    )
    parser.add_argument(
        "--count", type=int, default=20, help=f"how many test digits, 1..{digits.TEST_COUNT}"
    )
    parser.add_argument("--board", default="arty_a7", help="board description (default arty_a7)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the report there")
    args = parser.parse_args(arguments)
    if not 1 <= args.count <= digits.TEST_COUNT:
        parser.error(f"--count {args.count}: 1..{digits.TEST_COUNT}, the size of the test set")
    if args.json and not args.json.resolve().parent.is_dir():
        parser.error(f"--json {args.json}: no such directory")

    try:
        images, labels = (part[: args.count] for part in digits.test_set())
        from hw.progress import TerminalProgress
        from sim.run import run
        from sim.simulator import CoreError, HarnessFailure
        from sw.errors import UserError
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    progress = TerminalProgress()
    try:
        inputs = list(images[:, np.newaxis])
        report = run(MODEL, inputs, board=args.board, check="golden", progress=progress)
        if args.json:
            args.json.write_text(json.dumps(report, indent=2) + "\n")
    except (UserError, OSError, CoreError, HarnessFailure) as error:
        progress.close()
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, (UserError, OSError)) else 1
    progress.close()
    predicted = predictions(report)
    right = int(np.sum(predicted == labels))
    print(gallery(images, labels, predicted, shutil.get_terminal_size().columns))
    print(summary(report, right))
    return 0 if passed(report, right) else 1


if __name__ == "__main__":
    sys.exit(main())
