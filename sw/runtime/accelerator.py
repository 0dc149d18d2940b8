"""The core as a Python object: loads programs, runs images, reports errors by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hw import csr
from hw.config import VECTOR, Config
from hw.isa import Error, Opcode
from hw.profile import EVENTS, UNITS, UnitState
from sw.errors import Failure, UserError
from sw.program import Program

__all__ = ["Accelerator", "CoreError", "Inference", "Target"]

PAGE = 4096
WINDOW_BASE = 16 * PAGE
"""Byte address of the memory window of every program."""
CHUNK = 20_000
"""Cycles between two looks at a run."""
HEADROOM = 60
"""A run may take this many times its estimate before it is given up."""
WATCHDOG = 1 << 17
BUSY, DONE, ERROR = 1, 2, 4
"""Bits of STATUS."""

Progress = Callable[[str, float], None]
"""Told what is being done and the fraction that is done, 0 to 1."""


class CoreError(Failure):
    """The core ended a run with an error, or did not end it.

    `error` is the `hw.isa.Error` and `instruction` the index of the instruction, if it told them.
    """

    def __init__(self, message: str, error: Error | None = None, instruction: int | None = None):
        super().__init__(message)
        self.error, self.instruction = error, instruction


@dataclass(frozen=True)
class Inference:
    """One run of the program, over all images of its batch. `cycles`, `counters` and `profile`
    (cycles of each unit that the core counts by state) come from the core's registers; `images`
    holds what the host reads back for each image; `seconds` is the time from start to end here."""

    cycles: int
    counters: dict[str, int]
    profile: dict[str, dict[str, int]]
    images: list[dict[str, np.ndarray]]
    seconds: float

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """What the host reads back for the first image."""
        return self.images[0]


class Target(Protocol):
    """A core with a memory, simulated or real, as an `Accelerator` drives it.

    Methods raise `sw.errors.Failure` when the target does not do what it should.
    """

    clock_hz: float
    """Of the core."""

    def prepare(self, config: Config, size: int, progress: Progress) -> None:
        """Makes a core, of this configuration if the target can choose, and at least `size` bytes
        of memory ready. Raises `UserError` if it cannot be."""

    def read_register(self, offset: int) -> int: ...

    def write_register(self, offset: int, value: int) -> None: ...

    def write_memory(self, address: int, data: np.ndarray, progress: Progress) -> None:
        """Puts uint8 [n], whole vectors, at a byte address."""

    def read_memory(self, address: int, count: int) -> np.ndarray:
        """uint8 [count], whole vectors, from a byte address."""

    def run(self, cycles: int) -> int:
        """Lets the core run for about so many cycles, or until it is done; gives the cycles."""

    @property
    def finished(self) -> bool:
        """Whether the run is over."""

    def close(self) -> None: ...


def silent(what: str, fraction: float) -> None:
    """A `Progress` that shows nothing."""


class Accelerator:
    """A core on a target: `load` a program, `infer` images. Usable as a context manager.

    `target` is a `Target`, or as text one of `sw.runtime.targets`: `sim`, `chip-sim`,
    `serial:DEVICE`; `options` are those of `sw.runtime.targets.open_target`.
    """

    def __init__(self, target: Target | str, progress: Progress = silent, **options) -> None:
        if isinstance(target, str):
            from .targets import open_target

            target = open_target(target, **options)
        elif options:
            raise TypeError(f"{', '.join(options)}: options of a target that is given by name")
        self.target = target
        self.program: Program | None = None
        self._progress = progress

    def close(self) -> None:
        self.target.close()

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def read_register(self, name: str) -> int:
        return self.target.read_register(csr.OFFSETS[name])

    def write_register(self, name: str, value: int) -> None:
        self.target.write_register(csr.OFFSETS[name], value)

    def load(self, program: Program) -> Accelerator:
        """Gives the core a program, after a look at its identity. Returns the accelerator.

        Raises `UserError` if the program is for another configuration than the core's registers
        tell, or too large; `Failure` if the target fails.
        """
        self.program = None
        window = program.memory_vectors * VECTOR
        self.target.prepare(program.config, WINDOW_BASE + window, self._progress)
        self._check_identity(program)
        if self.read_register("STATUS") & (BUSY | ERROR):
            self.soft_reset()
        for what, vector, data in (("program", program.code_address, program.code),
                                   ("weights", program.constants_address, program.constants)):
            self.target.write_memory(
                WINDOW_BASE + vector * VECTOR, np.frombuffer(data, np.uint8),
                lambda _, part, what=what: self._progress(f"load the {what}", part))
        self.write_register("WINDOW_BASE", WINDOW_BASE)
        self.write_register("WINDOW_VECTORS", program.memory_vectors)
        self.write_register("PROGRAM", program.code_address)
        self.write_register("WATCHDOG", WATCHDOG)
        self.write_register("INTERRUPT", 1)
        self.program = program
        return self

    def _check_identity(self, program: Program) -> None:
        found = self.read_register("ID")
        if found != csr.ID:
            raise UserError(f"the core's ID register reads {found:#x}; expected {csr.ID:#x}")
        version = self.read_register("VERSION")
        if version >> 16 != csr.VERSION >> 16:
            raise UserError(f"the core has version {version >> 16} of the registers; supported "
                            f"is {csr.VERSION >> 16}")
        digest = self.read_register("CONFIG")
        if digest != program.digest:
            raise UserError(f"the program is for configuration {program.digest:08x}, the core is "
                            f"{digest:08x}; compile again for this core")

    def soft_reset(self) -> None:
        """Ends a run, if there is one, and clears status and error. Raises `CoreError` if the core
        does not come to rest."""
        self.write_register("CONTROL", 2)
        for _ in range(100):
            if not self.read_register("STATUS") & BUSY:
                return
            self.target.run(1000)
        raise CoreError("the core is still busy after a soft reset")

    def infer(self, images: np.ndarray | Sequence[np.ndarray],
              progress: Callable[[float], None] = lambda fraction: None) -> Inference:
        """Runs integers (C, H, W) of the input tensor through the loaded program: one array, or as
        many as the batch of the program in a list or along a first axis.

        Raises `CoreError` if the core reports an error or does not finish, `UserError` if an image
        does not fit, `Failure` if the target fails.
        """
        program = self.program
        if program is None:
            raise RuntimeError("no program is loaded")
        if isinstance(images, np.ndarray) and images.ndim < 4:
            images = [images]
        if len(images) != program.batch:
            raise UserError(f"{len(images)} images are given to a program for {program.batch}")
        packed = [program.pack_input(image) for image in images]
        for number, vectors in enumerate(packed):
            self.target.write_memory(self._address(program.input, number), vectors.reshape(-1),
                                     lambda what, fraction: progress(0))
        seconds = self._run(progress)
        found = [{
            output.tensor: program.unpack_output(output, self.target.read_memory(
                self._address(output, number), output.vectors * VECTOR).reshape(-1, VECTOR))
            for output in program.outputs
        } for number in range(program.batch)]
        counters = {name: self.read_register(name) for name in (
            *EVENTS, *(state.name for state in csr.ARRAY_COUNTERS))}
        return Inference(counters["CYCLES"], counters, self.read_profile(), found, seconds)

    def _address(self, placement, image: int) -> int:
        return WINDOW_BASE + self.program.address(placement, image) * VECTOR

    def _run(self, progress: Callable[[float], None]) -> float:
        """Starts the core and waits for its end; returns the seconds."""
        started = time.perf_counter()
        self.write_register("CONTROL", 1)
        estimate = max(self.program.estimate, 1000)
        limit = HEADROOM * estimate + 10 * WATCHDOG
        cycles = 0
        while not self.target.finished and cycles < limit:
            cycles += self.target.run(min(CHUNK, limit - cycles))
            progress(min(cycles / estimate, 0.99))
        seconds = time.perf_counter() - started
        self._check_status(cycles)
        return seconds

    def read_profile(self) -> dict[str, dict[str, int]]:
        """Cycles of the last run by unit and state, of all units that the core has counters for."""
        profile = {}
        for number, unit in enumerate(list(UNITS)[:self.read_register("PROFILE_UNITS")]):
            self.write_register("PROFILE_UNIT", number)
            profile[unit] = {state.name: self.read_register(f"UNIT_{state.name}")
                             for state in UnitState}
        return profile

    def _check_status(self, cycles: int) -> None:
        status = self.read_register("STATUS")
        if status & ERROR:
            code, index = status >> 8 & 0xFF, self.read_register("ERROR_INSTRUCTION")
            error = next((each for each in Error if each.value == code), None)
            raise CoreError(f"the core stopped after {cycles} cycles with "
                            f"{error.name if error else f'error {code}'} at "
                            f"{self._instruction(index)}", error, index)
        if not status & DONE:
            raise CoreError(f"the core has not finished after {cycles} cycles")

    def _instruction(self, index: int) -> str:
        """`instruction 12 (LOAD of layer fire2/concat)`."""
        instructions = self.program.instructions
        if index >= len(instructions):
            return f"instruction {index}"
        code, layer = instructions[index][0], int.from_bytes(instructions[index][2:4], "little")
        try:
            name = Opcode(code).name
        except ValueError:
            name = f"opcode {code}"
        layers = self.program.layers
        where = f" of layer {layers[layer].name}" if layer < len(layers) else ""
        return f"instruction {index} ({name}{where})"
