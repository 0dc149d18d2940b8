"""Figures of a run as the report gives them."""

import numpy as np
import pytest

from hw.config import Config
from hw.csr import EngineState
from sim.harness import RECORD, STATES
from sim.report import build_report, format_report
from sim.simulator import Run
from sw.program import InputPlacement, LayerInfo, Program


def program():
    layers = [LayerInfo("first", 25_600, 90, 1, 1, True), LayerInfo("second", 51_200, 200, 1, 1,
                                                                    False)]
    return Program(Config(), b"", b"", 0, 0, 1, InputPlacement("x", "x", 0, 1, "planes"), [], {},
                   layers, [])


def make_run(cycles, waits):
    states = np.zeros((2, STATES), np.uint64)
    states[0, EngineState.BUSY.value] = 100
    states[1, EngineState.BUSY.value] = 200
    states[1, EngineState.WAIT_LOAD.value] = waits
    states[1, EngineState.WAIT_ORDER.value] = 5
    empty = np.empty(0, RECORD)
    return Run(cycles, {}, states, empty, empty, {}, 0.5)


def test_figures():
    runs = [make_run(400, 90), make_run(420, 110)]
    report = build_report(program(), 256, runs, ["a", "b"], [[[1, 0.5]], [[2, 0.25]]], 1e6, 10, 0)
    assert report["total"] == {"cycles": 410, "macs": 76_800, "lanes": 256,
                               "efficiency": round(76_800 / (410 * 256), 5)}
    first, second = report["layers"]
    assert first["efficiency"] == 1.0 and first["cycles"] == 100
    assert second["cycles"] == 305 and second["states"]["WAIT_LOAD"] == 100
    assert report["images"][1] == {"file": "b", "cycles": 420, "top5": [[2, 0.25]]}
    assert report["fps"] == pytest.approx(1e6 / 410, abs=1e-3) and report["sim_seconds"] == 1.0
    lines = format_report(report).splitlines()
    assert lines[1].split() == ["first", "100", "0.03", "100.0", "-"]
    assert "load 32.8 %" in lines[2]
