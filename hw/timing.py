"""Logic delay of an Artix-7 netlist: the latest arrival by Yosys' static timing analysis.

``sta`` adds the delays of the cells along the paths from register to register, setup included.
Routing, clock skew and jitter are not in it; routing takes about as much again.
"""

import dataclasses
import json
import re
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from .resources import SynthesisError, run_yosys

AIM = 3300
"""Picoseconds of logic that leave room for the routing of a design at 133 MHz or more."""

CLOCKS = ("C", "CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK")
"""Clock pins. All are joined: one clock that reaches every cell at the same time."""
TIMED = re.compile(r"LUT|MUXF|CARRY4|INV|FD|SRL|RAM|DSP|[IO]BUF$|OBUFT$|BUFG$")
"""Cells that must have arcs. Paths end at all others and begin anew: PLLs, registers of pins."""
COMBINATIONAL = re.compile(r"LUT|MUXF|CARRY4|INV|[IO]BUF|OBUFT|BUFG$")
BY_PARAMETERS = re.compile(r"DSP|RAMB")
"""Cells whose arcs depend on parameters (but not on their contents)."""
MODELS = Path(__file__).parent / "xilinx_models.v"
SCRIPT = ("read_json netlist.json; read_verilog -lib -specify -overwrite +/xilinx/cells_sim.v; "
          "read_verilog -lib -specify -overwrite models.v; select {top}; "
          "tee -q -o sta.log sta")
STEP = re.compile(r"^ +\d+ \\?(c\d+) \((\S+)\)$", re.MULTILINE)
"""A line of a path: picoseconds, instance and its pins; the last cell comes first."""


@dataclass(frozen=True)
class Arrival:
    """The slowest path: ``ps`` from the clock to the end of its setup time at the last register.

    ``start`` and ``end`` are registers (or ports) by their names in the design; ``cells`` are those
    in between, first to last. ``unknown``: cells without timing at which paths were cut.
    """

    ps: int
    start: str
    end: str
    cells: tuple[str, ...]
    unknown: dict[str, int]

    def __str__(self) -> str:
        verdict = "within" if self.ps <= AIM else "above"
        cut = ", ".join(f"{number} {cell}" for cell, number in self.unknown.items())
        return (f"latest arrival: {self.ps:,} ps of logic, {verdict} the {AIM:,} ps aimed at, from "
                f"{self.start} to {self.end} through {len(self.cells)} cells"
                + (f"; paths end at: {cut}" if cut else ""))

    def as_dict(self) -> dict:
        """For JSON."""
        return dataclasses.asdict(self)


def latest_arrival(netlist: Path, top: str, registered_ports: bool = False) -> Arrival:
    """The latest arrival in module ``top`` of a netlist written by ``synthesise``.

    With ``registered_ports`` every port is taken to be a register's: for a unit without the others
    around it. Otherwise inputs arrive at 0. Raises SynthesisError if a cell has no timing.
    """
    module = json.loads(netlist.read_text())["modules"][top]
    names = _names(module)
    unknown = _cut(module)
    _prune(module)
    if registered_ports:
        names.update(_register_ports(module))
    with tempfile.TemporaryDirectory(dir=netlist.parent, prefix=".firecore-") as scratch:
        folder = Path(scratch)
        instances = _write(module, top, folder / "netlist.json")
        (folder / "models.v").write_text(MODELS.read_text())
        run_yosys(SCRIPT.format(top=top), folder)
        log = (folder / "sta.log").read_text()
    return _parse(log, {short: (names[name], module["cells"][name]["type"])
                        for short, name in instances.items()}, unknown)


def _wires(bits):
    return [bit for bit in bits if isinstance(bit, int)]


def _outputs(cell):
    return [bit for port, bits in cell["connections"].items()
            if cell["port_directions"][port] != "input" for bit in _wires(bits)]


def _inputs(cell):
    return [bit for port, bits in cell["connections"].items()
            if cell["port_directions"][port] != "output" for bit in _wires(bits)]


def _names(module) -> dict[str, str]:
    """Cells by the registers they hold, as far as these are known."""
    of_bit = {}
    for name, net in module["netnames"].items():
        name = name.lstrip("\\")
        if not net.get("hide_name"):
            for i, bit in enumerate(net["bits"]):
                of_bit.setdefault(bit, f"{name}[{i}]" if len(net["bits"]) > 1 else name)
    names = {}
    for name, cell in module["cells"].items():
        known = [] if name[0] != "$" else [
            of_bit[bit] for bit in _outputs(cell) if bit in of_bit]
        flat = re.sub(r"\.?\$\d+$", "", name.removeprefix("$flatten").lstrip("\\"))
        names[name] = known[0] if known else flat
    return names


