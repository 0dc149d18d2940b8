"""What the scheduler says of its choices, as data and as text."""

import re

import onnx
import pytest

from hw.config import Config
from sw.compile import main
from sw.compiler import compile_graph
from sw.explain import explain
from sw.importer import import_proto
from sw.lower import lower
from sw.perf import predict
from sw.schedule import ComputeStep, schedule
from tests.models import small_squeezenet

SIZES = (512, 768, 1024, 4096)


@pytest.fixture(scope="module")
def graph():
    return import_proto(small_squeezenet(1, shape=(3, 61, 47)).model("scores"))


@pytest.mark.parametrize("size", SIZES)
def test_what_was_chosen(graph, size):
    """The choice is what the steps do; nothing complete is better."""
    network = lower(graph)
    plan = schedule(network, Config(act_vectors=size))
    assert [choice.layer for choice in plan.choices] == network.layers
    for choice in plan.choices:
        bands = [step.band for step in plan.steps
                 if isinstance(step, ComputeStep) and step.layer is choice.layer]
        assert choice.chosen.bands == tuple(band.rows for band in bands)
        assert choice.chosen.on_chip == (choice.layer.output.map.name in plan.resident)
        assert (choice.chosen.kept is None) == (choice.layer.squeeze is None)
        assert choice.chosen.whole == plan.cycles
        assert all(each.whole >= plan.cycles for each in choice.others if each.whole is not None)
        assert len({(each.bands, each.kept, each.on_chip) for each in
                    (choice.chosen, *choice.others)}) == 1 + len(choice.others)


@pytest.mark.parametrize("size", SIZES)
def test_what_does_not_fit(graph, size):
    """A refusal needs more than there is, and no such number of bands was used."""
    plan = schedule(lower(graph), Config(act_vectors=size))
    for choice in plan.choices:
        fits = {(len(each.bands), each.kept, each.on_chip)
                for each in (choice.chosen, *choice.others)}
        for refusal in choice.refused:
            assert refusal.needs is None or refusal.needs > size
            assert not fits & {(count, refusal.kept, refusal.on_chip)
                               for count in refusal.counts}
    if size == 512:
        assert any(choice.refused for choice in plan.choices)


def test_a_map_that_stays_needs_its_place(graph):
    """Few bands leave no place for the first map beside them; what they need is told."""
    first = schedule(lower(graph), Config(act_vectors=512)).choices[0]
    refused = [each for each in first.refused if each.on_chip]
    assert refused and min(refused[0].counts) == 1
    assert min(each.needs for each in refused) > first.layer.output.map.vectors
    large = schedule(lower(graph), Config(act_vectors=4096)).choices[0]
    assert large.chosen.on_chip and not large.refused


def test_judge_has_the_last_word(graph):
    """Of the best schedules the one that the judge likes best."""
    network = lower(graph)
    seen = []

    def judge(plan, batch):
        seen.append(len(plan.steps))
        return 10_000 - len(plan.steps)

    plan = schedule(network, Config(act_vectors=768), judge=judge)
    assert len(seen) > 1 and len(plan.steps) == max(seen)
    assert plan.cycles == 10_000 - max(seen)


def test_text(graph):
    """Every layer with its bands and its own figures; alternatives and refusals with theirs."""
    plans = []
    program = compile_graph(graph, Config(act_vectors=512),
                            after=lambda name, work: plans.append(work.schedule))
    prediction = predict(program)
    text = explain(plans[-1], program, prediction)
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) == len(program.layers)
    for block, info, its, choice in zip(blocks, program.layers, prediction.layers,
                                        plans[-1].choices, strict=True):
        assert block.startswith(f"{info.name}: {info.bands} band")
        assert f"{its.cycles:,d} cycles predicted, bound by {its.bound}" in block
        assert block.count("\n    or ") == min(len(choice.others), 7)
        assert block.count("\n    not ") >= len(choice.refused)
    assert "of 512 vectors" in text and "result on chip" in text


def test_command_line(tmp_path, capsys):
    model = tmp_path / "small.onnx"
    onnx.save(small_squeezenet().model("scores"), model)
    arguments = [str(model), "--board", "arty_a7", "-o", str(tmp_path / "out")]
    assert main([*arguments, "--explain"]) == 0
    explained = capsys.readouterr().out
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert explained.startswith(table) and "strips and steps" in explained[len(table):]
