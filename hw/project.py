"""What the flows of all boards share: the report, the fit, the folder that appears as a whole."""

import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import boards

from .errors import UserError

TOP = "firecore_top"
NAMES = {"lut": "LUT", "ff": "flip-flop", "dsp": "DSP48", "bram36": "block RAM 36 Kb",
         "mult18": "MULT18X18D", "bram18": "block RAM 18 Kb"}
"""Resources of devices by their keys; a device has some of them."""


class BuildError(UserError):
    """The build ends without a project."""


class DoesNotFit(BuildError):
    """The design needs more than the device has."""


@dataclass(frozen=True)
class Options:
    """What a user may choose beside the board."""

    synth: str = "yosys"
    """``yosys``: find resources and timing, where a flow does not need it anyway; or ``none``."""
    units: bool = False
    """Also synthesise every unit alone."""
    seed: int = 1
    """Of the placer."""


def report_of(board: boards.Board) -> dict:
    """The layout of ``--json``: what is known before the work. A flow fills in the rest."""
    return {
        "board": board.name,
        "variant": board.variant,
        "device": board.device,
        "clock_hz": board.clock_hz,
        "config": dataclasses.asdict(board.config),
        "lanes": board.config.lanes,
        "resources": None,
        "available": dict(board.resources),
        "timing": None,
        "units": None,
        "files": [],
    }


def _kinds(resources: Mapping[str, int]) -> list[str]:
    return [key for key in NAMES if key in resources]


def table(used: Mapping[str, int], available: Mapping[str, int]) -> str:
    """Resources used and available, one line each."""
    lines = [f"{'resource':<16}{'used':>9}{'available':>11}{'%':>8}"]
    for key in _kinds(available):
        share = 100 * used[key] / available[key]
        lines.append(f"{NAMES[key]:<16}{used[key]:>9,}{available[key]:>11,}{share:>8.1f}")
    return "\n".join(lines)


def check_fit(board: boards.Board, used: Mapping[str, int]):
    """Raises DoesNotFit naming every resource that the device lacks."""
    over = [f"{NAMES[key]} {used[key]:,} of {board.resources[key]:,}"
            for key in _kinds(board.resources) if used[key] > board.resources[key]]
    if over:
        raise DoesNotFit(f"{board.config.lanes} lanes do not fit the {board.device}: "
                         + ", ".join(over))


@contextlib.contextmanager
def whole_folder(folder: Path, report: dict) -> Iterator[Path]:
    """A folder to write a project to, whose files and folders move to ``folder`` at the end.

    Nothing moves after an exception; what has the same name is replaced. ``report["files"]``
    becomes the list of what has moved; ``config.json`` is added, what the core was made from.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".firecore-") as temporary:
        work = Path(temporary)
        yield work
        (work / "config.json").write_text(json.dumps(report["config"], indent=1) + "\n")
        folder.mkdir(exist_ok=True)
        for path in sorted(work.iterdir()):
            target = folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            shutil.move(path, target)
            report["files"].append(str(target))
