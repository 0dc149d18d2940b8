"""Compiled programs on the golden machine equal the golden graph, stage by stage."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from hw.config import Config
from hw.isa import Opcode
from sim.golden import graph as golden
from sim.golden.machine import Machine, MachineError, Observation, run_program
from sw.assembler import assemble, disassemble
from sw.compiler import compile_graph
from sw.importer import import_model, import_proto
from tests.graphs import GraphBuilder
from tests.models import ModelBuilder, random_network, small_squeezenet

DATA = Path(os.environ.get("FIRECORE_DATA",
                           Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))


def stored(values, info):
    """A golden tensor as the machine stores it."""
    return values.view(np.uint8) ^ 0x80 if info.signed else values


def check(graph, config, seed=0, rate=1.0, batch=1):
    """Compile and run; every stage, stored vector and output of all images, which differ, must
    equal the golden graph."""
    program = compile_graph(graph, config, rate, batch=batch)
    quant = program.tensors[program.input.tensor].quant
    shape = program.tensors[program.input.tensor].shape
    images = np.random.default_rng(seed).integers(
        quant.qmin, quant.qmax + 1, (batch, *shape)).astype(quant.dtype)
    references = [golden.run(graph, image) for image in images]
    seen = []

    def observe(seen_now: Observation):
        number, index = divmod(seen_now.index, len(program.trace))
        values, entry = references[number], program.trace[index]
        parts = entry["outputs"] if seen_now.stage == "STORE" else [
            each for each in entry["stages"] if each["stage"] == seen_now.stage]
        part, = [each for each in parts if each["branch"] == seen_now.branch]
        info = program.tensors[part["tensor"]]
        first, end = part["rows"]
        channels = slice(part["channel"], part["channel"] + part["channels"])
        expected = stored(values[part["tensor"]], info)[channels, first:end]
        data = seen_now.data
        if part.get("sums"):
            expected = expected.astype(np.int64).sum(axis=(1, 2))
            data = np.ascontiguousarray(data).reshape(-1).view("<i4")[:part["channels"]]
        else:
            data = data.transpose(0, 2, 1).reshape(-1, data.shape[1])[:part["channels"]]
            expected = expected.reshape(len(expected), -1)
        np.testing.assert_array_equal(data, expected, f"{seen_now.index} {part}")
        seen.append((seen_now.index, seen_now.stage, seen_now.branch))

    result = run_program(program, list(images), observe)
    assert result.passes == batch * len(program.trace) == max(each[0] for each in seen) + 1
    assert program.outputs
    for values, outputs in zip(references, result.images, strict=True):
        assert len(outputs) == len(program.outputs)
        for name, output in outputs.items():
            np.testing.assert_array_equal(output.reshape(-1), values[name].reshape(-1), name)
    return program


CONFIGS = {
    "plain": Config(),
    "small": Config(act_vectors=512, strip_steps=64),
    "tiny": Config(act_vectors=256, requantisers=2),
    "half": Config(co_lanes=8, act_vectors=512),
    "two": Config(pixels=2, act_vectors=512),
    "four": Config(pixels=4, act_vectors=1024, co_lanes=8),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("signed", (False, True))
@pytest.mark.parametrize("shared", (False, True))
def test_small_squeezenet(name, signed, shared):
    seed = sum(map(ord, name)) + 2 * signed + shared
    builder = small_squeezenet(seed, signed, shared)
    check(import_proto(builder.model("scores")), CONFIGS[name], seed)


def bypass(seed, signed=False, planes=False):
    """Fires with bypass; the sum of the second is pooled. The input has planes, or is an image."""
    builder = ModelBuilder((20 if planes else 3, 17, 15), seed, signed)
    x = builder.conv(builder.input(), 32, 3, (1, 1), (1, 1, 1, 1), relu=True)
    for index in range(3):
        y = builder.fire(x, 16, 16, shared=index == 1)
        pair = (y, x) if index % 2 else (x, y)
        x = builder.add(*pair, builder.quant(0.0613 + 0.01 * index), relu=index != 1)
        if index == 1:
            x = builder.max_pool(x, 2)
    return builder.model(builder.average(builder.conv(x, 24, 1)))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("signed", (False, True))
@pytest.mark.parametrize("planes", (False, True))
def test_bypass(name, signed, planes):
    check(import_proto(bypass(len(name), signed, planes)), CONFIGS[name])


def wide_concat(seed):
    """Three branches with their own scales, a 5x5 and a pooled one among them; one is read alone,
    and the input of the classifier is a Concat of what two layers wrote."""
    builder = ModelBuilder((3, 14, 13), seed)
    x = builder.conv(builder.input(), 16, 7, (2, 2), (3, 3, 3, 3))
    quant = builder.quant()
    parts = [builder.conv(x, 16, 1, quant=quant), builder.conv(x, 32, 5, (1, 1), (2, 2, 2, 2)),
             builder.conv(x, 10, 3, (1, 1), (1, 1, 1, 1))]
    y = builder.concat(parts, quant)
    z = builder.conv(parts[0], 20, 3, (2, 2), (1, 1, 1, 1))
    w = builder.conv(y, 20, 3, (2, 2), (1, 1, 1, 1), quant=builder.low())
    x = builder.add(w, z, builder.quant(0.0613))
    return builder.model(builder.conv(x, 40, 1, (1, 1), (1, 1, 1, 1)))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", (1, 2))
def test_general_concat(name, seed):
    check(import_proto(wide_concat(seed)), CONFIGS[name], seed)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("signed", (False, True))
def test_uneven_pairs(name, signed):
    """Pairs in either order with other channel counts, without a squeeze, behind a stride, with
    wide padding; the average of a sum is quantised."""
    builder = ModelBuilder((3, 11, 13), 7, signed)
    x = builder.conv(builder.input(), 20, 5, (1, 1), (4, 0, 1, 3))
    x = builder.concat([builder.conv(x, 16, 3, (2, 2), (1, 1, 1, 1)),
                        builder.conv(x, 40, 1, (2, 2))])
    y = builder.conv(x, 7, 1)
    y = builder.concat([builder.conv(y, 48, 1), builder.conv(y, 8, 5, (1, 1), (2, 2, 2, 2))])
    x = builder.add(x, y, builder.quant(0.0613))
    check(import_proto(builder.model(builder.average(x))), CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("batch", (2, 3))
@pytest.mark.parametrize("model", (bypass, wide_concat, small_squeezenet))
def test_batch(name, batch, model):
    """Images in a row, other ones: nothing of one is lost or read too early by the next."""
    proto = model(3)
    check(import_proto(proto if model is not small_squeezenet else proto.model("scores")),
          CONFIGS[name], batch, batch=batch)


def test_images_of_a_batch_share_the_memory_between_layers():
    """Each has its own input and outputs; the rest grows by instructions only."""
    graph = import_proto(bypass(3))
    config = Config(act_vectors=512)
    one, three = (compile_graph(graph, config, batch=batch) for batch in (1, 3))
    added = three.memory_vectors - one.memory_vectors
    code = (len(three.code) - len(one.code)) // 16
    assert abs(added - code - 2 * three.image_vectors) < 256
    regions = [(three.address(each, image), each.vectors)
               for image in range(3) for each in (three.input, *three.outputs)]
    regions.sort()
    for (start, size), (following, _) in zip(regions, regions[1:], strict=False):
        assert start + size <= following
    assert regions[-1][0] + regions[-1][1] <= three.memory_vectors


@pytest.mark.parametrize("seed", range(24))
def test_random_network(seed):
    """Random shapes, kernels, strides, paddings, pools, configurations and batches."""
    rng = np.random.default_rng(seed)
    model = random_network(rng, seed)
    pixels = int(rng.choice([1, 2, 4]))
    config = Config(pixels=pixels, acc_width=25, co_lanes=int(rng.choice([8, 16])),
                    act_vectors=int(rng.choice([2048, 3072])), requantisers=4)
    check(import_proto(model), config, seed, rate=float(rng.choice([0.125, 1])),
          batch=1 + seed % 3)


def models():
    names = ("squeezenet1.1_int8_qdq_hw", "squeezenet1.1_int8_qdq_ort")
    return [pytest.param(DATA / f"{name}.onnx", id=name, marks=pytest.mark.skipif(
        not (DATA / f"{name}.onnx").exists(), reason=f"no {name}.onnx: set FIRECORE_DATA"))
        for name in names]


@pytest.mark.parametrize("path", models())
@pytest.mark.parametrize("pixels", (1, 2))
def test_real_model(path, pixels):
    check(import_model(path), Config(pixels=pixels, act_vectors=8192 * pixels))


# What the machine refuses

def program():
    return compile_graph(import_proto(bypass(3)), Config(act_vectors=512))


def run(code, program):
    valid = np.ones(program.memory_vectors, bool)
    Machine(program.config, program.memory_image(), valid).run(code)


def edited(program, opcode, number, change):
    """The code with the `number`-th instruction of `opcode` changed by `change(header, operand)`.
    """
    code = []
    for found, header, operand in disassemble(program.code):
        if found == opcode:
            if number == 0:
                change(header, operand)
            number -= 1
        code.append(assemble(found, header, operand))
    assert number < 0
    return b"".join(code)


COUNTERS = ("loads", "gathers", "reads", "writes")


def test_every_instruction_needs_its_waits():
    """Without them there is a race, unless a load before it in the engine waited for the same."""
    compiled = program()
    position = {}
    waiting, races = [], []

    def change(header, operand):
        header.update(dict.fromkeys(COUNTERS, 0))

    for opcode, header, _ in disassemble(compiled.code):
        number = position[opcode] = position.get(opcode, -1) + 1
        if not any(header[name] for name in COUNTERS):
            continue
        waiting.append(opcode)
        try:
            run(edited(compiled, opcode, number, change), compiled)
        except MachineError as error:
            assert "race" in str(error)
            races.append(opcode)
    for opcode in (Opcode.CONV, Opcode.FIRE):
        assert races.count(opcode) == waiting.count(opcode) > 5
    assert waiting.count(Opcode.LOAD) > 10
    assert races.count(Opcode.LOAD) > 0.8 * waiting.count(Opcode.LOAD)


@pytest.mark.parametrize(("opcode", "change", "message"), [
    (Opcode.LOAD, lambda h, o: o.update(target=510), "outside 512"),
    (Opcode.LOAD, lambda h, o: o.update(address=1 << 20), "outside"),
    (Opcode.LOAD, lambda h, o: o.update(count=0), "empty"),
    (Opcode.LOAD, lambda h, o: h.update(writes=999), "waits for 999"),
    (Opcode.WEIGHTS, lambda h, o: o.update(count=1), "too early"),
    (Opcode.FIRE, lambda h, o: o["main"]["walk"].update(steps=1), "steps for"),
    (Opcode.FIRE, lambda h, o: o["squeeze"]["walk"].update(kernel=2), "squeeze"),
    (Opcode.FIRE, lambda h, o: o["squeeze"]["source"].update(address=9999), "outside 512"),
    (Opcode.GATHER, lambda h, o: o.update(row=3, first=0), "does not continue"),
])
def test_refuses(opcode, change, message):
    compiled = program()
    with pytest.raises(MachineError, match=message):
        run(edited(compiled, opcode, 0, change), compiled)


@pytest.mark.parametrize(("change", "message"), [
    (lambda h, o: o.update(count=o["count"] - 1), "not those|too early"),
    (lambda h, o: o.update(address=o["address"] - 8), "not those of the one before"),
])
def test_refuses_other_tiles_in_a_later_strip(change, message):
    """Tiles beyond the ring come once for every strip, behind the instruction that takes them."""
    builder = GraphBuilder((80, 4, 40), 1)
    graph = builder.graph(builder.conv("image", 16, 3))
    compiled = compile_graph(graph, Config(weight_vectors=512))
    image = builder.image()
    np.testing.assert_array_equal(run_program(compiled, image).outputs["conv1"],
                                  golden.run(graph, image)["conv1"])
    opcodes = [opcode for opcode, _, _ in disassemble(compiled.code)]
    assert opcodes[opcodes.index(Opcode.CONV) + 1] == Opcode.WEIGHTS
    with pytest.raises(MachineError, match=message):
        run_program(dataclasses.replace(
            compiled, code=edited(compiled, Opcode.WEIGHTS, 1, change)), image)


def test_refuses_unwritten_vectors():
    compiled = program()
    with pytest.raises(MachineError, match="nothing has written"):
        run(edited(compiled, Opcode.GATHER, 0, lambda h, o: o.update(target=o["target"] + 1)),
            compiled)


def test_refuses_bank_conflict():
    """A stride of two with two pixels a step."""
    builder = ModelBuilder((16, 9, 9), 1)
    x = builder.conv(builder.input(), 16, 3, (2, 2), (1, 1, 1, 1))
    compiled = check(import_proto(builder.model(x)), Config(pixels=2))

    def change(header, operand):
        main = operand["main"]
        main["source"]["single"] = 0
        main["walk"].update(strips=1, long_strips=0, steps=-(-main["source"]["pixels"] // 2))

    with pytest.raises(MachineError, match="bank"):
        run(edited(compiled, Opcode.CONV, 0, change), compiled)


def test_refuses_sum_beyond_accumulator():
    builder = ModelBuilder((64, 5, 5), 1)
    x = builder.conv(builder.input(), 16, 3)
    compiled = compile_graph(import_proto(builder.model(x)), Config(acc_width=25))
    narrow = Config(acc_width=20)
    memory = compiled.memory_image()
    start = compiled.constants_address + 8
    memory[start:start + 4 * 9 * 16] = 127
    memory[compiled.input.address:compiled.input.address + compiled.input.vectors] = 255
    with pytest.raises(MachineError, match="leaves the accumulator of 20 bits"):
        Machine(narrow, memory).run(compiled.code)


def test_refuses_another_number_of_images():
    compiled = program()
    shape = compiled.tensors[compiled.input.tensor].shape
    with pytest.raises(ValueError, match="2 images for a batch of 1"):
        run_program(compiled, [np.zeros(shape, np.uint8)] * 2)


def test_a_race_between_images_is_found():
    """The second image's gather goes where the first one's maps are: it must wait for them."""
    builder = small_squeezenet(3)
    compiled = compile_graph(import_proto(builder.model("scores")), Config(act_vectors=512),
                             batch=2)
    number = sum(opcode == Opcode.GATHER for opcode, *_ in disassemble(compiled.code)) // 2

    def change(header, operand):
        assert operand["first"]
        header.update(loads=0, reads=0, writes=0)

    with pytest.raises(MachineError, match="race at activation"):
        run(edited(compiled, Opcode.GATHER, number, change), compiled)


def test_refuses_missing_end():
    compiled = program()
    with pytest.raises(MachineError, match="no END"):
        run(compiled.code[:-128], compiled)
    with pytest.raises(MachineError, match="unknown opcode"):
        run(b"\x63" + compiled.code[1:], compiled)
