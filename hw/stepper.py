"""The steps of a tile: which pixels are read, where, and what becomes of their products."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .act_memory import read_latency
from .config import VECTOR, Config
from .interfaces import Bytes
from .isa import ACT_ADDRESS, COUNT
from .raster import COLUMN, Cursor, jumped
from .walker import tile_layout


def step_layout(config: Config) -> data.StructLayout:
    """What travels beside a step's pixels through the array to the accumulators."""
    return data.StructLayout({
        "valid": 1,
        "index": range(config.strip_steps),
        "lanes": range(config.pixels + 1),
        "first": 1,
        "last": 1,
        "half": 1,
        "branch": 1,
        "parity": 1,
        "group_end": 1,
    })


class Blocked(enum.Enum, shape=2):
    """Why no step is issued in a cycle."""

    NONE = 0
    WEIGHTS = 1
    RESULTS = 2
    ORDER = 3


class Stepper(wiring.Component):
    """Issues one step a cycle: addresses to the activation memory, pixels to the array.

    A tile's first step is issued one cycle after its hand-over, the next tile follows without
    a gap; ``x`` and ``step`` leave 2 + ``read_latency`` cycles after the issue, ``swap`` always
    ``swap_delay`` cycles after the hand-over, even if the first step has to wait. Positions outside
    the map read as the padding value. ``credit`` pulses when a result FIFO of a half has given an
    entry away; a step that ends its sums is issued only with room for it, so nothing behind the
    stepper ever stalls. A pass that is chained waits until no earlier pass is unwritten
    (``written`` pulses once a pass). The pixels of a step must be in distinct banks. ``ends``: the
    step issued is the last of its pass.
    """

    def __init__(self, config: Config, room: int):
        self.config, self.room = config, room
        super().__init__({
            "tile": In(stream.Signature(tile_layout(config))),
            "read_enable": Out(config.pixels),
            "read_address": Out(data.ArrayLayout(ACT_ADDRESS, config.pixels)),
            "read_data": In(data.ArrayLayout(Bytes, config.pixels)),
            "x": Out(data.ArrayLayout(Bytes, config.pixels)),
            "swap": Out(1),
            "step": Out(step_layout(config)),
            "credit": In(config.halves),
            "written": In(1),
            "read_done": Out(1),
            "active": Out(1),
            "issued": Out(1),
            "ends": Out(1),
            "blocked": Out(Blocked),
            "layer": Out(COUNT),
        })

    def elaborate(self, platform):
        m = Module()
        config, pixels = self.config, self.config.pixels
        tile = Signal(tile_layout(config), reset_less=True)
        busy = Signal()
        cursor = Signal(Cursor)
        index = Signal(range(config.strip_steps))
        last_step = Signal()
        issue = Signal()
        room = [Signal(range(self.room + 1), init=self.room, name=f"room{h}")
                for h in range(config.halves)]
        some = [Signal(init=1, name=f"some{h}") for h in range(config.halves)]  # room that is not 0
        room_here = Signal()
        unwritten = Signal(4)
        moves, between = Signal(), Signal()
        take, taken, began, too_early = Signal(), Signal(), Signal(), Signal()
        offered = self.tile.payload

        def reads_map(row, column):
            return ((row >= 0) & (row < tile.raster.height)
                    & (column >= tile.left) & (column < tile.right))

        places, is_inside = [cursor], [reads_map(cursor.row, cursor.column)]
        for n, jump in enumerate(tile.raster.lanes):
            places.append(jumped(m, jump, cursor, f"place_{n + 1}"))
            # Both ways at once: to look at the place itself would be an addition later.
            wrapped, direct = (
                reads_map((cursor.row + way.row)[:len(cursor.row)].as_signed(),
                          (cursor.column + way.column)[:COLUMN])
                for way in (jump.wrapped, jump.direct))
            is_inside.append(Mux(cursor.column >= jump.limit, wrapped, direct))
        step_over = jumped(m, tile.raster.step, cursor, "step_over",
                           eager=config.vendor == "ecp5")
        # A tile is offered long after the one before was taken: on an ECP5 this may come late.
        m.d["sync" if config.vendor == "ecp5" else "comb"] += too_early.eq(
            offered.begins & offered.chained & (began | unwritten.any()))
        m.d.comb += [
            room_here.eq(~tile.last | Mux(tile.half, some[-1], some[0])),
            issue.eq(busy & room_here),
            moves.eq(~busy | room_here),
            between.eq(~busy | last_step),
            # Not from ``moves``, which moves much and may be far from here.
            self.tile.ready.eq((~busy | (room_here & last_step)) & ~too_early),
            take.eq(self.tile.valid & self.tile.ready),
            self.issued.eq(issue),
            self.ends.eq(issue & last_step & tile.ends),
        ]
        # Between tiles the next one is loaded, valid or not: nothing is looked at unless busy.
        with m.If(moves):
            m.d.sync += [
                index.eq(Mux(between, 0, index + 1)),
                last_step.eq(Mux(between, offered.steps == 1, index == tile.steps - 2)),
                cursor.eq(Mux(between, offered.start, step_over)),
            ]
            with m.If(between):
                m.d.sync += [busy.eq(take), tile.eq(offered)]
        m.d.sync += [taken.eq(take), began.eq(take & offered.begins)]
        with m.If(take & offered.begins):
            m.d.sync += [self.active.eq(1), self.layer.eq(offered.layer)]
        with m.If(issue & last_step & tile.ends & ~(take & offered.begins)):
            m.d.sync += self.active.eq(0)
        m.d.sync += unwritten.eq(unwritten + began - self.written)
        # The room lacks the credit of the cycle before, so that the new one goes nowhere but here.
        credit = Signal(config.halves)
        m.d.sync += credit.eq(self.credit)
        for half, count in enumerate(room):
            left = count - (issue & tile.last & (tile.half == half)) + credit[half]
            m.d.sync += [count.eq(left), some[half].eq(left.any() | self.credit[half])]

        with m.If(busy):
            m.d.comb += self.blocked.eq(Mux(room_here, Blocked.NONE, Blocked.RESULTS))
        with m.Elif(self.tile.valid):
            m.d.comb += self.blocked.eq(Blocked.ORDER)
        with m.Else():
            m.d.comb += self.blocked.eq(Blocked.WEIGHTS)

        # Issue, then address register, memory, padding: ``swap_delay`` counts from the hand-over,
        # one cycle before the first issue.
        step = Signal(step_layout(config))
        m.d.comb += [
            step.valid.eq(issue),
            step.index.eq(index),
            step.lanes.eq(Mux(last_step, tile.lanes, Mux(tile.raster.single, 1, pixels))),
            step.first.eq(tile.first),
            step.last.eq(tile.last),
            step.half.eq(tile.half),
            step.branch.eq(tile.branch),
            step.parity.eq(tile.parity),
            step.group_end.eq(tile.group_end & last_step),
        ]
        inside = Signal(pixels)
        for lane in range(pixels):
            here = places[lane]
            m.d.comb += inside[lane].eq(is_inside[lane] & (lane < step.lanes))
            m.d.sync += [
                self.read_address[lane].eq(here.address),
                self.read_enable[lane].eq(issue & inside[lane]),
            ]
        beside = data.StructLayout({
            "step": step_layout(config), "swap": 1, "inside": pixels, "pad_value": 8,
            "read_done": 1})
        now = Signal(beside)
        m.d.comb += [
            now.step.eq(step),
            # With the hand-over, not with the first step, which may have to wait for room: the
            # loader writes the shadow of the next tile already.
            now.swap.eq(taken),
            now.inside.eq(inside),
            now.pad_value.eq(tile.raster.pad_value),
            now.read_done.eq(self.ends),
        ]
        for i in range(1 + read_latency(config)):
            delayed = Signal(beside, name=f"beside{i}")
            m.d.sync += delayed.eq(now)
            now = delayed
        m.d.sync += [self.step.eq(now.step), self.swap.eq(now.swap),
                     self.read_done.eq(now.read_done)]
        for lane in range(pixels):
            for channel in range(VECTOR):
                m.d.sync += self.x[lane][channel].eq(
                    Mux(now.inside[lane], self.read_data[lane][channel], now.pad_value))
        return m
