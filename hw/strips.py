"""Strips of output pixels: the outermost loop of a pass but that over the groups."""

from contextlib import contextmanager

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import Config
from .isa import Source, Walk
from .raster import COLUMN, ROW, Cursor, Jump, jumped, raster_layout


class Strip(data.Struct):
    """Consecutive output pixels that meet every tile of a group before the next strip does."""

    start: Cursor
    """The first pixel at tap (0, 0) of plane 0."""
    steps: 7
    lanes: 3
    """Pixels of the last step."""
    last: 1
    """The last strip of the raster."""


class StripWalker(wiring.Component):
    """The strips of a pass, over and over (once for every group) until the next command.

    Takes ``steps`` cycles a strip, which is the time the array needs for the shortest one (a
    single tile), so that the array never waits for it. ``raster`` is stable until the next command,
    which is taken at any time. Latency to the first strip: 4 cycles and ``stride``, with several
    pixels a step ``pixels + 1`` more.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(data.StructLayout({"walk": Walk, "source": Source}))),
            "raster": Out(raster_layout(config)),
            "strip": Out(stream.Signature(Strip)),
        })

    def elaborate(self, platform):
        m = Module()
        pixels = self.config.pixels
        walk, source, raster = Signal(Walk), Signal(Source), self.raster
        cursor, first = Signal(Cursor), Signal(Cursor)
        origin_row = Signal(ROW)
        turn, step = Signal.like(source.stride), Signal(7)
        last_lanes = Signal(3)
        offer = self.strip.payload

        # A strip's number is that of the next one: what is found from it is ready in time.
        strip, steps, final = Signal(12), Signal(7), Signal()
        following = [
            steps.eq(walk.steps + (strip < walk.long_strips)),
            final.eq(strip + 1 == walk.strips),
            strip.eq(strip + 1),
        ]

        # The jump by a pixel, and those by ``several``, found by going pixel by pixel.
        last_x, last_column = Signal(11), Signal(COLUMN)
        gap = Signal(signed(12))
        pixel, new, reach = Signal(Jump), Signal(Jump), Signal(Cursor)
        several = Signal(data.ArrayLayout(Jump, pixels - 1))
        row_jump = Signal.like(reach.address)
        m.d.sync += [last_x.eq(source.out_width - 1), gap.eq(source.width - source.out_width)]
        m.d.comb += [
            pixel.limit.eq(last_column),
            pixel.direct.column.eq(source.stride),
            pixel.direct.address.eq(source.stride),
            pixel.wrapped.column.eq(-last_column),
            pixel.wrapped.row.eq(source.stride),
            pixel.wrapped.address.eq(row_jump),
            new.limit.eq(last_column - reach.column + 1),
            new.direct.eq(reach),
            new.wrapped.column.eq(reach.column - last_column - source.stride),
            new.wrapped.row.eq(reach.row + source.stride),
            new.wrapped.address.eq(reach.address + row_jump - source.stride),
        ]
        jumps = [pixel, *several]

        step_over = jumped(m, raster.step, cursor, "step_over",
                           eager=self.config.vendor == "ecp5")
        m.d.comb += [
            self.command.ready.eq(1),
            first.row.eq(origin_row),
            first.address.eq(source.address),
            last_lanes.eq(Mux(raster.single, 1, (source.pixels - 1) % pixels + 1)),
            raster.height.eq(source.height),
            raster.pad_value.eq(source.pad_value),
            raster.single.eq(source.single),
        ]
        m.d.comb += [lane.eq(jump) for lane, jump in zip(raster.lanes, jumps, strict=False)]
        if pixels == 1:
            m.d.comb += raster.step.eq(pixel)

        with m.If(self.strip.ready):
            m.d.sync += self.strip.valid.eq(0)

        @contextmanager
        def state(name):
            """A state that a command ends."""
            with m.State(name):
                yield
                with m.If(self.command.valid):
                    m.next = "PREPARE"

        with m.FSM():
            with state("IDLE"):
                pass
            with state("PREPARE"):
                # Products with the stride, by additions.
                m.d.sync += [
                    turn.eq(turn + 1),
                    origin_row.eq(origin_row + Mux(turn == 0, -source.pad_top, source.row)),
                ]
                with m.If(turn != 0):
                    m.d.sync += [
                        row_jump.eq(row_jump + gap + 1),
                        last_column.eq(last_column + last_x),
                    ]
                with m.If(turn == source.stride):
                    m.next = "REACH" if pixels > 1 else "REWIND"
            if pixels > 1:
                with state("REACH"):
                    m.d.sync += [
                        step.eq(step + 1),
                        reach.eq(jumped(m, pixel, reach, "reach_next")),
                        several.eq(Cat(*several[1:], new)),
                    ]
                    with m.If(step == pixels):
                        m.next = "REWIND"
            with state("REWIND"):
                m.d.sync += [cursor.eq(first), *following]
                if pixels > 1:
                    m.d.sync += raster.step.eq(Mux(raster.single, pixel, jumps[-1]))
                m.next = "OFFER"
            with state("OFFER"):
                with m.If(~self.strip.valid | self.strip.ready):
                    m.d.sync += [
                        self.strip.valid.eq(1),
                        offer.start.eq(cursor),
                        offer.steps.eq(steps),
                        offer.last.eq(final),
                        offer.lanes.eq(Mux(final, last_lanes, Mux(raster.single, 1, pixels))),
                        cursor.eq(step_over),
                        step.eq(2),
                        *following,
                    ]
                    with m.If(final):
                        m.d.sync += strip.eq(0)
                        m.next = "REWIND"
                    with m.Elif(steps != 1):
                        m.next = "WALK"
            with state("WALK"):
                # `steps` already belongs to the strip after the one that is walked.
                m.d.sync += [cursor.eq(step_over), step.eq(step + 1)]
                with m.If(step == offer.steps):
                    m.next = "OFFER"
        with m.If(self.command.valid):
            m.d.sync += [
                walk.eq(self.command.payload.walk),
                source.eq(self.command.payload.source),
                self.strip.valid.eq(0),
                strip.eq(0),
                step.eq(0),
                turn.eq(0),
                origin_row.eq(0),
                row_jump.eq(0),
                last_column.eq(0),
                reach.eq(0),
            ]
        return m
