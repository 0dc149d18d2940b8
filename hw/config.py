"""The frozen configuration of a core; every width of the hardware is derived here."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

VECTOR = 16
"""Channels of one pixel that travel together: one vector is 16 bytes."""

MULTIPLIERS = ("generic", "dsp48-packed", "mult18")


@dataclass(frozen=True)
class Config:
    """A core. Refuses impossible combinations with both numbers in the message.

    The array has ``VECTOR`` input channels x ``co_lanes`` output channels x ``pixels``
    lanes; each lane is one uint8 x int8 multiplier.
    """

    co_lanes: int = 16
    """Output channels computed at once: 8 or 16."""
    pixels: int = 1
    """Pixels computed at once with the same weights: 1, 2 or 4."""
    multiplier: str = "generic"
    """Implementation of the multipliers: ``generic``, ``dsp48-packed`` (two lanes a DSP48E1) or
    ``mult18`` (one lane a MULT18X18D of an ECP5)."""
    table_rows: int = 0
    """How many of the 16 input channels use LUTs instead of ``multiplier``: product tables, or with
    ``mult18`` adders."""
    requantisers: int = 8
    """Requantisers at work at once, two DSPs each: a power of two up to 16."""
    acc_width: int = 24
    """Bits of a signed accumulator, at most 25 (all values exact in float32)."""
    act_vectors: int = 8192
    """Depth of the activation memory in vectors, all pixel banks together."""
    weight_vectors: int = 1024
    """Depth of the weight ring in vectors, a power of two."""
    line_vectors: int = 512
    """Depth of the pooling line buffer in vectors: pooled columns x output groups."""
    image_width: int = 256
    """Widest input image of the first-layer gather, in pixels, a power of two."""
    image_lines: int = 16
    """Image rows held by the gather, a power of two."""
    strip_steps: int = 32
    """Longest strip in steps (one step is ``pixels`` pixels of one tile)."""
    burst: int = 16
    """Longest AXI burst in beats of one vector, a power of two up to 256."""
    profile: bool = True
    """Counters of the states of every unit; without, of the array only. Programs do not care."""

    def __post_init__(self):
        def need(ok, field, supported):
            if not ok:
                raise ValueError(
                    f"configuration: {field} is {getattr(self, field)!r}, supported: {supported}"
                )

        def power_of_two(value, low, high):
            return low <= value <= high and value & (value - 1) == 0

        need(self.co_lanes in (8, 16), "co_lanes", "8 or 16")
        need(self.pixels in (1, 2, 4), "pixels", "1, 2 or 4")
        need(self.multiplier in MULTIPLIERS, "multiplier", " or ".join(MULTIPLIERS))
        need(0 <= self.table_rows <= VECTOR, "table_rows", f"0 to {VECTOR}")
        need(self.multiplier != "dsp48-packed" or self.table_rows != VECTOR - 1, "table_rows",
             f"anything but {VECTOR - 1} with packed multipliers")
        need(power_of_two(self.requantisers, 1, VECTOR), "requantisers", f"1, 2, 4, 8 or {VECTOR}")
        need(20 <= self.acc_width <= 25, "acc_width", "20 to 25")
        need(
            256 <= self.act_vectors <= 1 << 16 and self.act_vectors % (256 * self.pixels) == 0,
            "act_vectors",
            f"multiples of {256 * self.pixels} up to {1 << 16}",
        )
        need(self.vendor != "ecp5" or self.requantisers < VECTOR, "requantisers",
             f"up to {VECTOR // 2} with mult18")
        need(self.vendor != "ecp5" or self.act_vectors <= self.pixels << 14, "act_vectors",
             f"up to {self.pixels << 14} with mult18: a bank is one block RAM deep")
        need(power_of_two(self.weight_vectors, 512, 1 << 14), "weight_vectors",
             "powers of two, 512 to 16384")
        need(power_of_two(self.line_vectors, 64, 4096), "line_vectors",
             "powers of two, 64 to 4096")
        need(power_of_two(self.image_width, 16, 1024), "image_width", "powers of two, 16 to 1024")
        need(power_of_two(self.image_lines, 16, 64), "image_lines", "16, 32 or 64")
        need(self.strip_steps in (32, 64), "strip_steps", "32 or 64")
        need(power_of_two(self.burst, 1, 256), "burst", "powers of two, 1 to 256")
        need(isinstance(self.profile, bool), "profile", "True or False")

    @property
    def lanes(self) -> int:
        """Multipliers of the array: the peak in multiply-accumulates a cycle."""
        return VECTOR * self.co_lanes * self.pixels

    @property
    def vendor(self) -> str | None:
        """Whose primitives are instantiated instead of being left to the synthesis tool."""
        return "ecp5" if self.multiplier == "mult18" else None

    @property
    def halves(self) -> int:
        """Passes of the array that make one group of ``VECTOR`` output channels."""
        return VECTOR // self.co_lanes

    @property
    def tile_vectors(self) -> int:
        """Vectors of one weight tile: ``VECTOR`` x ``co_lanes`` bytes."""
        return self.co_lanes

    @property
    def phases(self) -> int:
        """Cycles in which the requantisers take one vector."""
        return VECTOR // self.requantisers

    @property
    def on_chip_bytes(self) -> int:
        """Activations, weight ring, pooling lines and image lines: all memories of some size."""
        vectors = self.act_vectors + self.weight_vectors + self.line_vectors
        return vectors * VECTOR + self.image_width * self.image_lines * 4

    @property
    def digest(self) -> int:
        """32 bits that name this configuration; a program carries the same number."""
        fields = {k: v for k, v in dataclasses.asdict(self).items()
                  if k not in ("multiplier", "table_rows", "profile")}
        text = json.dumps(fields, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
