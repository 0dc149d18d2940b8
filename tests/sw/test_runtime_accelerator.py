"""What the host does before it trusts a chip, and how it follows a run; ports that are none."""

import os
import termios
import threading
import tty
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import serial

import boards
from hw.config import Config
from hw.isa import Error
from sim.golden import graph as golden
from sw.compiler import compile_graph
from sw.errors import UserError
from sw.importer import import_proto
from sw.runtime import Accelerator, CoreError, LinkError
from sw.runtime.accelerator import WINDOW_BASE
from sw.runtime.chip import Chip
from sw.runtime.serial import SerialPort
from sw.runtime.targets import open_target
from tests.chip_model import Board
from tests.models import small_squeezenet

CONFIG = Config(act_vectors=512)


@pytest.fixture(scope="module")
def graph():
    return import_proto(small_squeezenet(2, shape=(3, 15, 15)).model("scores"))


@pytest.fixture(scope="module")
def program(graph):
    return compile_graph(graph, CONFIG)


def image(program, seed=0):
    tensor = program.tensors[program.input.tensor]
    return np.random.default_rng(seed).integers(0, 256, tensor.shape).astype(np.uint8).view(
        tensor.quant.dtype)


def test_a_program_runs(graph, program):
    """The machine behind the registers computes what the golden operators do."""
    board = Board(CONFIG)
    told = []
    with Accelerator(board.chip, lambda what, fraction: told.append(what)) as accelerator:
        assert accelerator.load(program) is accelerator
        for seed in range(2):
            board.core.delay = 5
            integers = image(program, seed)
            done = accelerator.infer(integers)
            reference = golden.run(graph, integers)
            for name, values in done.tensors.items():
                np.testing.assert_array_equal(values, reference[name].reshape(values.shape))
            assert done.cycles == done.counters["CYCLES"] == 1234
            assert list(done.profile) == ["array"]
    assert {"look for the chip", "load the program", "load the weights"} <= set(told)
    assert board.line.closed
    # what no program reads before it writes it does not go over the line
    assert sum(4 * request.words for request in board.writes()) == \
        len(program.code) + len(program.constants) + 2 * 16 * program.input.vectors


def test_batches(graph):
    program = compile_graph(graph, CONFIG, batch=3)
    images = np.stack([image(program, seed) for seed in range(3)])
    with Accelerator(Board(CONFIG).chip) as accelerator:
        done = accelerator.load(program).infer(images)
        with pytest.raises(UserError, match="2 images are given to a program for 3"):
            accelerator.infer(images[:2])
        with pytest.raises(UserError, match="needed"):
            accelerator.infer([images[0], images[1], images[2, :, :5]])
    for integers, tensors in zip(images, done.images, strict=True):
        reference = golden.run(graph, integers)
        for name, values in tensors.items():
            np.testing.assert_array_equal(values, reference[name].reshape(values.shape))


@pytest.mark.parametrize(("register", "value", "message"), [
    ("ID", 0x12345678, "the core's ID register reads 0x12345678; expected 0x52434946"),
    ("VERSION", 0x0002_0000, "the core has version 2 of the registers; supported is 1"),
    ("CONFIG", 0xABCD, "the program is for configuration [0-9a-f]{8}, the core is 0000abcd"),
])
def test_another_core_is_refused_before_anything_is_loaded(program, register, value, message):
    board = Board(CONFIG)
    board.core.values[register] = value
    with pytest.raises(UserError, match=message):
        Accelerator(board.chip).load(program)
    assert board.writes() == [] and set(board.core.log) == {"INTERRUPT"}


def test_another_device_is_refused(program):
    board = Board(CONFIG)
    board.line._read = lambda space, address: 0x5A
    with pytest.raises(UserError, match="model: the link's ID register reads 0x5a; expected 0x314b4"
                                        "c46"):
        Accelerator(board.chip).load(program)
    assert board.line.closed and board.writes() == []


def test_a_dead_line(program):
    board = Board(CONFIG)
    board.line.deaf = True
    with pytest.raises(LinkError, match="no answer to a write of 1 words at CORE:0x2c"):
        Accelerator(board.chip).load(program)
    assert board.line.closed


def test_a_memory_that_is_too_small(program):
    board = Board(CONFIG)
    board.generated = replace(board.generated, row_bits=5)
    needed = WINDOW_BASE + program.memory_vectors * 16
    with pytest.raises(UserError, match=f"the program needs {needed:,} bytes of memory; the DRAM "
                                        "has 65,536"):
        Accelerator(board.chip).load(program)


