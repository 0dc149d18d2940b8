"""The loops of a pass: strips of pixels, and the weight tiles that each strip meets."""

from contextlib import contextmanager

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import Config
from .isa import ACT_ADDRESS, COUNT, Average, ParameterKind, Source, Walk

POSITION = signed(13)
"""Row or column of the input map, a window beyond its edges included."""


class Cursor(data.Struct):
    """A pixel of the output raster, and where the tap at hand reads for it."""

    x: 11
    """Output column."""
    column: POSITION
    row: POSITION
    address: ACT_ADDRESS


class Raster(data.Struct):
    """Constants of a pass by which a cursor moves and padding is found."""

    last_x: 11
    stride: 3
    row_jump: ACT_ADDRESS
    """Address step from the last column of a row to the first of the next."""
    width: 11
    height: 11
    pad_value: 8
    single: 1


def advance(m, raster, cursor, first_column):
    """The cursor one output pixel further; ``first_column`` is the tap's column at x = 0."""
    following = Signal(Cursor)
    wrap = Signal()
    m.d.comb += [
        wrap.eq(cursor.x == raster.last_x),
        following.x.eq(Mux(wrap, 0, cursor.x + 1)),
        following.column.eq(Mux(wrap, first_column, cursor.column + raster.stride)),
        following.row.eq(cursor.row + Mux(wrap, raster.stride, 0)),
        following.address.eq(cursor.address + Mux(wrap, raster.row_jump, raster.stride)),
    ]
    return following


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
    which is taken at any time. Latency: 4 cycles and ``stride`` to the first strip.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(data.StructLayout({"walk": Walk, "source": Source}))),
            "raster": Out(Raster),
            "strip": Out(stream.Signature(Strip)),
        })

    def elaborate(self, platform):
        m = Module()
        pixels = self.config.pixels
        walk, source, raster = Signal(Walk), Signal(Source), self.raster
        cursor = Signal(Cursor)
        origin_row = Signal(POSITION)
        first_column = Signal(POSITION)
        strip, step = Signal(12), Signal(7)
        steps = Signal(7)
        last_lanes = Signal(3)
        offer = self.strip.payload

        following = [cursor]
        for _ in range(pixels):
            following.append(advance(m, raster, following[-1], first_column))
        step_over = Signal(Cursor)
        first = Signal(Cursor)
        gap = Signal(signed(12))
        turn = Signal.like(source.stride)
        m.d.comb += [
            self.command.ready.eq(1),
            step_over.eq(Mux(raster.single, following[1], following[pixels])),
            steps.eq(walk.steps + (strip < walk.long_strips)),
            first_column.eq(-source.pad_left),
            first.x.eq(0),
            first.column.eq(first_column),
            first.row.eq(origin_row),
            first.address.eq(source.address),
            last_lanes.eq(Mux(raster.single, 1, (source.pixels - 1) % pixels + 1)),
            raster.stride.eq(source.stride),
            raster.width.eq(source.width),
            raster.height.eq(source.height),
            raster.pad_value.eq(source.pad_value),
            raster.single.eq(source.single),
        ]
        m.d.sync += [raster.last_x.eq(source.out_width - 1),
                     gap.eq(source.width - source.out_width)]

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
                    m.d.sync += raster.row_jump.eq(raster.row_jump + gap + 1)
                with m.If(turn == source.stride):
                    m.next = "REWIND"
            with state("REWIND"):
                m.d.sync += cursor.eq(first)
                m.next = "OFFER"
            with state("OFFER"):
                with m.If(~self.strip.valid | self.strip.ready):
                    m.d.sync += [
                        self.strip.valid.eq(1),
                        offer.start.eq(cursor),
                        offer.steps.eq(steps),
                        offer.last.eq(strip + 1 == walk.strips),
                        offer.lanes.eq(Mux(
                            strip + 1 == walk.strips, last_lanes, Mux(raster.single, 1, pixels))),
                        cursor.eq(step_over),
                        step.eq(2),
                    ]
                    with m.If(strip + 1 == walk.strips):
                        m.d.sync += strip.eq(0)
                        m.next = "REWIND"
                    with m.Else():
                        m.d.sync += strip.eq(strip + 1)
                        with m.If(steps != 1):
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
                turn.eq(0),
                origin_row.eq(0),
                raster.row_jump.eq(0),
            ]
        return m


