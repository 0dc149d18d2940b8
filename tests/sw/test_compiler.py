"""The whole compiler: passes, the saved program, the command line."""

import json
import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from hw.config import Config
from hw.isa import Opcode
from sw.assembler import disassemble
from sw.compile import main
from sw.compiler import PASSES, compile_graph
from sw.errors import UserError
from sw.importer import import_model, import_proto
from sw.program import Program
from tests.models import ModelBuilder, small_squeezenet

DATA = Path(os.environ.get("FIRECORE_DATA",
                           Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))


@pytest.fixture(scope="module")
def program():
    return compile_graph(import_proto(small_squeezenet(2).model("scores")),
                         Config(act_vectors=512))


def test_passes_run_in_order():
    seen = []

    def after(name, work):
        filled = [work.network, work.schedule, work.program]
        seen.append((name, [each is not None for each in filled]))

    compile_graph(import_proto(small_squeezenet().model("scores")), Config(), after=after)
    assert seen == [("rewrite", [False, False, False]), ("lower", [True, False, False]),
                    ("bounds", [True, False, False]), ("schedule", [True, True, False]),
                    ("emit", [True, True, True])]
    assert [name for name, _ in PASSES] == [name for name, _ in seen]


def test_errors_name_the_model():
    builder = ModelBuilder((16, 20, 20))
    model = builder.model(builder.conv(builder.input(), 16, 17))
    with pytest.raises(UserError, match=r"^some\.onnx: Conv 'conv1_Conv': kernel 17x17"):
        compile_graph(import_proto(model, "some.onnx"), Config())


def test_program_shape(program):
    """One WEIGHTS before each compute instruction, END last; events match the trace."""
    opcodes = [opcode for opcode, _, _ in disassemble(program.code)]
    computes = [each for each in opcodes if each in (Opcode.CONV, Opcode.FIRE)]
    assert opcodes.count(Opcode.WEIGHTS) == len(computes)
    assert opcodes[-1] == Opcode.END and opcodes.count(Opcode.END) == 1
    assert len(program.trace) == len(computes) + computes.count(Opcode.FIRE)
    assert sum(layer.bands for layer in program.layers) == len(computes)
    weights = constants = 0
    for opcode, _, operand in disassemble(program.code):
        if opcode == Opcode.WEIGHTS:
            first = operand["address"] - program.constants_address
            assert first >= 0 and (first + operand["count"]) * 16 <= len(program.constants)
            constants = max(constants, first + operand["count"])
            weights += operand["count"]
    assert constants * 16 == len(program.constants) <= weights * 16


