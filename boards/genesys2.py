"""Digilent Genesys 2: Kintex-7 with 1 GB of DDR3 on 32 bits.

A description only: the core is built as an IP block, to be joined to the vendor's controller of
the memory, which has more than the 32 bytes a cycle that the core's port can take at this clock.
"""

from hw.config import Config

from . import Board

VARIANTS = (
    Board("genesys2", "", "xc7k325tffg900-2", 125e6,
          Config(pixels=4, multiplier="dsp48-packed", requantisers=16, act_vectors=16384,
                 weight_vectors=2048),
          {"lut": 203_800, "ff": 407_600, "bram36": 445, "dsp": 840}, None, "ip", 32),
)
