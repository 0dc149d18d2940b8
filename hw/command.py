"""What all command lines share: the form of their help, options of several, and how they end."""

from __future__ import annotations

import argparse
import os
import select
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
    equal, 1 a mismatch, a `Failure` of the machine or output that nobody reads, 2 bad input. Says
    in one line what failed."""
    progress = TerminalProgress()
    try:
        differs = work(progress)
        sys.stdout.flush()
        return 1 if differs else 0
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            return 1
        status, reason = 2, error
    except Failure as error:
        status, reason = 1, error
    finally:
        progress.close()
    print(f"error: {reason}", file=sys.stderr)
    return status


def _reader_has_left() -> bool:
    """Whether nobody reads the output any more, as behind ``head``; then the rest goes nowhere."""
    try:
        output = sys.stdout.fileno()
    except OSError:
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True