class Tile(data.Struct):
    """One weight tile against one strip, or a block of parameters (``parameters``).

    ``offset`` is the tile's place in the weight ring behind the released pointer; ``release`` frees
    it once read, when no later strip needs it.
    """

    parameters: 1
    kind: ParameterKind
    parity: 1
    offset: 14
    release: 1
    start: Cursor
    first_column: POSITION
    raster: Raster
    steps: 7
    lanes: 3
    half: 1
    branch: 1
    first: 1
    """First tile of the sums: they start at zero."""
    last: 1
    """Last tile of the sums: they leave."""
    group_end: 1
    """With ``last``: the strip ends this branch's group."""
    begins: 1
    """First tile of the pass."""
    ends: 1
    """Last tile of the pass."""
    chained: 1
    layer: COUNT


TileCommand = data.StructLayout({
    "walk": Walk, "source": Source, "rescale": 1, "average": Average, "chained": 1, "layer": COUNT,
})


class TileWalker(wiring.Component):
    """The tiles of a pass in the order of the weight stream (``isa.Walk``), one each two cycles.

    Parameter blocks come before the tiles that need them. Tiles of the last strip of a group are
    released as they are read, so that their room in the ring can be filled again at once.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(TileCommand)),
            "tile": Out(stream.Signature(Tile)),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.strips = strips = StripWalker(config)
        work = Signal(TileCommand)
        walk, source = work.walk, work.source
        tile = self.tile.payload
        groups_a, groups_b, plane = Signal(8), Signal(8), Signal(8)  # groups still to come
        tap_x, tap_y = Signal(4), Signal(4)
        half, branch = Signal(), Signal()
        group_parity, pass_parity = Signal(), Signal()
        offset = Signal(14)
        plane_offset, tap_offset = Signal(ACT_ADDRESS), Signal(ACT_ADDRESS)
        begins = Signal()
        strip = strips.strip.payload
        free = Signal()
        has_a, has_b = Signal(), Signal()
        center, center_rows = Signal(ACT_ADDRESS), Signal.like(source.pad_top)

        last_plane, last_x, last_y, last_half, last_branch, last_group = (
            Signal(name=n) for n in
            ("last_plane", "last_x", "last_y", "last_half", "last_branch", "last_group"))
        m.d.comb += [
            free.eq(~self.tile.valid | self.tile.ready),
            has_a.eq(groups_a.any()),
            has_b.eq(groups_b.any()),
            last_plane.eq(plane + 1 == walk.planes),
            last_x.eq(~branch | (tap_x + 1 == walk.kernel)),
            last_y.eq(~branch | (tap_y + 1 == walk.kernel)),
            last_half.eq(half == config.halves - 1),
            last_branch.eq(branch | ~has_b),
            last_group.eq(~groups_a[1:].any() & ~groups_b[1:].any()),
        ]

        # The tap's offset is kept by additions; branch A sits at the window's centre.
        row_gap = Signal(signed(12))
        m.d.comb += row_gap.eq(source.width - walk.kernel + 1)
        with m.If(center_rows.any()):
            m.d.sync += [center.eq(center + source.width), center_rows.eq(center_rows - 1)]
        column_shift, row_shift = Signal(4), Signal(4)
        with m.If(branch):
            m.d.comb += [column_shift.eq(tap_x), row_shift.eq(tap_y)]
        with m.Else():
            m.d.comb += [column_shift.eq(source.pad_left), row_shift.eq(source.pad_top)]

        def offer_parameters(kind, parity):
            m.d.sync += [
                self.tile.valid.eq(1),
                tile.parameters.eq(1),
                tile.kind.eq(kind),
                tile.parity.eq(parity),
                tile.offset.eq(0),
                tile.release.eq(1),
            ]

        with m.If(self.tile.ready):
            m.d.sync += self.tile.valid.eq(0)
        m.d.comb += [
            strips.command.payload.walk.eq(self.command.payload.walk),
            strips.command.payload.source.eq(self.command.payload.source),
        ]
        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE") & ~self.tile.valid)
            with m.State("IDLE"):
                m.d.comb += [
                    self.command.ready.eq(1),
                    strips.command.valid.eq(self.command.valid),
                ]
                with m.If(self.command.valid):
                    # The groups are 0 here, so that a load shares their adders.
                    m.d.sync += [
                        work.eq(self.command.payload),
                        begins.eq(1),
                        groups_a.eq(groups_a + self.command.payload.walk.groups_a),
                        groups_b.eq(groups_b + self.command.payload.walk.groups_b),
                        center.eq(self.command.payload.source.pad_left),
                        center_rows.eq(self.command.payload.source.pad_top),
                    ]
                    m.next = "RESCALE-A"
            with m.State("RESCALE-A"):
                with m.If(free):
                    with m.If(work.rescale & (walk.groups_a != 0)):
                        offer_parameters(ParameterKind.RESCALE_A, pass_parity)
                    m.next = "RESCALE-B"
            with m.State("RESCALE-B"):
                with m.If(free):
                    with m.If(work.rescale & (walk.groups_b != 0)):
                        offer_parameters(ParameterKind.RESCALE_B, pass_parity)
                    m.next = "AVERAGE"
            with m.State("AVERAGE"):
                with m.If(free):
                    with m.If(work.average == Average.QUANTISED):
                        offer_parameters(ParameterKind.AVERAGE, pass_parity)
                    m.d.sync += pass_parity.eq(~pass_parity)
                    m.next = "GROUP-A"
            with m.State("GROUP-A"):
                with m.If(free):
                    with m.If(has_a):
                        offer_parameters(ParameterKind.BRANCH_A, group_parity)
                    m.next = "GROUP-B"
            with m.State("GROUP-B"):
                with m.If(free):
                    with m.If(has_b):
                        offer_parameters(ParameterKind.BRANCH_B, group_parity)
                    m.next = "STRIP"
            with m.State("STRIP"):
                m.d.sync += [
                    offset.eq(0),
                    branch.eq(~has_a),
                    half.eq(0),
                    tap_x.eq(0),
                    tap_y.eq(0),
                    plane.eq(0),
                    plane_offset.eq(0),
                    tap_offset.eq(Mux(has_a, center, 0)),
                ]
                with m.If(strips.strip.valid & ~center_rows.any()):
                    m.next = "TILE"
            with m.State("TILE"):
                with m.If(free):
                    m.d.sync += [
                        self.tile.valid.eq(1),
                        tile.parameters.eq(0),
                        tile.parity.eq(group_parity),
                        tile.offset.eq(offset),
                        tile.release.eq(strip.last),
                        tile.start.x.eq(strip.start.x),
                        tile.start.column.eq(strip.start.column + column_shift),
                        tile.start.row.eq(strip.start.row + row_shift),
                        tile.start.address.eq(
                            strip.start.address + tap_offset + plane_offset),
                        tile.first_column.eq(column_shift - source.pad_left),
                        tile.raster.eq(strips.raster),
                        tile.steps.eq(strip.steps),
                        tile.lanes.eq(strip.lanes),
                        tile.half.eq(half),
                        tile.branch.eq(branch),
                        tile.first.eq((plane == 0) & (tap_x == 0) & (tap_y == 0)),
                        tile.last.eq(last_plane & last_x & last_y),
                        tile.group_end.eq(strip.last),
                        tile.begins.eq(begins),
                        tile.ends.eq(last_plane & last_x & last_y & last_half & last_branch
                                     & strip.last & last_group),
                        tile.chained.eq(work.chained),
                        tile.layer.eq(work.layer),
                        begins.eq(0),
                    ]
                    m.next = "NEXT"
            with m.State("NEXT"):
                with m.If(~tile.release):
                    m.d.sync += offset.eq(offset + config.tile_vectors)
                m.next = "TILE"
                with m.If(~last_plane):
                    m.d.sync += [
                        plane.eq(plane + 1),
                        plane_offset.eq(plane_offset + source.plane),
                    ]
                with m.Else():
                    m.d.sync += [plane.eq(0), plane_offset.eq(0)]
                    with m.If(~last_x):
                        m.d.sync += [tap_x.eq(tap_x + 1), tap_offset.eq(tap_offset + 1)]
                    with m.Else():
                        m.d.sync += tap_x.eq(0)
                        with m.If(~last_y):
                            m.d.sync += [
                                tap_y.eq(tap_y + 1),
                                tap_offset.eq(tap_offset + row_gap),
                            ]
                        with m.Else():
                            m.d.sync += tap_y.eq(0)
                            with m.If(branch | last_half):
                                m.d.sync += tap_offset.eq(0)
                            with m.If(~last_half):
                                m.d.sync += half.eq(1)
                            with m.Else():
                                m.d.sync += half.eq(0)
                                with m.If(~last_branch):
                                    m.d.sync += branch.eq(1)
                                with m.Else():
                                    m.d.comb += strips.strip.ready.eq(1)
                                    m.next = "STRIP"
                                    with m.If(strip.last):
                                        m.d.sync += [
                                            groups_a.eq(groups_a - has_a),
                                            groups_b.eq(groups_b - has_b),
                                            group_parity.eq(~group_parity),
                                        ]
                                        m.next = "GROUP-A"
                                        with m.If(last_group):
                                            m.next = "IDLE"
        return m
