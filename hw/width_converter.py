"""LiteDRAM's native port of a narrow memory as one that moves whole vectors."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .axi_native import NativePort
from .config import VECTOR


class WidthConverter(wiring.Component):
    """Vectors of ``wide`` as pieces of ``narrow``, lowest bytes first, one right behind another.

    The next piece to be written waits in a register, and a vector read comes out of one, so that
    no way from the core leads to the memory's pins. A vector is taken when its last piece comes
    into the register. If the memory asks for a piece that is not there, ``late`` is high from then
    on until reset, nothing is written, and vectors are taken when the memory asks for their end.

    Latency: none for commands, one cycle after the last piece for reads.
    """

    def __init__(self, address_width: int, data_width: int):
        """``address_width`` is that of ``wide``. Raises ValueError for another ``data_width``."""
        if data_width not in (8, 16, 32, 64):
            raise ValueError(f"native port: data_width is {data_width}, supported: 8, 16, 32 or 64")
        self.pieces = 8 * VECTOR // data_width
        super().__init__({
            "late": Out(1),
            "wide": In(NativePort(address_width)),
            "narrow": Out(NativePort(address_width + exact_log2(self.pieces), data_width)),
        })

    def elaborate(self, platform):
        m = Module()
        wide, narrow = self.wide, self.narrow
        last = self.pieces - 1
        width = len(narrow.rdata_data)

        # Commands: the lowest bits of the address count.
        command = Signal(range(self.pieces))
        issued = Signal()
        m.d.comb += [
            narrow.cmd_valid.eq(wide.cmd_valid),
            narrow.cmd_we.eq(wide.cmd_we),
            narrow.cmd_addr.eq(Cat(command, wide.cmd_addr)),
            wide.cmd_ready.eq(narrow.cmd_ready & (command == last)),
            issued.eq(wide.cmd_valid & narrow.cmd_ready),
        ]
        m.d.sync += command.eq(command + issued)

        # Write data. What is offered stays, so looking at it before its command is no harm.
        piece, asked = Signal(range(self.pieces)), Signal(range(self.pieces))
        full, torn, fetch = Signal(), Signal(), Signal()
        data, enable = Signal.like(narrow.wdata_data), Signal.like(narrow.wdata_we)
        m.d.comb += [
            fetch.eq(wide.wdata_valid & (~full | narrow.wdata_ready)),
            self.late.eq(torn | (narrow.wdata_ready & ~full)),
            wide.wdata_ready.eq(Mux(self.late, narrow.wdata_ready & (asked == last),
                                    fetch & (piece == last))),
            narrow.wdata_valid.eq(full),
            narrow.wdata_data.eq(data),
            narrow.wdata_we.eq(Mux(self.late, 0, enable)),
        ]
        m.d.sync += torn.eq(self.late)
        with m.If(narrow.wdata_ready):
            m.d.sync += [full.eq(0), asked.eq(asked + 1)]
        with m.If(fetch):
            m.d.sync += [
                full.eq(1),
                piece.eq(piece + 1),
                data.eq(wide.wdata_data.word_select(piece, width)),
                enable.eq(wide.wdata_we.word_select(piece, width // 8)),
            ]

        # Read data.
        place = Signal(range(self.pieces))
        m.d.comb += narrow.rdata_ready.eq(1)
        m.d.sync += wide.rdata_valid.eq(narrow.rdata_valid & (place == last))
        with m.If(narrow.rdata_valid):
            m.d.sync += [
                place.eq(place + 1),
                wide.rdata_data.eq(Cat(wide.rdata_data[width:], narrow.rdata_data)),
            ]
        return m
