"""What happens to an ECP5 netlist between Yosys and nextpnr.

    python -m hw.netlist_edits firecore_top.json --device LFE5U-85F
"""

import json
import sys
from pathlib import Path

from .carry_chains import rebuild
from .command import command_parser, run_command
from .errors import UserError
from .floorplan import DEVICES, give_places
from .global_nets import promote


class NetlistError(UserError):
    """A file that is not a netlist of Yosys."""


def edit(netlist: Path, top: str, device: str):
    """Short carry chains, clocks' networks for the widest resets and enables and, on a device that
    has a floorplan, places: in module ``top`` of Yosys' JSON. ``device`` is without speed grade.

    Once only: it does not see what it has changed. Raises NetlistError.
    """
    try:
        design = json.loads(netlist.read_text())
        module = design["modules"][top]
    except (ValueError, KeyError, TypeError) as error:
        raise NetlistError(f"{netlist}: no module {top!r} in Yosys' JSON: {error}") from None
    rebuild(module)
    promote(module)
    if device in DEVICES:
        give_places(module, DEVICES[device])
    netlist.write_text(json.dumps(design))


def main(arguments: list[str] | None = None) -> int:
    parser = command_parser(
        "hw.netlist_edits", "Prepare an ECP5 netlist of Yosys for nextpnr, in place.",
        "firecore_top.json --device LFE5U-85F")
    parser.add_argument("netlist", type=Path, help="JSON written by Yosys")
    parser.add_argument("--device", required=True, metavar="NAME", help="such as LFE5U-85F")
    parser.add_argument("--top", default="firecore_top", metavar="NAME",
                        help="module (firecore_top)")
    options = parser.parse_args(arguments)
    return run_command(lambda progress: edit(options.netlist, options.top, options.device))


if __name__ == "__main__":
    sys.exit(main())
