"""How command lines that run a machine end: exit status, and one line for what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hw.progress import TerminalProgress

from .errors import Failure, UserError

__all__ = ["run_command"]


def run_command(work: Callable[[TerminalProgress], int]) -> int:
    """Calls `work`, which gives the number of mismatches; returns the exit status: 0 all equal, 1 a
    mismatch or a `Failure` of the machine, 2 bad input."""
    progress = TerminalProgress()
    try:
        return 1 if work(progress) else 0
    except (UserError, OSError) as error:
        status, failure = 2, error
    except Failure as error:
        status, failure = 1, error
    progress.close()
    print(f"error: {failure}", file=sys.stderr)
    return status
