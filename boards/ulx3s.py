"""Radiona ULX3S: ECP5 with 32 MB of SDR SDRAM on 16 bits, half of which is used.

Multipliers (MULT18X18D): 16 - `table_rows` input channels of `co_lanes` x `pixels` lanes, one lane
each; each requantiser takes four more. The smallest core, of 128 lanes, takes more flip-flops than
the 12F and the 25F have. On the 45F more requantisers and fewer multipliers, at two thirds of the
flip-flops, were more than its wires: the router did not end.
"""

from hw.config import Config
from hw.litedram import Dram

from . import Board

NAME = "ulx3s"
INPUT_HZ = 25e6
COMMANDS = 4
"""With room for one the controller's answer to a command would come from the row that is open, the
longest way of all."""


def _board(variant: str, clock_hz: float, config: Config, resources: dict[str, int]) -> Board:
    device = f"LFE5U-{variant.upper()}-6BG381C"
    dram = Dram(module="MT48LC16M16", phy="GENSDRPHY", byte_lanes=2, clock_hz=clock_hz,
                input_hz=INPUT_HZ, banks=2, command_buffer=COMMANDS, device=device)
    return Board(NAME, variant, device, clock_hz, config, resources, dram, "ecp5")


VARIANTS = (
    _board("85f", 80e6,
           Config(multiplier="mult18", table_rows=12),
           {"lut": 83_640, "ff": 83_640, "bram18": 208, "mult18": 156}),
    _board("45f", 60e6,
           Config(co_lanes=8, multiplier="mult18", table_rows=8, requantisers=1,
                  act_vectors=4096, weight_vectors=1024, line_vectors=256, profile=False),
           {"lut": 43_848, "ff": 43_848, "bram18": 108, "mult18": 72}),
)
