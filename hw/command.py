"""What all command lines share: the form of their help, options of several, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import boards

from .errors import Failure, UserError
from .progress import TerminalProgress

__all__ = ["add_board", "add_json", "command_parser", "run_command"]


def command_parser(module: str, description: str, example: str) -> argparse.ArgumentParser:
    """For `python -m` of a module; `example` are arguments."""
    return argparse.ArgumentParser(prog=f"python -m {module}", description=description,
                                   epilog=f"example: python -m {module} {example}")


def add_board(parser: argparse.ArgumentParser, what: str = "the board", **options) -> None:
    """`--board` and `--variant`, as `boards.get` takes them."""
    parser.add_argument("--board", metavar="NAME",
                        help=f"{what}: {', '.join(boards.available())}", **options)
    parser.add_argument("--variant", metavar="NAME", help="of the board (default: its first one)")


def add_json(parser: argparse.ArgumentParser, what: str = "the report") -> None:
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"write {what} there")


def run_command(work: Callable[[TerminalProgress], int | None]) -> int:
    """Calls `work`, which may give a number of mismatches; returns the exit status: 0 done and all
    equal, 1 a mismatch or a `Failure` of the machine, 2 bad input. Says in one line what failed."""
    progress = TerminalProgress()
    try:
        return 1 if work(progress) else 0
    except (UserError, OSError) as error:
        status, reason = 2, error
    except Failure as error:
        status, reason = 1, error
    finally:
        progress.close()
    print(f"error: {reason}", file=sys.stderr)
    return status