def test_errors_of_the_core(program):
    board = Board(CONFIG)
    with Accelerator(board.chip) as accelerator:
        accelerator.load(program)
        board.core.fault = Error.WINDOW
        with pytest.raises(CoreError, match="the core stopped after [0-9]+ cycles with WINDOW at "
                                            "instruction 1 \\([A-Z]+ of layer ") as caught:
            accelerator.infer(image(program))
        assert caught.value.error == Error.WINDOW and caught.value.instruction == 1
        # of a core with newer registers than this program knows
        board.core.fault = SimpleNamespace(value=99)
        with pytest.raises(CoreError, match="with error 99 at instruction 1 ") as caught:
            accelerator.infer(image(program))
        assert caught.value.error is None
        # the next load finds the error and clears it
        board.core.fault = None
        accelerator.load(program).infer(image(program))


def test_a_run_of_a_session_before_is_ended(program):
    board = Board(CONFIG)
    board.core.busy, board.core.stuck = 1, True
    with Accelerator(board.chip) as accelerator:
        accelerator.load(program).infer(image(program))
    assert board.core.log.index("CONTROL") < board.core.log.index("WINDOW_BASE")


def test_a_run_without_end_is_given_up(program):
    board = Board(CONFIG)
    with Accelerator(board.chip) as accelerator:
        accelerator.load(program)
        board.core.stuck, board.core.delay = True, 1
        with pytest.raises(CoreError, match="the core has not finished after [0-9]+ cycles"):
            accelerator.infer(image(program))


def test_targets_are_named():
    for name in ("board", "serial", "serial:", "sim:x", ""):
        with pytest.raises(UserError, match=f"target '{name}' is unknown; there are: sim, chip-sim,"
                                            " serial:DEVICE"):
            open_target(name)
    with pytest.raises(UserError, match="a bit of 1 cycles; 2 or more"):
        open_target("chip-sim", bit_cycles=1)
    with pytest.raises(boards.UnknownBoard):
        open_target("sim", board="none")
    assert open_target("sim", board="ulx3s").clock_hz == boards.get("ulx3s").clock_hz
    with pytest.raises(TypeError, match="baud"):
        Accelerator(Board(CONFIG).chip, baud=9600)
    with pytest.raises(RuntimeError, match="no program is loaded"):
        Accelerator(Board(CONFIG).chip).infer(np.zeros((1, 1, 1)))


# Serial ports

def test_a_port_that_is_none(program, tmp_path):
    pytest.importorskip("serial", reason="pyserial is not installed")
    with pytest.raises(UserError, match=f"^serial port {tmp_path}/none at 1000000 baud: No such "
                                        "file or directory$"):
        Accelerator(f"serial:{tmp_path}/none").load(program)


@pytest.fixture
def port():
    """A terminal whose other end answers as a chip does: (its name, the chip)."""
    pytest.importorskip("serial", reason="pyserial is not installed")
    chip, device = os.openpty()
    tty.setraw(chip)
    board = Board(CONFIG)

    def serve():
        try:
            while (data := os.read(chip, 4096)) and not board.line.closed:
                board.line.send(data)
                os.write(chip, board.line.receive())
        except OSError:
            pass
        os.close(chip)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield os.ttyname(device), board
    os.close(device)  # ends the thread's read, once nobody has the terminal open
    thread.join(1)


def test_a_program_over_a_port(port, graph, program):
    device, board = port
    chip = Chip(lambda config, progress: SerialPort(device), lambda: board.generated, 100e6, 100e6)
    integers = image(program)
    with Accelerator(chip) as accelerator:
        done = accelerator.load(program).infer(integers)
        assert chip.link.statistics.dropped == 0
    reference = golden.run(graph, integers)
    for name, values in done.tensors.items():
        np.testing.assert_array_equal(values, reference[name].reshape(values.shape))


def test_a_port_that_is_no_terminal(monkeypatch):
    """What is in its buffer cannot be thrown away."""
    def reset(self):
        raise termios.error(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(serial.Serial, "open", lambda self: None)
    monkeypatch.setattr(serial.Serial, "reset_input_buffer", reset)
    with pytest.raises(UserError, match="^serial port /dev/x at 1000000 baud: Inappropriate ioctl "
                                        "for device$"):
        SerialPort("/dev/x")


def test_a_silent_port(port, program, monkeypatch):
    monkeypatch.setattr("sw.runtime.serial.SILENCE", 0.01)
    device, board = port
    board.line.deaf = True
    chip = Chip(lambda config, progress: SerialPort(device), lambda: board.generated, 100e6, 100e6)
    with pytest.raises(LinkError, match=f"{device} at 1000000 baud: no answer"):
        Accelerator(chip).load(program)


def test_a_port_that_goes_away(port, program):
    """The adapter is pulled while a program is there."""
    device, board = port
    chip = Chip(lambda config, progress: SerialPort(device), lambda: board.generated, 100e6, 100e6)
    with Accelerator(chip) as accelerator:
        accelerator.load(program)
        board.line.closed = True
        with pytest.raises(LinkError, match=f"^serial port {device} at 1000000 baud: "):
            accelerator.infer(image(program))
