"""The whole chip in simulation, reached as a board is: through bits on its serial line."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_char_p, c_uint, c_uint64, c_void_p
from pathlib import Path

from amaranth.hdl import ClockSignal
from amaranth.lib import wiring

from hw.config import Config
from hw.litedram import MODULE, Generated
from sw.runtime.accelerator import Progress, silent

from . import verilator
from .native import Native

__all__ = ["BIT_CYCLES", "ChipLine", "build_chip", "build_line"]

BIT_CYCLES = 2
"""Cycles of a bit on the line, unless it is told: many times faster than on a board."""
PATIENCE = 30_000
"""Cycles of silence after which no answer is to be expected; the chip gives up an access after
8,192."""
ROOM = 4096

_INTERFACE = {
    "create": (c_void_p, [c_uint]),
    "destroy": (None, [c_void_p]),
    "now": (c_uint64, [c_void_p]),
    "leds": (c_uint, [c_void_p]),
    "broken": (c_uint64, [c_void_p]),
    "send": (None, [c_void_p, c_char_p, c_uint64]),
    "run": (None, [c_void_p, c_uint64]),
    "receive": (c_uint64, [c_void_p, c_char_p, c_uint64, c_uint64]),
}


def build_line(component: Callable[[], wiring.Component], **options) -> Path:
    """The Verilated library of a component with the ports `rx`, `tx` and `leds`; `options` as of
    `sim.verilator.build`. Raises `UserError`."""
    return verilator.build(component, harness=verilator.CHIP_HARNESS, **options)


def build_chip(config: Config, generated: Generated, bit_cycles: int = BIT_CYCLES, *,
               progress: Progress = silent) -> Path:
    """The library of `hw.soc.Soc` on a controller with its models of PHY and memory."""
    from hw.soc import Soc

    return build_line(
        lambda: Soc(config, generated, {"i_clk": ClockSignal(), "i_sim_trace": 0}, bit_cycles),
        key=verilator.sources_key(repr(config), generated.verilog, str(bit_cycles), "chip"),
        extra={f"{MODULE}.v": generated.verilog}, progress=progress)


class ChipLine:
    """`sw.runtime.link.Transport` to a chip of a library of `build_line`, which runs only while
    the host waits. Bytes of the host are bits of `bit_cycles` cycles, a whole number from 2 on, and
    a second is `clock_hz` cycles."""

    def __init__(self, library: Path, bit_cycles: int = BIT_CYCLES, clock_hz: float = 100e6,
                 patience: int = PATIENCE) -> None:
        self.name = "simulated chip"
        self._clock_hz, self._patience = clock_hz, patience
        self._buffer = ctypes.create_string_buffer(ROOM)
        self._call = Native(library, "chip", _INTERFACE, bit_cycles)

    @property
    def cycles(self) -> int:
        """Since the beginning."""
        return self._call("now")

    @property
    def leds(self) -> int:
        """`hw.soc.Leds`."""
        return self._call("leds")

    @property
    def broken(self) -> int:
        """Bytes from the chip that had no stop bit."""
        return self._call("broken")

    @property
    def now(self) -> float:
        return self.cycles / self._clock_hz

    def send(self, data: bytes) -> None:
        self._call("send", data, len(data))

    def receive(self) -> bytes:
        count = self._call("receive", self._buffer, ROOM, self._patience)
        return ctypes.string_at(self._buffer, count)

    def sleep(self, seconds: float) -> None:
        self._call("run", round(seconds * self._clock_hz))

    def close(self) -> None:
        self._call.close()
