"""Brings the chip's memory from power-on to a port that works, over the link."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hw.config import VECTOR
from hw.link import WORD, Space
from hw.litedram import Generated, Write

from .levelling import DramError, level_reads, needs_levelling
from .link import Link

__all__ = ["DramError", "start_memory", "test_memory"]

RESET_CYCLES = 1000
"""Of the PHY, before and after."""
TEST_BYTES = 2048


class _Registers:
    """The controller's registers over the link, as `level_reads` needs them."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def read(self, address: int, words: int) -> list[int]:
        data = self.link.read(Space.CONTROLLER, address, words * WORD)
        return np.frombuffer(data, "<u4").tolist()

    def write(self, address: int, values: list[int]) -> None:
        self.link.write(Space.CONTROLLER, address, np.array(values, "<u4").tobytes())


def start_memory(link: Link, generated: Generated, clock_hz: float, chips: int,
                 progress: Callable[[str, float], None] = lambda what, fraction: None) -> None:
    """Starts the memory, levels its PHY if it has one that needs it, opens its port and tests it.

    `clock_hz` is the controller's, `chips` the chips of 8 data lines that the memory consists of.
    Raises `DramError`, `LinkError`.
    """
    registers = generated.registers

    def write(step: Write) -> None:
        link.write_word(Space.CONTROLLER, step.address, step.value)
        link.transport.sleep(step.cycles / clock_hz)

    progress("start the memory", 0)
    if "ddrphy_rst" in registers:
        for value in (1, 0):
            write(Write(registers["ddrphy_rst"], value, RESET_CYCLES))
    for step in generated.start_up():
        write(step)
    if needs_levelling(registers):
        level_reads(_Registers(link), registers, chips,
                    lambda fraction: progress("level the memory's reads", fraction))
    for step in generated.open_port():
        write(step)
    test_memory(link, generated.size)


def test_memory(link: Link, size: int) -> None:
    """Writes other values at vectors whose addresses differ in one bit, and random blocks in the
    middle and at the end, and reads all back. Raises `DramError`."""
    random = np.random.default_rng(size)
    places = [0, *(1 << bit for bit in range(VECTOR.bit_length() - 1, size.bit_length() - 1))]
    blocks = [(place, random.bytes(VECTOR)) for place in places]
    blocks.append((size - TEST_BYTES, random.bytes(TEST_BYTES)))
    blocks.append((places[-1] + VECTOR, random.bytes(TEST_BYTES)))
    for address, data in blocks:
        link.write(Space.MEMORY, address, data)
    for address, data in blocks:
        found = link.read(Space.MEMORY, address, len(data))
        if found != data:
            wrong = next(i for i, pair in enumerate(zip(found, data, strict=True))
                         if pair[0] != pair[1])
            raise DramError(f"the memory's test failed: byte {address + wrong:#x} reads "
                            f"{found[wrong]:#04x}, written was {data[wrong]:#04x}")


test_memory.__test__ = False  # for pytest, which would take its name for a test's
