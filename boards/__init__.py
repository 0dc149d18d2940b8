"""Boards that firecore is built for: descriptions only, one file a board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from hw.config import Config
from hw.errors import UserError
from hw.litedram import Dram

__all__ = ["Board", "UnknownBoard", "available", "get"]


class UnknownBoard(UserError):
    """The message is one line that lists the boards or variants there are."""


@dataclass(frozen=True)
class Board:
    """A board and the core that fits it.

    `device` is the vendor's part number with package and speed grade. `resources` counts what the
    device has, by keys of `hw.project.NAMES`. `clock_hz` is the clock of the core. The DRAM
    controller makes it, or, where `dram.clock_hz` is another, a clock generator beside it;
    `hw.axi_crossing` lies between the two. `dram` is None where the core is alone, behind its AXI
    ports; the memory there moves `bus_bytes` bytes a cycle, reads and writes together. `flow` is
    the one of `hw.build.FLOWS` that makes its project.
    """

    name: str
    variant: str
    device: str
    clock_hz: float
    config: Config
    resources: Mapping[str, int]
    dram: Dram | None
    flow: str = "vivado"
    bus_bytes: int = 0

    def __post_init__(self):
        object.__setattr__(self, "resources", MappingProxyType(dict(self.resources)))

    @property
    def crosses_clocks(self) -> bool:
        """Whether the core has a clock of its own."""
        return self.dram is not None and self.clock_hz != self.dram.clock_hz

    @property
    def fastest_hz(self) -> float:
        """The faster one of the clocks of core and memory controller."""
        return max(self.clock_hz, self.dram.clock_hz if self.dram else 0)

    @property
    def memory(self) -> str:
        """The external memory, in a few words."""
        if self.dram is None:
            return f"AXI4, {self.bus_bytes} bytes a cycle"
        words = 8 if self.dram.kind == "DDR3" else 1  # that the memory moves in a cycle
        return (f"{self.dram.kind}-{words * self.dram.clock_hz / 1e6:.0f} "
                f"x{8 * self.dram.byte_lanes}")

    def at_clock(self, clock_hz: float) -> Board:
        """The board with another clock of the core. An SDR memory has the same clock."""
        dram = self.dram
        if dram and dram.kind == "SDR":
            dram = replace(dram, clock_hz=clock_hz)
        return replace(self, clock_hz=clock_hz, dram=dram)

    def __str__(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name


def available() -> dict[str, tuple[Board, ...]]:
    """Boards by name, each with its variants; the first one is the default."""
    from . import arty_a7, axi_ip, genesys2, ulx3s

    return {module.VARIANTS[0].name: module.VARIANTS
            for module in (arty_a7, ulx3s, genesys2, axi_ip)}


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
    names = ", ".join(filter(None, (board.variant for board in variants)))
    raise UnknownBoard(f"board '{name}' has no variant '{variant}'; "
                       + (f"there are: {names}" if names else "there is one without a name"))
