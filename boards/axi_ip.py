"""The core alone as an IP block for Zynq and others, in sizes; `device` is a part that each fits.

Variants are numbers of lanes. `bus_bytes`: one high-performance port of a Zynq-7000, 64 bits at
twice the core's clock, and two of them for the largest.
"""

from hw.config import Config

from . import Board

NAME = "axi_ip"
CLOCK_HZ = 100e6
Z7020 = "xc7z020clg400-1", {"lut": 53_200, "ff": 106_400, "bram36": 140, "dsp": 220}
Z7045 = "xc7z045ffg900-2", {"lut": 218_600, "ff": 437_200, "bram36": 545, "dsp": 900}


def _board(part: tuple[str, dict[str, int]], bus_bytes: int, config: Config) -> Board:
    device, resources = part
    return Board(NAME, str(config.lanes), device, CLOCK_HZ, config, resources, None, "ip",
                 bus_bytes)


VARIANTS = (
    _board(Z7020, 16, Config(multiplier="dsp48-packed")),
    _board(Z7020, 16, Config(pixels=2, multiplier="dsp48-packed", table_rows=6, requantisers=16,
                             act_vectors=16384, weight_vectors=2048)),
    _board(Z7045, 32, Config(pixels=4, multiplier="dsp48-packed", requantisers=16,
                             act_vectors=16384, weight_vectors=2048)),
)
