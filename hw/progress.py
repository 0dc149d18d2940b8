"""A progress bar for work of more than two seconds, on a terminal only."""

import sys
import time
from typing import TextIO

VISIBLE_AFTER = 2.0
"""Seconds of work before progress is shown."""


class TerminalProgress:
    """A bar on one line of a terminal; silent elsewhere."""

    WIDTH = 30

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream if stream is not None else sys.stderr
        self._enabled = self.stream.isatty()
        self._started = self._shown = time.monotonic()
        self._visible = False

    def __call__(self, what: str, fraction: float) -> None:
        """Shows that ``fraction`` (0 to 1) of the work is done and what is being done."""
        now = time.monotonic()
        if not self._enabled or now - self._started < VISIBLE_AFTER or now - self._shown < 0.1:
            return
        self._shown = now
        filled = round(self.WIDTH * min(max(fraction, 0), 1))
        bar = "#" * filled + "." * (self.WIDTH - filled)
        self.stream.write(f"\r\x1b[K[{bar}] {100 * fraction:3.0f} % {what}")
        self.stream.flush()
        self._visible = True

    def close(self) -> None:
        """Removes the bar."""
        if self._visible:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._visible = False
