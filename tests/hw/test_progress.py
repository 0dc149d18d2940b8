"""The progress bar: after two seconds, on a terminal only."""

import io

import hw.progress
from hw.progress import TerminalProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_shows_after_two_seconds_on_a_terminal_only(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(hw.progress.time, "monotonic", lambda: now[0])
    terminal, file = Terminal(), io.StringIO()
    shown, hidden = TerminalProgress(terminal), TerminalProgress(file)
    for seconds in (1.0, 1.9):
        now[0] = 100 + seconds
        shown("compile", 0.1)
    assert terminal.getvalue() == ""
    now[0] = 103
    shown("compile", 0.5)
    hidden("compile", 0.5)
    assert " 50 % compile" in terminal.getvalue() and terminal.getvalue().count("#") == 15
    shown.close()
    assert terminal.getvalue().endswith("\r\x1b[K") and file.getvalue() == ""
