"""The open synthesis for ECP5, as all of this project's designs go through it."""

from .resources import FLATTEN

FLIP_FLOPS = ("$_DFF_?_ 01", "$_DFF_?P?_ r", "$_SDFF_?P?_ r", "$_DFFE_??_ 01", "$_DFFE_?P??_ r",
              "$_SDFFE_?P??_ r", "$_DLATCH_?_ x")
"""What the device has, with the values at the start: as in Yosys' own script."""
FEWEST = 9
"""Flip-flops that must share an enable or a reset to get it by its own pin: a pin serves the eight
of a tile, and the way to it is longer than one to a LUT."""


def script(top: str) -> str:
    """Yosys commands from a design that has been read to its cells."""
    return (f"hierarchy -top {top}; {FLATTEN}"
            f"synth_ecp5 -top {top} -run begin:map_ffs; opt_clean; dfflegalize "
            + " ".join(f"-cell {kind}" for kind in FLIP_FLOPS)
            + f" -mince {FEWEST} -minsrst {FEWEST}; "
              f"synth_ecp5 -top {top} -run map_ffs:")
