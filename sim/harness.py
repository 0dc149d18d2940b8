"""Python face of `harness.cpp`: one Verilated core with its CSR port, AXI memory and probes."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw.litedram import Generated
from hw.profile import STATES, UNITS
from sw.errors import Failure, UserError
from sw.options import MEMORY_KINDS

from .native import Native

__all__ = ["DEFAULT_MEMORY", "RECORD", "SLICE", "BusError", "Harness", "Memory"]

RECORD = np.dtype([("stage", np.uint8), ("branch", np.uint8), ("data", np.uint8, 16)])
"""One probed vector; `stage` is an `hw.interfaces.Stage`, always 0 in the output probe."""

SLICE = np.dtype([("begin", np.uint64), ("end", np.uint64), ("unit", np.uint64),
                  ("states", np.uint32, STATES)])
"""A unit's work on one instruction: cycles of the run, `end` exclusive, and its states in them."""

_INTERFACE = {
    "create": (c_void_p, [c_uint64]),
    "destroy": (None, [c_void_p]),
    "memory": (c_void_p, [c_void_p]),
    "reset": (None, [c_void_p]),
    "configure": (c_int, [c_void_p] + 5 * [c_uint] + [c_uint64]),
    "inject": (c_int, [c_void_p, c_uint64, c_uint64]),
    "control_write": (c_int, [c_void_p, c_uint32, c_uint32, c_uint64]),
    "csr_write": (c_int, [c_void_p, c_uint32, c_uint32]),
    "csr_read": (c_int, [c_void_p, c_uint32, POINTER(c_uint32)]),
    "run": (c_uint64, [c_void_p, c_uint64]),
    "interrupt": (c_int, [c_void_p]),
    "now": (c_uint64, [c_void_p]),
    "outstanding": (c_uint64, [c_void_p]),
    "beats_read": (c_uint64, [c_void_p]),
    "beats_written": (c_uint64, [c_void_p]),
    "results": (c_void_p, [c_void_p, POINTER(c_uint64)]),
    "outputs": (c_void_p, [c_void_p, POINTER(c_uint64)]),
    "output_cycles": (c_void_p, [c_void_p, POINTER(c_uint64)]),
    "histogram": (c_void_p, [c_void_p, POINTER(c_uint64)]),
    "unit_states": (c_void_p, [c_void_p]),
    "trace": (None, [c_void_p, c_uint, POINTER(c_uint64), c_uint64]),
    "slices": (c_void_p, [c_void_p, POINTER(c_uint64)]),
    "failures": (c_char_p, [c_void_p]),
    "clear": (None, [c_void_p]),
    "waves_open": (c_int, [c_void_p, c_char_p]),
    "waves_close": (None, [c_void_p]),
}


LITEDRAM_RATE = 0.7
"""Vectors a cycle of LiteDRAM's memory, with refreshes, changes of row and of direction: 0.66 where
every burst of 16 changes its row, 0.89 for one linear stream."""


class BusError(Failure):
    """The CSR port answered with an error or not at all."""


@dataclass(frozen=True)
class Memory:
    """Behaviour of the simulated AXI memory.

    `kind` is "model", or "litedram" for LiteDRAM's controller with a DDR3 memory, which takes none
    of the other values. `latency`: cycles from a read address to its first beat, and from the last
    beat of a write to its response, at least 1. `width`: bytes a cycle that the memory moves, reads
    and writes together, 1 to 32 (32 is one beat of 16 bytes in each direction). `max_reads` and
    `max_writes`: bursts accepted and not answered yet. `stalls`: percentage of cycles, 0 to 95, in
    which each of the five channels stands still at random, drawn from `seed`.
    """

    latency: int = 30
    width: int = 16
    max_reads: int = 8
    max_writes: int = 8
    stalls: int = 0
    seed: int = 1
    kind: str = "model"

    def __post_init__(self):
        if self.kind not in MEMORY_KINDS:
            raise UserError(f"memory '{self.kind}' is unknown; there are: "
                            f"{', '.join(MEMORY_KINDS)}")
        limits = {"latency": (1, 100_000), "width": (1, 32), "max_reads": (1, 256),
                  "max_writes": (1, 256), "stalls": (0, 95), "seed": (0, (1 << 64) - 1)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"memory {name} is {value}, supported: {low} to {high}")
            if self.kind == "litedram" and value != getattr(Memory, name):
                raise UserError(f"memory {name} is an option of the memory model; LiteDRAM's "
                                "memory has its own")

    @property
    def vectors_per_cycle(self) -> float:
        """Vectors of 16 bytes that the memory moves in a cycle, in the long run."""
        return LITEDRAM_RATE if self.kind == "litedram" else min(self.width / 16, 1.0)


DEFAULT_MEMORY = Memory()


