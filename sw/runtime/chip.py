"""A whole chip behind a link: its core, its memory, and the controller that starts it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hw import csr
from hw.config import Config
from hw.link import LINK_ID, LinkRegister, Space
from hw.litedram import Generated
from sw.errors import UserError

from .accelerator import BUSY, Progress
from .dram import start_memory
from .link import Link, Transport

__all__ = ["Chip"]

CHIPS = 2
"""Chips of 8 data lines of the memories that are supported: 16 lines."""


class Chip:
    """`sw.runtime.accelerator.Target` over a link.

    `connect` opens the line to a chip with a core of the configuration, which a simulated chip
    builds first; it is called once. `generated` is the memory's controller in the chip, with
    registers at `memory_hz`; `clock_hz` is the clock of the core.
    """

    def __init__(self, connect: Callable[[Config, Progress], Transport],
                 generated: Callable[[], Generated], clock_hz: float, memory_hz: float) -> None:
        self.clock_hz, self.memory_hz = clock_hz, memory_hz
        self._connect, self._generated = connect, generated
        self.link: Link | None = None
        self._size = 0
        self.finished = False

    def close(self) -> None:
        if self.link:
            self.link.close()
            self.link = None

    def prepare(self, config: Config, size: int, progress: Progress) -> None:
        """Identifies the chip, and starts its memory if that has not been done since power-on."""
        if self.link is None:
            self._open(config, progress)
        if size > self._size:
            raise UserError(f"the program needs {size:,} bytes of memory; the DRAM has "
                            f"{self._size:,}")

    def _open(self, config: Config, progress: Progress) -> None:
        self.link = link = Link(self._connect(config, progress))
        try:
            progress("look for the chip", 0)
            # harmless even if it is done twice, see `Link`
            self.write_register(csr.OFFSETS["INTERRUPT"], 0)
            found = link.read_word(Space.LINK, LinkRegister.ID)
            if found != LINK_ID:
                raise UserError(f"{link.transport.name}: the link's ID register reads {found:#x}; "
                                f"expected {LINK_ID:#x}")
            generated = self._generated()
            self._size = generated.size
            if not link.read_word(Space.LINK, LinkRegister.READY) & 1:
                start_memory(link, generated, self.memory_hz, CHIPS, progress)
        except BaseException:
            self.close()
            raise

    def read_register(self, offset: int) -> int:
        return self.link.read_word(Space.CORE, offset)

    def write_register(self, offset: int, value: int) -> None:
        self.link.write_word(Space.CORE, offset, value)
        self.finished = False

    def write_memory(self, address: int, data: np.ndarray, progress: Progress) -> None:
        self.link.write(Space.MEMORY, address, data.tobytes(),
                        lambda done: progress("", done / len(data)))

    def read_memory(self, address: int, count: int) -> np.ndarray:
        return np.frombuffer(self.link.read(Space.MEMORY, address, count), np.uint8)

    def run(self, cycles: int) -> int:
        transport = self.link.transport
        start = transport.now
        transport.sleep(cycles / self.clock_hz)
        self.finished = not self.read_register(csr.OFFSETS["STATUS"]) & BUSY
        return max(1, round((transport.now - start) * self.clock_hz))
