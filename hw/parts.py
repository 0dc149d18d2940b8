"""Whose part a design becomes: components then instantiate that vendor's primitives.

Everywhere else, and in simulation, the same components are plain hardware.
"""


class Series7:
    """Stands for the platform when a part of a design alone becomes a 7-series netlist."""

    device = "xc7"


class Ecp5:
    """The same for an ECP5."""

    device = "LFE5U"


def is_series7(platform) -> bool:
    """True for ``Series7`` and for the Amaranth platforms of 7-series boards."""
    return getattr(platform, "device", "").startswith(Series7.device)


def is_ecp5(platform) -> bool:
    """True for ``Ecp5`` and for the Amaranth platforms of ECP5 boards."""
    return getattr(platform, "device", "").startswith(Ecp5.device)
