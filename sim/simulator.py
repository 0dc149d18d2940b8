"""The core in simulation: loads programs, runs images, reports errors by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

from hw import csr
from hw.config import VECTOR, Config
from hw.isa import Error, Opcode
from hw.litedram import Dram, Generated
from hw.profile import EVENTS, UNITS, UnitState
from sw.errors import UserError
from sw.program import Program

from . import litedram, verilator
from .harness import DEFAULT_MEMORY, Harness, Memory

__all__ = ["CoreError", "CoreSimulator", "HarnessFailure", "Run", "build_core"]

PAGE = 4096
WINDOW_BASE = 16 * PAGE
GUARD = 0xA5
"""Fills a page on both sides of the window: no run may change it."""
CHUNK = 20_000
"""Cycles between two reports of progress."""
HEADROOM = 60
"""A run may take this many times its estimate before it is given up."""
WATCHDOG = 1 << 17
DEFAULT_DRAM = Dram()


class CoreError(Exception):
    """The core ended a run with an error, or did not end it.

    `error` is the `hw.isa.Error` and `instruction` the index of the instruction, if it told them.
    """

    def __init__(self, message: str, error: Error | None = None, instruction: int | None = None):
        super().__init__(message)
        self.error, self.instruction = error, instruction


class HarnessFailure(AssertionError):
    """The core broke a rule of AXI, or wrote where nothing may be written."""


@dataclass(frozen=True)
class Run:
    """One run of the program, over all images of its batch. `cycles` and `counters` come from the
    core's registers; `states` is [layer, state] in cycles, `results` and `outputs` are probe
    records (`sim.harness.RECORD`); `images` holds what the host reads back for each image, and
    `completions` the cycle from the start in which the last result of each came, about 50 before
    external memory has it. `profile` is the cycles of each unit that the core counts by state;
    `slices` (`sim.harness.SLICE`) its work on each instruction, if it was asked for."""

    cycles: int
    counters: dict[str, int]
    states: np.ndarray
    results: np.ndarray
    outputs: np.ndarray
    images: list[dict[str, np.ndarray]]
    seconds: float
    completions: list[int] = field(default_factory=list)
    profile: dict[str, dict[str, int]] = field(default_factory=dict)
    slices: np.ndarray | None = None

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """What the host reads back for the first image."""
        return self.images[0]


def build_core(config: Config, *, dram: Generated | None = None, waves: bool = False,
               progress: verilator.Progress = lambda what, fraction: None) -> Path:
    """The Verilated library of `hw.core.Core(config)`, with a DRAM controller if one is given;
    raises `UserError`."""
    import hw.core

    sources = sorted(Path(hw.core.__file__).parent.glob("*.py"))
    key = "\0".join([metadata.version("amaranth"), repr(config),
                     *(source.read_text() for source in sources)])
    if dram:
        return litedram.build(lambda: hw.core.Core(config), dram, key=key, waves=waves,
                              progress=progress)
    return verilator.build(lambda: hw.core.Core(config), key=key, waves=waves, progress=progress)


class CoreSimulator:
    """A core with a simulated memory. Usable as a context manager.

    `waves` names a VCD file that receives every cycle. `library` is for designs other than
    `hw.core.Core(config)`. `dram` is the memory behind the controller if `memory` is LiteDRAM's.
    """

    def __init__(self, config: Config, *, memory: Memory = DEFAULT_MEMORY,
                 waves: Path | None = None, library: Path | None = None, dram: Dram = DEFAULT_DRAM,
                 progress: verilator.Progress = lambda what, fraction: None):
        self.config = config
        self._dram = litedram.controller(dram) if memory.kind == "litedram" else None
        self.program: Program | None = None
        self._memory_model = memory
        self._waves = waves
        self._library = library or build_core(config, dram=self._dram, waves=waves is not None,
                                              progress=progress)
        self._harness: Harness | None = None

    def close(self) -> None:
        if self._harness:
            self._harness.waves_close()
            self._harness.close()
            self._harness = None

    def __enter__(self) -> CoreSimulator:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def harness(self) -> Harness:
        """The harness of the program that is loaded."""
        if self._harness is None:
            raise RuntimeError("no program is loaded")
        return self._harness

    def read_register(self, name: str) -> int:
        return self.harness.csr_read(csr.OFFSETS[name])

    def write_register(self, name: str, value: int) -> None:
        self.harness.csr_write(csr.OFFSETS[name], value)

    def load(self, program: Program) -> None:
        """Resets the core and gives it a program and a memory just as large as it needs.

        Raises `UserError` if the program is for another configuration than the core's registers
        tell.
        """
        self.close()
        window = program.memory_vectors * VECTOR
        self._harness = Harness(self._library, WINDOW_BASE + window + PAGE, self._memory_model,
                                self._dram)
        if self._waves:
            self._harness.waves_open(self._waves)
        self._check_identity(program)
        self._harness.memory[:] = GUARD
        self.window[:] = program.memory_image()
        self.program = program
        self._set_up()

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

    def _set_up(self) -> None:
        self.write_register("WINDOW_BASE", WINDOW_BASE)
        self.write_register("WINDOW_VECTORS", self.program.memory_vectors)
        self.write_register("PROGRAM", self.program.code_address)
        self.write_register("WATCHDOG", WATCHDOG)
        self.write_register("INTERRUPT", 1)

    @property
    def window(self) -> np.ndarray:
        """uint8 [vectors, 16]: the memory window, shared with the simulation."""
        return self.harness.memory[WINDOW_BASE:-PAGE].reshape(-1, VECTOR)

    def write_memory(self, address: int, vectors: np.ndarray) -> None:
        """Puts uint8 [n, 16] at a vector address of the window."""
        self.window[address:address + len(vectors)] = vectors

    def read_memory(self, address: int, count: int) -> np.ndarray:
        """uint8 [count, 16] from a vector address of the window."""
        return self.window[address:address + count].copy()

    def soft_reset(self) -> None:
        """Ends a run, if there is one, and clears status and error. Raises `CoreError` if the core
        does not come to rest."""
        self.write_register("CONTROL", 2)
        for _ in range(100):
            if not self.read_register("STATUS") & 1:
                return
            self.harness.run(1000)
        raise CoreError("the core is still busy after a soft reset")

    def infer(self, images: np.ndarray | Sequence[np.ndarray],
              progress: Callable[[float], None] = lambda fraction: None,
              trace: tuple[str, list[int]] | None = None) -> Run:
        """Runs integers (C, H, W) of the input tensor through the loaded program: one array, or a
        list of as many as the batch of the program. `trace`: arguments of `Harness.trace`.

        Raises `CoreError` if the core reports an error or does not finish, `HarnessFailure` if it
        breaks a rule of the bus, `UserError` if an image does not fit.
        """
        program, harness = self.program, self.harness
        images = [images] if isinstance(images, np.ndarray) else images
        if len(images) != program.batch:
            raise UserError(f"{len(images)} images are given to a program for {program.batch}")
        for number, image in enumerate(images):
            self.write_memory(program.address(program.input, number), program.pack_input(image))
        harness.clear()
        if trace:
            harness.trace(*trace)
        started = time.perf_counter()
        self.write_register("CONTROL", 1)
        start = harness.now
        estimate = max(program.estimate, 1000)
        limit = HEADROOM * estimate + 10 * WATCHDOG
        cycles = 0
        while not harness.interrupt and cycles < limit:
            cycles += harness.run(min(CHUNK, limit - cycles))
            progress(min(cycles / estimate, 0.99))
        seconds = time.perf_counter() - started
        beats = harness.beats
        self._check_status(cycles)
        self._check_bus(beats)
        found = [{
            output.tensor: program.unpack_output(
                output, self.read_memory(program.address(output, number), output.vectors))
            for output in program.outputs
        } for number in range(program.batch)]
        counters = {name: self.read_register(name) for name in (
            *EVENTS, *(state.name for state in csr.ARRAY_COUNTERS))}
        return Run(counters["CYCLES"], counters, harness.histogram, harness.results,
                   harness.outputs, found, seconds, self._completions(start),
                   self.read_profile(), harness.slices if trace else None)

    def read_profile(self) -> dict[str, dict[str, int]]:
        """Cycles of the last run by unit and state, of all units that the core has counters for."""
        profile = {}
        for number, unit in enumerate(list(UNITS)[:self.read_register("PROFILE_UNITS")]):
            self.write_register("PROFILE_UNIT", number)
            profile[unit] = {state.name: self.read_register(f"UNIT_{state.name}")
                             for state in UnitState}
        return profile

    def _completions(self, start: int) -> list[int]:
        """When the last result of each image came; all images have as many."""
        cycles = self.harness.output_cycles
        each = len(cycles) // self.program.batch
        if not each:
            return []
        return [int(cycle) - start for cycle in cycles[each - 1::each][:self.program.batch]]

    def _check_status(self, cycles: int) -> None:
        status = self.read_register("STATUS")
        if status >> 2 & 1:
            error, index = Error(status >> 8 & 0xFF), self.read_register("ERROR_INSTRUCTION")
            raise CoreError(f"the core stopped after {cycles} cycles with {error.name} at "
                            f"{self._instruction(index)}", error, index)
        if not status >> 1 & 1:
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

    def _check_bus(self, beats: tuple[int, int]) -> None:
        harness = self.harness
        failures = harness.failures
        if harness.outstanding:
            failures.append(f"{harness.outstanding} bursts or beats are under way after the end")
        memory = harness.memory
        if (memory[:WINDOW_BASE] != GUARD).any() or (memory[-PAGE:] != GUARD).any():
            failures.append("memory outside the window was written")
        counted = self.read_register("READ_BEATS"), self.read_register("WRITE_BEATS")
        if counted != beats:
            failures.append(f"beats read and written: the core counted {counted}, the memory "
                            f"{beats}")
        if failures:
            raise HarnessFailure("; ".join(failures))
