"""What a schedule consists of: loads, gathers and compute instructions, in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from .bands import Band
from .choices import Choice
from .hazards import Waits
from .layers import Layer

__all__ = ["ComputeStep", "GatherStep", "LoadStep", "Schedule"]


@dataclass(frozen=True)
class LoadStep:
    """Rows of all planes of the layer's input, to `target` in the activation memory."""

    layer: Layer
    rows: tuple[int, int]
    target: int
    stride: int
    waits: Waits
    image: int = 0


@dataclass(frozen=True)
class GatherStep:
    """Gathered windows of output rows `rows`; vector v of a window goes `stride` further."""

    layer: Layer
    rows: tuple[int, int]
    target: int
    stride: int
    waits: Waits
    image: int = 0


@dataclass(frozen=True)
class ComputeStep:
    """A CONV or FIRE of a band.

    `source` and `squeeze` are the addresses of pixel (0, 0) of plane 0 (they may lie outside the
    memory when only a band is there), with the strides of their planes; `target` is that of the
    output map if it stays on chip.
    """

    layer: Layer
    band: Band
    source: int
    source_stride: int
    squeeze: int
    squeeze_stride: int
    target: int | None
    waits: Waits
    image: int = 0


@dataclass
class Schedule:
    """`steps` of all images of the batch, in order; `resident`: maps that stay on chip, with their
    address for the first image; `cycles`: when all images are done; `choices`: what was weighed."""

    steps: list[LoadStep | GatherStep | ComputeStep]
    resident: dict[str, int]
    cycles: int
    choices: list[Choice] = field(default_factory=list)