def test_regions_do_not_overlap(program):
    regions = [(program.code_address, len(program.code) // 16),
               (program.constants_address, len(program.constants) // 16),
               (program.input.address, program.input.vectors),
               *((each.address, each.vectors) for each in program.outputs)]
    regions.sort()
    for (start, size), (following, _) in zip(regions, regions[1:], strict=False):
        assert start + size <= following
    assert regions[-1][0] + regions[-1][1] <= program.memory_vectors


def test_deterministic(program):
    again = compile_graph(import_proto(small_squeezenet(2).model("scores")),
                          Config(act_vectors=512))
    assert again.code == program.code and again.constants == program.constants
    assert again.trace == program.trace


def test_a_batch_is_deterministic_and_has_one_trace(program):
    graph, config = import_proto(small_squeezenet(2).model("scores")), Config(act_vectors=512)
    first, second = (compile_graph(graph, config, batch=3) for _ in range(2))
    assert first == second and first.batch == 3
    assert len(first.trace) == len(program.trace) and first.macs == program.macs
    opcodes = [[opcode for opcode, _, _ in disassemble(each.code)] for each in (program, first)]
    assert len(opcodes[1]) - 1 == 3 * (len(opcodes[1]) // 3)
    assert opcodes[1].count(Opcode.GATHER) % 3 == 0
    assert first.estimate < 3 * program.estimate


def test_batch_errors():
    graph = import_proto(small_squeezenet(2).model("scores"), "some.onnx")
    with pytest.raises(UserError, match="a batch of 0 images; 1 or more are supported"):
        compile_graph(graph, Config(), batch=0)
    words = (r"^some\.onnx: a batch of 100000 images: an image takes \d+ instructions and a "
             r"program holds 65535; a batch of at most ")
    with pytest.raises(UserError, match=words) as caught:
        compile_graph(graph, Config(), batch=100_000)
    largest = int(str(caught.value).split("at most ")[1].split()[0])
    with pytest.raises(UserError, match=f"at most {largest} "):
        compile_graph(graph, Config(), batch=largest + 1)
    assert len(compile_graph(graph, Config(), batch=largest).instructions) <= 1 << 16


# Input and output

@pytest.mark.parametrize("signed", (False, True))
@pytest.mark.parametrize("channels", (1, 3, 20))
def test_pack_input(channels, signed):
    builder = ModelBuilder((channels, 5, 7), 1, signed)
    x = builder.conv(builder.input(), 16, 3)
    program = compile_graph(import_proto(builder.model(x)), Config())
    dtype = np.int8 if signed else np.uint8
    values = np.random.default_rng(0).integers(-128, 256, (channels, 5, 7)).astype(dtype)
    packed = program.pack_input(values)
    assert packed.shape == (program.input.vectors, 16)
    bytes_ = (values.astype(int) + (128 if signed else 0)).astype(np.uint8)
    for c in range(channels):
        for y in range(5):
            for column in range(7):
                if program.input.layout == "image":
                    found = packed.reshape(5, -1)[y, 4 * column + c]
                else:
                    found = packed[(c // 16 * 5 + y) * 7 + column, c % 16]
                assert found == bytes_[c, y, column]
    assert program.input.layout == ("image" if channels <= 3 else "planes")
    with pytest.raises(UserError, match="input image_q"):
        program.pack_input(values.astype(np.float32))
    with pytest.raises(UserError, match="input image_q"):
        program.pack_input(values[:, :4])


@pytest.mark.parametrize("signed", (False, True))
def test_unpack_output(signed):
    builder = ModelBuilder((16, 4, 5), 1, signed)
    program = compile_graph(import_proto(builder.model(builder.conv(builder.input(), 20, 1))),
                            Config())
    output, = program.outputs
    vectors = np.random.default_rng(0).integers(0, 256, (output.vectors, 16)).astype(np.uint8)
    values = program.unpack_output(output, vectors)
    assert values.shape == (20, 4, 5)
    assert values[17, 2, 3] == int(vectors[20 + 2 * 5 + 3, 1]) - (128 if signed else 0)


def test_unpack_sums(program):
    output, = program.outputs
    info = program.tensors[output.summed]
    sums = np.arange(32, dtype="<i4") * 1000
    values = program.unpack_output(output, sums.view(np.uint8).reshape(-1, 16))
    count = info.shape[1] * info.shape[2]
    expected = (sums[:20] / count - info.zero_point) * info.scale
    np.testing.assert_allclose(values.reshape(-1), expected, rtol=1e-6, atol=1e-6)


# Files

def test_save_and_load(program, tmp_path):
    program.save(tmp_path / "p")
    program.save(tmp_path / "p")
    assert sorted(each.name for each in (tmp_path / "p").iterdir()) == [
        "manifest.json", "program.bin", "weights.bin"]
    assert Program.load(tmp_path / "p", program.config) == program


def damaged(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(("name", "change", "message"), [
    ("program.bin", lambda data: data[:-1], "program.bin: .* do not match"),
    ("weights.bin", lambda data: b"\xff" + data[1:-1] + b"\x7e", "weights.bin: .* do not match"),
    ("manifest.json", lambda data: data[:100], "not a manifest"),
    ("manifest.json", lambda data: b"{}", "damaged"),
    ("manifest.json", lambda data: b"[]", "damaged"),
    ("manifest.json", lambda data: data.replace(b'"format": 2', b'"format": 9'), "format 9"),
    ("manifest.json", lambda data: data.replace(b'"pixels": 1', b'"pixels": 2'), "digest"),
])
def test_load_refuses_damage(program, tmp_path, name, change, message):
    program.save(tmp_path)
    damaged(tmp_path, name, change)
    with pytest.raises(UserError, match=message):
        Program.load(tmp_path)


def test_load_refuses_another_configuration(program, tmp_path):
    program.save(tmp_path)
    with pytest.raises(UserError, match="compiled for configuration"):
        Program.load(tmp_path, Config(pixels=2))
    with pytest.raises(UserError, match="cannot read"):
        Program.load(tmp_path / "nothing")


# Command line

def test_command_line(tmp_path, capsys):
    model = tmp_path / "small.onnx"
    onnx.save(small_squeezenet().model("scores"), model)
    figures = tmp_path / "figures.json"
    assert main([str(model), "--board", "arty_a7", "-o", str(tmp_path / "out"), "--listing",
                 "--json", str(figures)]) == 0
    text = capsys.readouterr().out
    program = Program.load(tmp_path / "out")
    for layer in program.layers:
        assert layer.name in text
    assert f"{program.macs:,d} MACs" in text and text.splitlines()[-1].split()[-2:] == ["END", "[]"]
    report = json.loads(figures.read_text())
    assert report["macs"] == program.macs and report["predicted_cycles"] == program.estimate
    assert f"{program.estimate:,d} predicted" in text
    assert len(report["layers"]) == 4 and report["board"] == "arty_a7"
    for layer in report["layers"]:
        assert layer["predicted_cycles"] > 0 and layer["bound"] in text


def test_command_line_memory(tmp_path, capsys):
    """Slower memory, more cycles; the words are those of sim.run."""
    model = tmp_path / "small.onnx"
    onnx.save(small_squeezenet().model("scores"), model)
    arguments = [str(model), "--board", "arty_a7", "-o", str(tmp_path / "out"), "--json",
                 str(tmp_path / "figures.json")]

    def cycles(*more):
        assert main([*arguments, *more]) == 0
        return json.loads((tmp_path / "figures.json").read_text())["predicted_cycles"]

    model = cycles("--memory", "model")
    assert model < cycles("--memory-width", "2") < cycles(
        "--memory-width", "2", "--memory-latency", "500")
    # without a word the board's own: DDR3 behind LiteDRAM, or SDR at less than 2 bytes a cycle
    assert cycles() == cycles("--memory", "litedram") != model
    arguments[2] = "ulx3s"
    assert cycles() > cycles("--memory-width", "2") > cycles("--memory", "model")
    capsys.readouterr()
    for more, message in ((["--memory-width", "0"], "memory width is 0, supported: 1 to 32"),
                          (["--memory", "litedram", "--memory-width", "2"], "memory latency and "
                           "width are options of the memory model; LiteDRAM's memory has its own")):
        assert main([*arguments, *more]) == 2
        assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize(("arguments", "message"), [
    (["missing.onnx", "--board", "arty_a7"], "missing.onnx"),
    (["small.onnx", "--board", "nonsense"], "board 'nonsense' is unknown"),
    (["small.onnx", "--board", "arty_a7", "--variant", "7"], "no variant '7'"),
    (["small.onnx", "--board", "arty_a7", "--json", "none/x.json"], "cannot write none/x.json"),
])
def test_command_line_errors(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    onnx.save(small_squeezenet().model("scores"), "small.onnx")
    assert main([*arguments, "-o", "out"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.err.count("\n") == 1 and not captured.out
    assert not (tmp_path / "out").exists()


MODEL = DATA / "squeezenet1.1_int8_qdq_hw.onnx"


@pytest.mark.skipif(not MODEL.exists(), reason=f"no {MODEL.name}: set FIRECORE_DATA")
def test_squeezenet_in_time():
    """The whole of v1.1: no layer computes a row twice, 98 % of the peak, in seconds."""
    graph = import_model(MODEL)
    begin = time.process_time()
    program = compile_graph(graph, Config(act_vectors=8192))
    assert time.process_time() - begin < 5
    assert program.macs == 349_151_936
    assert program.ideal_cycles == 1_381_980
    assert program.estimate < 1.01 * program.ideal_cycles
    assert program.memory_vectors * 16 < 4 << 20
