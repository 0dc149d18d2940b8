"""The core's counters against what its probe shows, their table, and the timeline of a run."""

import json

import numpy as np
import pytest

from hw import csr
from hw.config import Config
from hw.isa import Opcode
from hw.profile import UNITS, UnitState
from sim.harness import Memory
from sim.profile import format_profile
from sim.report import build_report
from sim.simulator import CoreSimulator, build_core
from sim.timeline import COUNTED, timeline, vectors_of, work_of
from sw.assembler import disassemble
from sw.compiler import compile_graph
from sw.importer import import_proto
from sw.perf import predict
from tests.models import ModelBuilder

CONFIG = Config()
LIST = list(UNITS)
COMPUTE = (Opcode.CONV, Opcode.FIRE)


@pytest.fixture(scope="module")
def library():
    return build_core(CONFIG)


@pytest.fixture(scope="module")
def graph():
    """Every instruction, and an add with its residual."""
    builder = ModelBuilder((3, 21, 21), seed=3)
    x = builder.conv(builder.input(), 16, strides=(2, 2), quant=builder.low())
    pooled = builder.max_pool(builder.fire(x, 16, 32))
    x = builder.add(pooled, builder.fire(pooled, 16, 32))
    x = builder.average(builder.conv(x, 20, 1, quant=builder.low()), is_float=True)
    return import_proto(builder.model(pooled, x))


@pytest.fixture(scope="module", params=[Memory(), Memory(latency=80, width=3, stalls=30, seed=5)],
                ids=["fast", "slow"])
def memory(request):
    return request.param


@pytest.fixture(scope="module", params=[1, 2], ids=["single", "batch"])
def program(graph, request):
    return compile_graph(graph, CONFIG, batch=request.param)


@pytest.fixture(scope="module")
def traced(library, graph, program, memory):
    """(run, histogram of the probe): the second run of the same core."""
    rng = np.random.default_rng(1)
    tensor = graph.tensors[graph.input_node.output]
    images = [rng.integers(0, 256, tensor.shape).astype(np.uint8).view(tensor.quant.dtype)
              for _ in range(program.batch)]
    with CoreSimulator(CONFIG, library=library, memory=memory) as simulator:
        simulator.load(program)
        simulator.infer(images)
        run = simulator.infer(images, trace=(COUNTED, vectors_of(program)))
        return run, simulator.harness.unit_states


def test_counters_equal_the_probe(traced):
    """Each unit's states, read by AXI4-Lite, are those that the probe showed; they fill the run."""
    run, probed = traced
    assert list(run.profile) == LIST
    for unit, states in enumerate(run.profile.values()):
        assert sum(states.values()) == run.cycles
        for state in UnitState:
            assert states[state.name] == probed[unit, state.value], (LIST[unit], state)
    for state in csr.ARRAY_COUNTERS:
        assert run.counters[state.name] == run.profile["array"][state.name]
    assert [int(cycles) for cycles in run.states.sum(axis=0)] == list(
        run.profile["array"].values())


def test_work_is_known(traced, program):
    """What a unit has to do, it does in so many cycles; beats are those of the memory."""
    run, _ = traced
    busy = {unit: states["BUSY"] for unit, states in run.profile.items()}
    instructions = list(disassemble(program.code))
    assert busy["array"] == program.ideal_cycles * program.batch
    assert busy["weights"] == sum(vectors_of(program))
    assert busy["load"] == sum(operand["planes"] * operand["count"]
                               for opcode, _, operand in instructions if opcode == Opcode.LOAD)
    assert busy["residual"] > 0 and run.profile["store"]["DRAIN"] > 0
    assert run.counters["READ_BEATS"] >= busy["weights"] + busy["load"] + busy["residual"]


def test_slices(traced, program):
    """In each track all its instructions in order, none over another, inside of the run."""
    run, _ = traced
    work = work_of(program)
    opcodes = [opcode for opcode, *_ in disassemble(program.code)]
    of_queue = {unit: [i for i, opcode in enumerate(opcodes) if opcode == kind]
                for unit, kind in (("weights", Opcode.WEIGHTS), ("load", Opcode.LOAD),
                                   ("gather", Opcode.GATHER))}
    computes = [i for i, opcode in enumerate(opcodes) if opcode in COMPUTE]
    for number, unit in enumerate(LIST):
        mine = run.slices[run.slices["unit"] == number]
        begin, end = mine["begin"].astype(int), mine["end"].astype(int)
        assert (begin < end).all() and (end[:-1] <= begin[1:]).all()
        assert not len(end) or end[-1] <= run.cycles
        assert (mine["states"].sum(axis=1) == end - begin).all()
        assert len(mine) == len(work[unit])
        indices = [item.index for item in work[unit]]
        if unit in of_queue:
            assert indices == of_queue[unit]
        elif unit == "dispatch":
            assert indices == list(range(len(opcodes)))
        elif unit != "residual":
            assert list(dict.fromkeys(indices)) == computes
        # work of the unit lies in its slices, but the vectors of pooling, which run ahead
        if unit != "store":
            assert mine["states"][:, UnitState.BUSY.value].sum() == run.profile[unit]["BUSY"]


