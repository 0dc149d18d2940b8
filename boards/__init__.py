"""Boards that firecore is built for: descriptions only, one file a board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hw.config import Config
from hw.litedram import Dram

__all__ = ["Board", "UnknownBoard", "available", "get"]


class UnknownBoard(ValueError):
    """The message is one line that lists the boards or variants there are."""


@dataclass(frozen=True)
class Board:
    """A board and the core that fits it.

    `device` is the vendor's part number with package and speed grade. `resources` counts what the
    device has: `lut`, `ff`, `bram36` (blocks of 36 Kbit) and `dsp`. `clock_hz` is the clock of
    the core, which the DRAM controller makes.
    """

    name: str
    variant: str
    device: str
    clock_hz: float
    config: Config
    resources: Mapping[str, int]
    dram: Dram

    def __post_init__(self):
        if self.clock_hz != self.dram.clock_hz:
            raise ValueError(f"board {self.name}: clock_hz is {self.clock_hz:g}, that of its memory"
                             f" {self.dram.clock_hz:g}; they are the same clock")
        object.__setattr__(self, "resources", MappingProxyType(dict(self.resources)))

    def __str__(self) -> str:
        return f"{self.name}-{self.variant}"


def available() -> dict[str, tuple[Board, ...]]:
    """Boards by name, each with its variants; the first one is the default."""
    from . import arty_a7

    return {module.VARIANTS[0].name: module.VARIANTS for module in (arty_a7,)}


def get(name: str, variant: str | None = None) -> Board:
    """The board `name`, in its first variant if none is named; `arty-a7` is `arty_a7`.

    Raises `UnknownBoard`.
    """
    boards = available()
    variants = boards.get(name.replace("-", "_"))
    if variants is None:
        raise UnknownBoard(f"board '{name}' is unknown; there are: {', '.join(boards)}")
    if variant is None:
        return variants[0]
    for board in variants:
        if board.variant == str(variant):
            return board
    raise UnknownBoard(f"board '{name}' has no variant '{variant}'; there are: "
                       f"{', '.join(board.variant for board in variants)}")
