"""A line that loses, doubles and changes bytes, to try the link with."""

from __future__ import annotations

import random
from dataclasses import dataclass

from sw.runtime.link import Transport

__all__ = ["FaultyTransport", "Faults"]

LONGEST_GAP = 40
"""Bytes that are lost at once, at most."""


@dataclass
class Faults:
    """How many bytes were hit; a gap counts once."""

    corrupted: int = 0
    dropped: int = 0
    duplicated: int = 0
    gaps: int = 0

    @property
    def total(self) -> int:
        return self.corrupted + self.dropped + self.duplicated + self.gaps


class FaultyTransport:
    """`sw.runtime.link.Transport` around another one: each byte, either way, is hit with
    probability `rate`; then one of the four `Faults` happens, as `seed` has it."""

    def __init__(self, inner: Transport, rate: float, seed: int) -> None:
        self.inner, self.rate = inner, rate
        self.name = inner.name
        self.faults = Faults()
        self._random = random.Random(seed)
        self._gap = [0, 0]  # bytes still to be lost: to the chip, from the chip

    @property
    def now(self) -> float:
        return self.inner.now

    def send(self, data: bytes) -> None:
        self.inner.send(self._hit(data, 0))

    def receive(self) -> bytes:
        while data := self.inner.receive():
            if rest := self._hit(data, 1):
                return rest
        return b""

    def sleep(self, seconds: float) -> None:
        self.inner.sleep(seconds)

    def close(self) -> None:
        self.inner.close()

    def _hit(self, data: bytes, way: int) -> bytes:
        passed = bytearray()
        for byte in data:
            if self._gap[way]:
                self._gap[way] -= 1
            elif self._random.random() >= self.rate:
                passed.append(byte)
            else:
                passed += self._fault(byte, way)
        return bytes(passed)

    def _fault(self, byte: int, way: int) -> bytes:
        kind = self._random.choice(("corrupted", "dropped", "duplicated", "gaps"))
        setattr(self.faults, kind, getattr(self.faults, kind) + 1)
        if kind == "corrupted":
            return bytes([byte ^ self._random.randrange(1, 256)])
        if kind == "duplicated":
            return bytes([byte, byte])
        if kind == "gaps":
            self._gap[way] = self._random.randrange(1, LONGEST_GAP)
        return b""
