"""The core in simulation, with probes that show every value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hw import csr
from hw.config import Config
from hw.litedram import Dram, Generated
from sw.errors import Failure
from sw.runtime.accelerator import (
    PAGE,
    WINDOW_BASE,
    Accelerator,
    CoreError,
    Inference,
    Progress,
    silent,
)

from . import litedram, verilator
from .harness import DEFAULT_MEMORY, Harness, Memory

__all__ = ["CoreError", "CoreSimulator", "CoreTarget", "HarnessFailure", "Run", "build_core"]

GUARD = 0xA5
"""Fills the memory before a program is loaded, and a page behind its window: no run may change
what is outside of the window."""
DEFAULT_DRAM = Dram()
DEFAULT_CLOCK = 100e6


class HarnessFailure(Failure, AssertionError):
    """The core broke a rule of AXI, or wrote where nothing may be written."""


@dataclass(frozen=True)
class Run(Inference):
    """A run in simulation. `states` is [layer, state] in cycles, `results` and `outputs` are probe
    records (`sim.harness.RECORD`); `completions` the cycle from the start in which the last result
    of each image came, about 50 before external memory has it; `slices` (`sim.harness.SLICE`) the
    core's work on each instruction, if it was asked for."""

    states: np.ndarray
    results: np.ndarray
    outputs: np.ndarray
    completions: list[int] = field(default_factory=list)
    slices: np.ndarray | None = None


def build_core(config: Config, *, dram: Generated | None = None, waves: bool = False,
               progress: Progress = silent) -> Path:
    """The Verilated library of `hw.core.Core(config)`, with a DRAM controller if one is given;
    raises `UserError`."""
    import hw.core

    key = verilator.sources_key(repr(config))
    if dram:
        return litedram.build(lambda: hw.core.Core(config), dram, key=key, waves=waves,
                              progress=progress)
    return verilator.build(lambda: hw.core.Core(config), key=key, waves=waves, progress=progress)


class CoreTarget:
    """`sw.runtime.accelerator.Target`: a Verilated core alone, its memory an array of Python.

    Every `prepare` makes a new one, with a memory just as large as needed. `config` is the
    program's if none is given; the other options are those of `CoreSimulator`.
    """

    def __init__(self, config: Config | None = None, *, memory: Memory = DEFAULT_MEMORY,
                 waves: Path | None = None, library: Path | None = None,
                 dram: Dram = DEFAULT_DRAM, clock_hz: float = DEFAULT_CLOCK) -> None:
        self.clock_hz = clock_hz
        self._config, self._library = config, library
        self._dram = litedram.controller(dram) if memory.kind == "litedram" else None
        self._memory_model, self._waves = memory, waves
        self._harness: Harness | None = None
        self.started = 0
        """Cycle of the last start, as `Harness.now` counts."""

    def build(self, config: Config, progress: Progress) -> None:
        """Makes the library, unless there is one."""
        if self._library is None:
            self._library = build_core(self._config or config, dram=self._dram,
                                       waves=self._waves is not None, progress=progress)

    def close(self) -> None:
        if self._harness:
            self._harness.waves_close()
            self._harness.close()
            self._harness = None

    @property
    def harness(self) -> Harness:
        """The harness of the program that is loaded."""
        if self._harness is None:
            raise RuntimeError("no program is loaded")
        return self._harness

    def prepare(self, config: Config, size: int, progress: Progress) -> None:
        self.close()
        self.build(config, progress)
        self._harness = Harness(self._library, size + PAGE, self._memory_model, self._dram)
        if self._waves:
            self._harness.waves_open(self._waves)
        self._harness.memory[:] = GUARD

    def read_register(self, offset: int) -> int:
        return self.harness.csr_read(offset)

    def write_register(self, offset: int, value: int) -> None:
        self.harness.csr_write(offset, value)
        if offset == csr.OFFSETS["CONTROL"]:
            self.started = self.harness.now

    def write_memory(self, address: int, data: np.ndarray, progress: Progress) -> None:
        self.harness.memory[address:address + len(data)] = data

    def read_memory(self, address: int, count: int) -> np.ndarray:
        return self.harness.memory[address:address + count].copy()

    def run(self, cycles: int) -> int:
        return self.harness.run(cycles)

    @property
    def finished(self) -> bool:
        return self.harness.interrupt


class CoreSimulator(Accelerator):
    """An accelerator on a simulated core, whose runs show every value and every cycle.

    `waves` names a VCD file that receives every cycle. `library` is for designs other than
    `hw.core.Core(config)`. `dram` is the memory behind the controller if `memory` is LiteDRAM's.
    """

    target: CoreTarget

    def __init__(self, config: Config, *, memory: Memory = DEFAULT_MEMORY,
                 waves: Path | None = None, library: Path | None = None, dram: Dram = DEFAULT_DRAM,
                 progress: Progress = silent) -> None:
        target = CoreTarget(config, memory=memory, waves=waves, library=library, dram=dram)
        target.build(config, progress)
        super().__init__(target)
        self.config = config

    @property
    def harness(self) -> Harness:
        return self.target.harness

    def infer(self, images: np.ndarray | Sequence[np.ndarray],
              progress: Callable[[float], None] = lambda fraction: None,
              trace: tuple[str, list[int]] | None = None) -> Run:
        """As `Accelerator.infer`. `trace`: arguments of `Harness.trace`.

        Also raises `HarnessFailure` if the core breaks a rule of the bus.
        """
        harness = self.harness
        harness.clear()
        if trace:
            harness.trace(*trace)
        done = super().infer(images, progress)
        self._check_bus(done.counters)
        return Run(**vars(done), states=harness.histogram, results=harness.results,
                   outputs=harness.outputs, completions=self._completions(),
                   slices=harness.slices if trace else None)

    def _completions(self) -> list[int]:
        """When the last result of each image came; all images have as many."""
        cycles = self.harness.output_cycles
        each = len(cycles) // self.program.batch
        if not each:
            return []
        return [int(cycle) - self.target.started
                for cycle in cycles[each - 1::each][:self.program.batch]]

    def _check_bus(self, counters: dict[str, int]) -> None:
        harness = self.harness
        failures = harness.failures
        if harness.outstanding:
            failures.append(f"{harness.outstanding} bursts or beats are under way after the end")
        memory = harness.memory
        if (memory[:WINDOW_BASE] != GUARD).any() or (memory[-PAGE:] != GUARD).any():
            failures.append("memory outside the window was written")
        counted = counters["READ_BEATS"], counters["WRITE_BEATS"]
        if counted != harness.beats:
            failures.append(f"beats read and written: the core counted {counted}, the memory "
                            f"{harness.beats}")
        if failures:
            raise HarnessFailure("; ".join(failures))
