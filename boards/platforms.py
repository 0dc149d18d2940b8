"""Amaranth platforms of the boards, with the pins that firecore's top level asks for."""

from amaranth.build import Attrs
from amaranth_boards.arty_a7 import ArtyA7_35Platform, ArtyA7_100Platform
from amaranth_boards.resources import SPIResource

from . import Board


class _WithRtlil:
    """Adds the design as RTLIL to the files of a build plan: Yosys reads it much faster."""

    @property
    def file_templates(self):
        return {**super().file_templates, "{{name}}.il": "{{emit_rtlil()}}"}


class ArtyA7_35(_WithRtlil, ArtyA7_35Platform):
    pass


class ArtyA7_100(_WithRtlil, ArtyA7_100Platform):
    pass


PLATFORMS = {("arty_a7", "35"): ArtyA7_35, ("arty_a7", "100"): ArtyA7_100}


def platform_of(board: Board):
    """An Amaranth platform; on the Arty the registers' SPI is the upper row of Pmod JA."""
    platform = PLATFORMS[board.name, board.variant]()
    platform.add_resources([
        SPIResource("csr_spi", 0, cs_n="1", copi="2", cipo="3", clk="4", conn=("pmod", 0),
                    role="peripheral", attrs=Attrs(IOSTANDARD="LVCMOS33")),
    ])
    return platform
