"""How command lines end, and what their help says."""

import argparse
import subprocess
import sys

import pytest

from hw.command import add_board, add_json, command_parser, run_command
from hw.errors import Failure, UserError
from hw.progress import TerminalProgress


def raising(error):
    def work(progress):
        raise error

    return work


@pytest.mark.parametrize(("work", "status", "line"), [
    (lambda progress: None, 0, ""),
    (lambda progress: 0, 0, ""),
    (lambda progress: 256, 1, ""),  # a status of 256 would be taken for 0
    (raising(UserError("no\nsuch file")), 2, "error: no\\nsuch file\n"),
    (raising(FileNotFoundError(2, "No such file", "x")), 2,
     "error: [Errno 2] No such file: 'x'\n"),
    (raising(Failure("silence")), 1, "error: silence\n"),
])
def test_exit_status(work, status, line, capsys):
    assert run_command(work) == status
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("work", [
    "print('x' * 100)",  # fails when it is flushed
    "[print('x' * 100, flush=True) for _ in range(2)]",
])
def test_a_reader_that_leaves(work):
    """As head does: silence, at exit too."""
    code = f"import sys; from hw.command import run_command as r; sys.exit(r(lambda _: {work}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_another_pipe(capfd):
    """Is an error as any other."""
    assert run_command(raising(BrokenPipeError(32, "no simulation"))) == 2
    assert capfd.readouterr() == ("", "error: [Errno 32] no simulation\n")


@pytest.mark.parametrize("error", [UserError("x"), Failure("x"), KeyError("x")])
def test_the_bar_goes_away(error, monkeypatch):
    """Also when the command is at fault itself."""
    closed = []
    monkeypatch.setattr(TerminalProgress, "close", lambda self: closed.append(self))
    if isinstance(error, KeyError):
        with pytest.raises(KeyError):
            run_command(raising(error))
    else:
        run_command(raising(error))
    assert len(closed) == 1


def test_help():
    parser = command_parser("hw.tool", "Does it.", "--board arty_a7")
    add_board(parser, required=True)
    add_json(parser, "the table")
    words = " ".join(parser.format_help().split())
    assert words.startswith("usage: python -m hw.tool [-h] --board NAME")
    assert "the board: arty_a7, ulx3s, genesys2, axi_ip" in words
    assert "write the table there" in words
    assert words.endswith("example: python -m hw.tool --board arty_a7")
    options = parser.parse_args(["--board", "ulx3s", "--json", "a/b"])
    assert options == argparse.Namespace(board="ulx3s", variant=None, json=options.json)
    assert options.json.name == "b"
