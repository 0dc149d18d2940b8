"""The sweep of the paper's figure 3: figures, refusals, and the command line."""

import json

import pytest

import boards
from hw.config import Config
from sw.compiler import compile_graph
from sw.explore_models import FIGURE_3, explore, format_table, main, measure
from sw.importer import import_proto
from sw.models import FAMILY, float_model, quantized, random_parameters
from sw.perf import LITEDRAM, predict

BASE = FAMILY["squeezenet1.0"].replace(input_size=48, classes=10, base_e=32, incr_e=32, fires=6,
                                       pool_after=(1, 4))
SMALL = ["--input-size", "48", "--classes", "10", "--base-e", "32", "--incr-e", "32",
         "--fires", "6", "--pool-after", "1", "4", "--jobs", "1"]


def test_figure_3_has_the_points_of_the_paper():
    assert len(FIGURE_3) == len(set(FIGURE_3)) == 14
    assert {share for ratio, share in FIGURE_3 if ratio == 0.5} == {
        1, 12.5, 25, 37.5, 50, 62.5, 75, 87.5, 99}
    assert {ratio for ratio, share in FIGURE_3 if share == 50} == {
        0.125, 0.25, 0.375, 0.5, 0.75, 1}


def test_figures_of_a_point():
    config = Config()
    point = measure(BASE, config, 50e6)
    assert point.macs == BASE.macs and point.parameters == BASE.parameters
    assert point.float_bytes == 4 * BASE.parameters
    assert point.int8_bytes == BASE.weights + 4 * (BASE.parameters - BASE.weights)
    assert point.refused is None
    assert point.frames_per_second == pytest.approx(50e6 / point.cycles, abs=0.01)
    assert point.utilisation == pytest.approx(BASE.macs / 256 / point.cycles, abs=1e-4)


def test_cycles_do_not_depend_on_weights_and_scales():
    pytest.importorskip("onnxruntime")
    graph = import_proto(quantized(float_model(BASE, random_parameters(BASE, 7)), 7))
    assert predict(compile_graph(graph, Config())).cycles == measure(BASE, Config(), 1e8).cycles


def test_work_and_cycles_grow_with_both_parameters():
    ratios = explore(BASE, [(ratio, 50.0) for ratio in (0.125, 0.5, 0.75)], Config(), 1e8)
    assert sorted(ratios, key=lambda point: point.cycles) == ratios
    assert sorted(ratios, key=lambda point: point.macs) == ratios


def test_processes_do_not_change_the_points():
    points = [(0.125, 50.0), (0.25, 50.0), (0.125, 25.0)]
    config = Config(co_lanes=8)
    assert explore(BASE, points, config, 1e8, jobs=2) == explore(BASE, points, config, 1e8)


def test_a_slower_memory_costs_cycles():
    board = boards.get("arty_a7")
    fast, slow = (measure(BASE, board.config, board.clock_hz, memory)
                  for memory in (None, LITEDRAM))
    assert fast.cycles < slow.cycles


def test_a_network_that_does_not_fit_is_a_row_with_a_reason():
    network = BASE.replace(input_size=200)
    points = explore(network, [(0.125, 50.0)], Config(act_vectors=256), 1e8)
    assert "activation memory" in points[0].refused and points[0].cycles is None
    lines = format_table(points).splitlines()
    assert len(lines) == 4 and lines[2].endswith("| - | - | - |")
    assert lines[3].startswith("squeeze ratio 0.125, 50 % of 3x3: does not compile: layer ")


def test_command(tmp_path, capsys):
    path = tmp_path / "points.json"
    assert main([*SMALL, "--board", "arty-a7", "--variant", "100", "--squeeze-ratio", "0.125",
                 "0.25", "--share-3x3", "50", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    board = boards.get("arty_a7", "100")
    expected = explore(BASE, [(0.125, 50.0), (0.25, 50.0)], board.config, board.clock_hz)
    assert (report["board"], report["variant"], report["lanes"]) == ("arty_a7", "100", 512)
    assert [point["cycles"] for point in report["points"]] == [each.cycles for each in expected]
    assert capsys.readouterr().out == format_table(expected) + "\n"


def test_command_with_a_configuration(capsys):
    assert main([*SMALL, "--config", "128-lanes", "--squeeze-ratio", "0.125"]) == 0
    expected = measure(BASE, Config(co_lanes=8), 1e8)
    assert f"| {expected.cycles:,} |" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["--board", "nexys"], "board 'nexys' is unknown"),
    (["--variant", "7"], "board 'arty_a7' has no variant '7'"),
    (["--board", "arty_a7", "--config", "128-lanes"], "one of them is supported"),
    (["--config", '{"lanes": 3}'], "'lanes' is unknown"),
    (["--squeeze-ratio", "2"], "squeeze-ratio 2.0: supported: 0.125 to 1"),
    (["--share-3x3", "0"], "share-3x3 0.0: supported: 1 to 99"),
    (["--input-size", "8"], "input-size 8: nothing is left"),
    (["--jobs", "0"], "--jobs 0: 1 or more"),
    (["--json", "missing/points.json"], "cannot write missing/points.json"),
])
def test_bad_arguments(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["squeezenet1.0", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not list(tmp_path.iterdir())
