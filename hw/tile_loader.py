"""Weights and parameters from the ring to where they are used, one tile ahead of the array."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .act_memory import read_latency
from .config import VECTOR, Config
from .interfaces import Bytes, ParameterWrite
from .isa import RECORD_VECTORS, ParameterKind
from .multiplier import lut_block
from .stepper import Blocked
from .walker import tile_layout
from .weight_ring import ring_latency


def swap_delay(config: Config) -> int:
    """Cycles from the hand-over of a tile to its swap at the rows (``hw.stepper``), and from a read
    of the ring to the load at the rows, which so is never before the swap of a hand-over."""
    return 3 + read_latency(config)


class TileLoader(wiring.Component):
    """Reads each tile into the shadow registers of the array, then hands it to the stepper.

    The hand-over is the moment the shadow becomes active, so the next tile is read while the one
    before is at work. A tile takes ``config.tile_vectors + 1`` cycles, or what the last table row
    needs (``LOAD_CYCLES`` of its block after its load) if that is more. ``load`` selects the rows
    (input channels) that take ``weights`` in this cycle. Parameter blocks go to the finisher; those
    of group n only when group n - 2 has left it (``group_done``). ``blocked`` tells why a tile
    stands still: its weights, the tile before (RESULTS), or the group (ORDER).
    """

    def __init__(self, config: Config):
        self.config = config
        self.rows_per_vector = VECTOR // config.tile_vectors
        last_table = (config.table_rows - 1) // self.rows_per_vector
        self.settle = max(0, last_table - config.tile_vectors + lut_block(config).LOAD_CYCLES) \
            if config.table_rows else 0
        super().__init__({
            "tile": In(stream.Signature(tile_layout(config))),
            "loaded": Out(stream.Signature(tile_layout(config))),
            "available": In(range(config.weight_vectors + 1)),
            "read_offset": Out(range(config.weight_vectors)),
            "read_enable": Out(1),
            "read_data": In(Bytes),
            "release": Out(1),
            "release_count": Out(range(VECTOR + 1)),
            "load": Out(VECTOR),
            "weights": Out(data.ArrayLayout(data.ArrayLayout(8, config.co_lanes),
                                            self.rows_per_vector)),
            "parameters": Out(stream.Signature(ParameterWrite, always_ready=True)),
            "group_done": In(1),
            "blocked": Out(Blocked),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        tile = self.tile.payload
        size = Signal(range(VECTOR + 1))
        index = Signal(range(VECTOR))
        settle = Signal(range(self.settle + 1))
        groups = Signal(2)
        opens_group = Signal()
        last_parity = Signal(init=1)
        allowed = Signal()
        enough = Signal()

        m.d.comb += [
            size.eq(Mux(tile.parameters, RECORD_VECTORS, config.tile_vectors)),
            self.read_offset.eq(tile.offset + index),
            # The first block of a group, A or B, opens its slot.
            opens_group.eq(tile.parameters
                           & ((tile.kind == ParameterKind.BRANCH_A)
                              | (tile.kind == ParameterKind.BRANCH_B))
                           & (tile.parity != last_parity)),
            allowed.eq(~tile.parameters | (groups != 2)
                       | ((tile.kind == ParameterKind.BRANCH_B) & ~opens_group)),
            enough.eq(self.available >= tile.offset + size),
            self.loaded.payload.eq(tile),
            self.release_count.eq(size),
        ]
        group_opened, group_done = Signal(), self.group_done
        if config.vendor == "ecp5":
            group_done = Signal()  # comes from far away
            m.d.sync += group_done.eq(self.group_done)
        m.d.sync += groups.eq(groups + group_opened - group_done)

        with m.FSM():
            with m.State("READ"):
                with m.If((index != 0) | (self.tile.valid & enough & allowed)):
                    m.d.comb += self.read_enable.eq(1)
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == 0):
                        m.d.comb += group_opened.eq(opens_group)
                        with m.If(opens_group):
                            m.d.sync += last_parity.eq(tile.parity)
                    with m.If(index == size - 1):
                        m.d.comb += self.release.eq(tile.release)
                        m.d.sync += [index.eq(0), settle.eq(self.settle)]
                        with m.If(tile.parameters):
                            m.d.comb += self.tile.ready.eq(1)
                        with m.Else():
                            m.next = "SETTLE" if self.settle else "OFFER"
                with m.Elif(self.tile.valid):
                    m.d.comb += self.blocked.eq(Mux(enough, Blocked.ORDER, Blocked.WEIGHTS))
            with m.State("SETTLE"):
                m.d.sync += settle.eq(settle - 1)
                with m.If(settle == 1):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [
                    self.loaded.valid.eq(1),
                    self.tile.ready.eq(self.loaded.ready),
                ]
                with m.If(self.loaded.ready):
                    m.next = "READ"
                with m.Else():
                    m.d.comb += self.blocked.eq(Blocked.RESULTS)

        # Where each word read goes, delayed with it.
        where = data.StructLayout({
            "valid": 1, "parameters": 1, "kind": ParameterKind, "parity": 1, "index": 4})
        now = Signal(where)
        m.d.comb += [
            now.valid.eq(self.read_enable),
            now.parameters.eq(tile.parameters),
            now.kind.eq(tile.kind),
            now.parity.eq(tile.parity),
            now.index.eq(index),
        ]
        for i in range(swap_delay(config)):
            delayed = Signal(where, name=f"where{i}")
            m.d.sync += delayed.eq(now)
            now = delayed
        word = self.read_data
        for i in range(swap_delay(config) - ring_latency(config)):
            # On Series 7 a reset keeps these from becoming shift registers, which take LUTs.
            held = Signal(Bytes, name=f"word{i}", reset_less=config.vendor == "ecp5")
            m.d.sync += held.eq(word)
            word = held
        m.d.comb += [
            self.weights.as_value().eq(word.as_value()),
            self.parameters.valid.eq(now.valid & now.parameters),
            self.parameters.payload.kind.eq(now.kind),
            self.parameters.payload.parity.eq(now.parity),
            self.parameters.payload.index.eq(now.index),
            self.parameters.payload.records.as_value().eq(word.as_value()),
        ]
        for row in range(VECTOR):
            m.d.comb += self.load[row].eq(
                now.valid & ~now.parameters & (now.index == row // self.rows_per_vector))
        return m