class Harness:
    """A core in simulation. `library` comes from `sim.verilator.build`.

    `memory` is a uint8 array of `memory_bytes`, shared with the simulated AXI memory: byte 0 is AXI
    address 0. The core is reset when the object is made. A library with LiteDRAM's memory needs
    `dram`, its controller, which is started then; the array is copied to and from the memory
    whenever the simulation runs.
    """

    def __init__(self, library: Path, memory_bytes: int, memory: Memory = DEFAULT_MEMORY,
                 dram: Generated | None = None):
        if dram and memory_bytes > dram.size:
            raise UserError(f"the program needs {memory_bytes:,} bytes of memory; the DRAM has "
                            f"{dram.size:,}")
        self._call = Native(library, "harness", _INTERFACE, memory_bytes)
        self.memory = _view(self._call("memory"), memory_bytes, np.dtype(np.uint8))
        if dram is None:
            self.configure(memory)
        self.reset()
        for step in [*dram.start_up(), *dram.open_port()] if dram else []:
            if not self._call("control_write", *step):
                raise UserError(f"DRAM controller, write to {step.address:#x}: no answer; "
                                "the library was perhaps built without a DRAM controller")

    def close(self) -> None:
        """Frees the core; `memory` must not be used any more."""
        self._call.close()
        self.memory = None

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def configure(self, memory: Memory) -> None:
        """Changes the memory's behaviour from the next cycle on, and restarts its random stalls."""
        self._model_only(self._call(
            "configure", memory.latency, memory.width, memory.max_reads, memory.max_writes,
            memory.stalls, memory.seed))

    def inject_errors(self, first: int, last: int) -> None:
        """Bytes `first` to `last` of the memory answer SLVERR; none do if `last` < `first`."""
        self._model_only(self._call("inject", first, last))

    @staticmethod
    def _model_only(done: int) -> None:
        if not done:
            raise UserError("latency, width, stalls and errors are options of the memory model; "
                            "LiteDRAM's memory has none")

    def reset(self) -> None:
        """Holds `rst` for four cycles, with LiteDRAM for 64; whatever the memory had under way is
        forgotten."""
        self._call("reset")

    def csr_write(self, address: int, value: int) -> None:
        """One AXI4-Lite write. Raises `BusError`."""
        response = self._call("csr_write", self._csr_address(address), value & 0xFFFF_FFFF)
        if response:
            raise BusError(f"CSR write to {address:#x}: {_response(response)}")

    def csr_read(self, address: int) -> int:
        """One AXI4-Lite read. Raises `BusError`."""
        value = c_uint32()
        response = self._call("csr_read", self._csr_address(address), value)
        if response:
            raise BusError(f"CSR read of {address:#x}: {_response(response)}")
        return value.value

    @staticmethod
    def _csr_address(address: int) -> int:
        if address % 4 or not 0 <= address < 256:
            raise ValueError(f"CSR address {address:#x} is not a multiple of 4 below 0x100")
        return address

    def run(self, cycles: int) -> int:
        """Runs until the interrupt is high, at most `cycles`; returns the cycles run."""
        return self._call("run", cycles)

    @property
    def interrupt(self) -> bool:
        return bool(self._call("interrupt"))

    @property
    def now(self) -> int:
        """Cycles since the beginning."""
        return self._call("now")

    @property
    def outstanding(self) -> int:
        """Bursts and beats that the memory has accepted and not answered yet."""
        return self._call("outstanding")

    @property
    def beats(self) -> tuple[int, int]:
        """Beats of 16 bytes read and written since the last `clear`."""
        return self._call("beats_read"), self._call("beats_written")

    @property
    def results(self) -> np.ndarray:
        """Vectors of the result probe since the last `clear`, in order; dtype `RECORD`."""
        return self._records("results", RECORD)

    @property
    def outputs(self) -> np.ndarray:
        """Vectors of the output probe since the last `clear`, in order; dtype `RECORD`."""
        return self._records("outputs", RECORD)

    @property
    def output_cycles(self) -> np.ndarray:
        """uint64: the cycle, as of `now`, in which each of `outputs` came."""
        return self._records("output_cycles", np.dtype(np.uint64))

    def trace(self, unit: str, counts: list[int]) -> None:
        """Records `slices` from now to the next `clear`. `unit` does not tell the end of an
        instruction: the i-th has been at work for `counts[i]` cycles then."""
        self._call("trace", list(UNITS).index(unit), (c_uint64 * len(counts))(*counts),
                   len(counts))

    @property
    def slices(self) -> np.ndarray:
        """What `trace` recorded, in the order of the ends; dtype `SLICE`."""
        return self._records("slices", SLICE)

    def _records(self, name: str, dtype: np.dtype) -> np.ndarray:
        count = c_uint64()
        address = self._call(name, count)
        return _view(address, count.value, dtype).copy()

    @property
    def unit_states(self) -> np.ndarray:
        """Cycles of runs since the last `clear` by [unit, state]: (len(UNITS), STATES) uint64."""
        flat = _view(self._call("unit_states"), len(UNITS) * STATES, np.dtype(np.uint64))
        return flat.reshape(-1, STATES).copy()

    @property
    def histogram(self) -> np.ndarray:
        """The same of the array by [layer, state]: (layers, STATES) uint64."""
        layers = c_uint64()
        address = self._call("histogram", layers)
        flat = _view(address, layers.value * STATES, np.dtype(np.uint64))
        return flat.reshape(-1, STATES).copy()

    @property
    def failures(self) -> list[str]:
        """AXI protocol violations since the last `clear`, the first twenty."""
        return self._call("failures").decode().splitlines()

    def clear(self) -> None:
        """Forgets probes, histograms, slices, beats and failures, and ends `trace`."""
        self._call("clear")

    def waves_open(self, path: Path) -> None:
        """Writes a VCD from the next cycle on. The library must have been built with waves."""
        if not self._call("waves_open", str(path).encode()):
            raise UserError(f"cannot write waves to {path}")

    def waves_close(self) -> None:
        self._call("waves_close")


def _view(address: int | None, count: int, dtype: np.dtype) -> np.ndarray:
    if not count:
        return np.empty(0, dtype)
    buffer = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(buffer, dtype)


def _response(code: int) -> str:
    return {-1: "no answer", 2: "SLVERR", 3: "DECERR"}.get(code, f"response {code}")
