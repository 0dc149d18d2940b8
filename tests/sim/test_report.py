"""Figures of a run as the report gives them."""

import dataclasses

import numpy as np
import pytest

from hw.config import Config
from hw.profile import STATES, UnitState
from sim.harness import RECORD
from sim.report import build_report, format_report
from sim.simulator import Run
from sw.perf import LayerCycles, Prediction
from sw.program import InputPlacement, LayerInfo, Program

PREDICTION = Prediction(405, [LayerCycles(101), LayerCycles(304)], [405])


def program():
    layers = [LayerInfo("first", 25_600, 90, 1, 1, True), LayerInfo("second", 51_200, 200, 1, 1,
                                                                    False)]
    return Program(Config(), b"", b"", 0, 0, 1, InputPlacement("x", "x", 0, 1, "planes"), [], {},
                   layers, [])


def make_run(cycles, waits):
    states = np.zeros((2, STATES), np.uint64)
    states[0, UnitState.BUSY.value] = 100
    states[1, UnitState.BUSY.value] = 200
    states[1, UnitState.WAIT_INPUT.value] = waits
    states[1, UnitState.WAIT_ORDER.value] = 5
    empty = np.empty(0, RECORD)
    profile = {"array": dict.fromkeys((state.name for state in UnitState), 0)}
    profile["array"] |= {"BUSY": 300, "WAIT_INPUT": waits, "IDLE": cycles - 300 - waits}
    return Run(cycles, {}, profile, [{}], 0.5, states=states, results=empty, outputs=empty)


def test_figures_of_a_batch():
    """Latency of the first image, and the steady interval from the end of one to the next."""
    batch = dataclasses.replace(program(), batch=3)
    runs = [dataclasses.replace(make_run(1300, 90), images=[{}] * 3, completions=[510, 900, 1290]),
            dataclasses.replace(make_run(1310, 90), images=[{}] * 3, completions=[520, 920, 1300])]
    tops = [[[i, 0.5]] for i in range(6)]
    report = build_report(batch, PREDICTION, runs, list("abcdef"), tops, 1e6, 10, 0)
    assert report["stream"] == {
        "batch": 3, "latency": 515, "interval": 390,
        "efficiency": round(76_800 / (390 * 256), 5), "fps": round(1e6 / 390, 3)}
    assert report["total"]["cycles"] == 435
    assert [image["cycles"] for image in report["images"]] == [510, 390, 390, 520, 400, 380]
    assert "latency of the first image 515 cycles, then an image every 390" in \
        format_report(report)


def test_figures():
    runs = [make_run(400, 90), make_run(420, 110)]
    tops = [[[1, 0.5]], [[2, 0.25]]]
    report = build_report(program(), PREDICTION, runs, ["a", "b"], tops, 1e6, 10, 0)
    assert report["total"] == {"cycles": 410, "predicted": 405, "macs": 76_800, "lanes": 256,
                               "efficiency": round(76_800 / (410 * 256), 5)}
    first, second = report["layers"]
    assert first["efficiency"] == 1.0 and first["cycles"] == 100
    assert second["cycles"] == 305 and second["states"]["WAIT_INPUT"] == 100
    assert sum(report["profile"]["array"].values()) == 410
    assert report["profile"]["array"]["WAIT_INPUT"] == 100
    assert report["images"][1] == {"file": "b", "cycles": 420, "top5": [[2, 0.25]]}
    assert report["fps"] == pytest.approx(1e6 / 410, abs=1e-3) and report["sim_seconds"] == 1.0
    lines = format_report(report).splitlines()
    assert lines[1].split() == ["first", "100", "101", "0.03", "100.0", "-"]
    assert "load 32.8 %" in lines[2]
