"""Digilent Arty A7: Artix-7 with 256 MB of DDR3 on 16 bits.

DSPs of the array: 16 - `table_rows` input channels of 16 x `pixels` lanes, two lanes a DSP; each
requantiser takes two more.
"""

from hw.config import Config
from hw.litedram import Dram

from . import Board

NAME = "arty_a7"
CLOCK_HZ = 100e6
DRAM = Dram(module="MT41K128M16", phy="A7DDRPHY", byte_lanes=2, clock_hz=CLOCK_HZ, input_hz=100e6)

VARIANTS = (
    Board(
        NAME, "35", "xc7a35ticsg324-1L", CLOCK_HZ,
        Config(multiplier="dsp48-packed", table_rows=8, requantisers=8, act_vectors=8192),
        {"lut": 20_800, "ff": 41_600, "bram36": 50, "dsp": 90},
        DRAM,
    ),
    Board(
        NAME, "100", "xc7a100tcsg324-1", CLOCK_HZ,
        Config(pixels=2, multiplier="dsp48-packed", table_rows=4, requantisers=16,
               act_vectors=16384, weight_vectors=2048),
        {"lut": 63_400, "ff": 126_800, "bram36": 135, "dsp": 240},
        DRAM,
    ),
)
