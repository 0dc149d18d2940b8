"""Whether a design becomes a Xilinx 7-series part: components then instantiate its primitives.

Everywhere else, and in simulation, the same components are plain hardware.
"""


class Series7:
    """Stands for the platform when a part of a design alone becomes a 7-series netlist."""

    device = "xc7"


def is_series7(platform) -> bool:
    """True for ``Series7`` and for the Amaranth platforms of 7-series boards."""
    return getattr(platform, "device", "").startswith(Series7.device)