def test_slices_of_weights_and_array_have_their_size(traced, program):
    run, _ = traced
    busy = {unit: run.slices[run.slices["unit"] == number]["states"][:, UnitState.BUSY.value]
            for number, unit in enumerate(LIST)}
    assert busy["weights"].tolist() == vectors_of(program)
    by_layer = np.zeros(len(program.layers), int)
    for item, cycles in zip(work_of(program)["array"], busy["array"], strict=True):
        by_layer[item.layer] += cycles
    assert by_layer.tolist() == [layer.cycles * program.batch for layer in program.layers]


def test_units_work_in_the_order_of_the_data(traced, program):
    """A pass is at the array after its first tile has come, its results leave after that."""
    run, _ = traced
    tiles, array, finish, store = (
        run.slices[run.slices["unit"] == LIST.index(unit)]
        for unit in ("tiles", "array", "finish", "store"))
    for before, after in ((tiles, array), (array, finish), (finish, store)):
        assert (before["begin"] < after["begin"]).all()
        assert (before["end"] <= after["end"]).all()


def test_chrome_trace(traced, program):
    """What Perfetto needs: complete events with names of their tracks, times in order."""
    run, _ = traced
    trace = json.loads(json.dumps(timeline(program, run.slices)))
    events = trace["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events
             if event["name"] == "thread_name"}
    assert names == dict(enumerate(LIST))
    slices = [event for event in events if event["ph"] == "X"]
    assert {event["ph"] for event in events} == {"X", "M"}
    for event in slices:
        assert {"name", "cat", "ph", "pid", "tid", "ts", "dur", "args"} == set(event)
        assert type(event["ts"]) is type(event["dur"]) is int
        assert names[event["tid"]] == event["cat"]
        args = event["args"]
        assert args["busy"] + sum(args["waits"].values()) == event["dur"]
        assert args["opcode"] in event["name"] and args["layer"] in event["name"]
        assert program.instructions[args["instruction"]][0] == Opcode[args["opcode"]].value
    assert len(slices) == len(run.slices)
    fire = [e["name"] for e in slices if e["cat"] == "array" and e["args"]["opcode"] == "FIRE"]
    assert fire[0].startswith("FIRE squeeze") and fire[1].startswith("FIRE expand")
    images = {event["args"].get("image") for event in slices if event["cat"] == "array"}
    assert images == ({None} if program.batch == 1 else set(range(program.batch)))


def test_an_incomplete_run_has_no_timeline(traced, program):
    run, _ = traced
    with pytest.raises(ValueError, match="slices, the program"):
        timeline(program, run.slices[:-1])


def test_table(traced, program):
    run, _ = traced
    report = build_report(program, predict(program), [run], ["x"] * program.batch,
                          [[]] * program.batch, 1e8, 0, 0)
    json.dumps(report)
    assert list(report["profile"]) == LIST
    lines = format_profile(report).splitlines()
    for unit, states in report["profile"].items():
        row = next(i for i, line in enumerate(lines) if line.split()[:1] == [unit])
        cycles, shares = lines[row].split()[1:], lines[row + 1].split()[::2]
        assert int(cycles[0].replace(",", "")) == sum(states.values())
        assert f"{states['BUSY']:,}" == cycles[1]
        assert sum(map(float, shares)) == pytest.approx(100, abs=0.05)
    for layer in report["layers"]:
        assert any(line.startswith(layer["name"] + " ") for line in lines)


def test_a_core_without_counters_of_units(graph):
    """`profile` false: the array alone is counted, programs are the same, the table says so."""
    config = Config(profile=False)
    program = compile_graph(graph, CONFIG)
    tensor = graph.tensors[graph.input_node.output]
    with CoreSimulator(config) as simulator:
        simulator.load(program)
        run = simulator.infer(np.zeros(tensor.shape, tensor.quant.dtype))
        assert list(run.profile) == ["array"]
        assert sum(run.profile["array"].values()) == run.cycles
        assert simulator.harness.unit_states[0].tolist() == list(run.profile["array"].values())
    report = build_report(program, predict(program), [run], ["x"], [[]], 1e8, 0, 0)
    assert "no counters of the other units" in format_profile(report)