def _cut(module) -> dict[str, int]:
    """Puts ports in the place of all cells that have no timing; returns their number by type."""
    cells = module["cells"]
    cut = {name: cells.pop(name) for name in list(cells)
           if not TIMED.match(cells[name]["type"])}
    cut = {name: cell for name, cell in cut.items() if cell["type"] != "$scopeinfo"}
    for i, cell in enumerate(cut.values()):
        for direction, bits in (("input", _outputs(cell)), ("output", _inputs(cell))):
            if bits:
                module["ports"][f"cut{i}_{direction}"] = {"direction": direction, "bits": bits}
    return dict(Counter(cell["type"] for cell in cut.values()))


def _prune(module):
    """Joins the clocks, and drops what leads nowhere: `sta` would count the way to it."""
    cells, ports = module["cells"], module["ports"]
    clock = 1 + max((bit for cell in cells.values()
                     for bit in _outputs(cell) + _inputs(cell)), default=1)
    for cell in cells.values():
        if not COMBINATIONAL.match(cell["type"]):
            for port in cell["connections"].keys() & set(CLOCKS):
                cell["connections"][port] = [clock]
    readers = Counter(bit for cell in cells.values() for bit in _inputs(cell))
    readers.update(bit for port in ports.values() if port["direction"] != "input"
                   for bit in _wires(port["bits"]))
    driver = {bit: name for name, cell in cells.items() for bit in _outputs(cell)}
    waiting = list(cells)
    while waiting:
        name = waiting.pop()
        if name in cells and not any(readers[bit] for bit in _outputs(cells[name])):
            for bit in _inputs(cells.pop(name)):
                readers[bit] -= 1
                if not readers[bit] and bit in driver:
                    waiting.append(driver[bit])
    for cell in cells.values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                cell["connections"][port] = [bit if readers[bit] else "x" for bit in bits]
    ports["clock"] = {"direction": "input", "bits": [clock]}


def _register_ports(module) -> dict[str, str]:
    """Puts a flip-flop at every port but the clock; returns their names."""
    cells, names = module["cells"], {}
    [clock] = module["ports"].pop("clock")["bits"]
    free = clock + 1
    for port, content in module["ports"].items():
        for i, bit in enumerate(content["bits"]):
            if isinstance(bit, int):
                inward = content["direction"] == "input"
                # What the flip-flop itself reads or drives is of no interest.
                pins = {"C": [clock], "D": ["0" if inward else bit], "Q": [bit if inward else free]}
                names[f"{port}[{i}]"] = f"port {port}[{i}]" if len(content["bits"]) > 1 \
                    else f"port {port}"
                cells[f"{port}[{i}]"] = {
                    "type": "FDRE", "connections": pins, "parameters": {},
                    "port_directions": {"C": "input", "D": "input", "Q": "output"}}
                free += 1
    module["ports"] = {"clock": {"direction": "input", "bits": [clock]}}
    return names


def _write(module, top, path) -> dict[str, str]:
    """Writes what `sta` needs, with short names; returns the cells by their short names."""
    instances, cells, nets = {}, {}, defaultdict(dict)
    for i, (name, cell) in enumerate(module["cells"].items()):
        instances[f"c{i}"] = name
        parameters = {key: value for key, value in cell["parameters"].items()
                      if BY_PARAMETERS.match(cell["type"]) and not key.startswith("INIT")}
        cells[f"c{i}"] = {**cell, "parameters": parameters, "attributes": {}}
    for cell in module["cells"].values():
        for bit in _inputs(cell) + _outputs(cell):
            nets[f"n{bit}"] = {"bits": [bit]}
    path.write_text(json.dumps({"modules": {top: {
        "attributes": {"top": "1"}, "ports": module["ports"], "cells": cells, "netnames": nets}}}))
    return instances


def _parse(log, cells, unknown) -> Arrival:
    """``cells``: name and type by instance."""
    missing = sorted(set(re.findall(r"Warning: (?:Module|Cell type) '(\S+?)'", log)))
    if missing:
        raise SynthesisError(f"cells without timing: {', '.join(missing)}")
    if "Latest arrival" not in log:
        return Arrival(0, "", "", (), unknown)
    path = log.split("Latest arrival", 1)[1].split("Arrival histogram")[0]
    ps = int(re.search(r" is (-?\d+):", path)[1])
    steps = [(cells[step[1]], step[2]) for step in STEP.finditer(path)]
    if not steps or not re.search(r"^ +\d+ (c\d+|\(<primary output>\))", path, re.MULTILINE):
        raise SynthesisError(f"the path of {ps} ps has no end that Yosys knows")
    port = re.search(r"\\(\S+)(?: (\[\d+\]))? \(<primary input>\)", path)
    (end, _), pins = steps[0]
    between = [cell for (_, cell), _ in steps[1:]]
    start = steps[-1][0][0]
    if "->" in pins:                      # The path ends at a port of the design.
        between.insert(0, steps[0][0][1])
        end = re.search(r"\\(\S+)(?: (\[\d+\]))?\n", path)
        end = f"port {end[1]}{end[2] or ''}"
    if port[1] != "clock":
        start = f"port {port[1]}{port[2] or ''}"
    else:
        between = between[:-1]
    return Arrival(ps, start, end, tuple(reversed(between)), unknown)
