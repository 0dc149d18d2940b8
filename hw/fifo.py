"""A FIFO in block RAM."""

from amaranth.lib.fifo import SyncFIFOBuffered


class BlockFifo(SyncFIFOBuffered):
    """``SyncFIFOBuffered`` whose memory synthesis puts into block RAM, however small it is.

    For wide and shallow FIFOs: LUT RAM costs two LUTs for three bits of 32 entries, block RAM comes
    in 72 bits of 512. Latency: two cycles from write to read.
    """

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.submodules.storage.attrs["ram_style"] = "block"
        return m
