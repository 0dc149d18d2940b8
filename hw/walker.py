"""The loops of a pass over the weight tiles that each strip of pixels meets."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import Config
from .isa import ACT_ADDRESS, COUNT, Average, ParameterKind, Source, Walk
from .raster import COLUMN, Cursor, raster_layout
from .strips import StripWalker

TAP = 4


def tile_layout(config: Config) -> data.StructLayout:
    """One weight tile against one strip, or a block of parameters (``parameters``).

    * ``offset``: its place in the weight ring behind the released pointer; ``release`` frees it
      once read, when no later strip needs it.
    * ``left``, ``right``: the tap reads inside the map from column ``left`` up to before ``right``
      (columns as in ``raster.Cursor``).
    * ``first``, ``last``: of its sums, which start at zero and leave.
    * ``group_end``: with ``last``, the strip ends this branch's group.
    * ``begins``, ``ends``: first and last tile of the pass.
    """
    return data.StructLayout({
        "parameters": 1, "kind": ParameterKind, "parity": 1, "offset": 14, "release": 1,
        "start": Cursor, "left": signed(TAP + 1), "right": signed(COLUMN + 1),
        "raster": raster_layout(config), "steps": 7, "lanes": 3, "half": 1,
        "branch": 1, "first": 1, "last": 1, "group_end": 1,
        "begins": 1, "ends": 1, "chained": 1, "layer": COUNT,
    })


TileCommand = data.StructLayout({
    "walk": Walk, "source": Source, "rescale": 1, "average": Average, "chained": 1, "layer": COUNT,
})


class TileWalker(wiring.Component):
    """The tiles of a pass in the order of the weight stream (``isa.Walk``), one each two cycles.

    Parameter blocks come before the tiles that need them. Tiles of the last strip of a group are
    released as they are read, and with ``refetch`` those of every strip, so that their room in the
    ring can be filled again at once.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(TileCommand)),
            "tile": Out(stream.Signature(tile_layout(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.strips = strips = StripWalker(config)
        work = Signal(TileCommand, reset_less=True)
        walk, source = work.walk, work.source
        tile = self.tile.payload
        groups_a, groups_b, plane = Signal(8), Signal(8), Signal(8)  # groups still to come
        tap_x, tap_y = Signal(TAP), Signal(TAP)
        half, branch = Signal(), Signal()
        group_parity, pass_parity = Signal(), Signal()
        offset = Signal(14)
        plane_offset, tap_offset = Signal(ACT_ADDRESS), Signal(ACT_ADDRESS)
        begins = Signal()
        strip = strips.strip.payload
        free = Signal()
        has_a, has_b = Signal(), Signal()
        center, center_rows = Signal(ACT_ADDRESS), Signal.like(source.pad_top)
        centered = Signal()  # a register, for the states are far away

        names = "plane", "x", "y", "half", "branch", "group"
        lasts = last_plane, last_x, last_y, last_half, last_branch, last_group = [
            Signal(name=f"last_{name}") for name in names]
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

        # How many of the loops end with the tile at hand, for the state that comes after it.
        ended = [Signal(name=f"ended_{name}") for name in names[:-1]]
        at_last_group = Signal()
        m.d.sync += at_last_group.eq(last_group)
        ends, ends_strip = 1, Signal()
        for last, end in zip(lasts[:-1], ended, strict=True):
            ends = ends & last
            m.d.sync += end.eq(ends)
        m.d.comb += ends_strip.eq(ends)
        plane_ended, x_ended, y_ended, half_ended, strip_ended = ended

        # The tap's offset is kept by additions; branch A sits at the window's centre.
        row_gap = Signal(signed(12))
        m.d.comb += row_gap.eq(source.width - walk.kernel + 1)
        with m.If(center_rows.any()):
            m.d.sync += [center.eq(center + source.width), center_rows.eq(center_rows - 1)]
        m.d.sync += centered.eq(~center_rows.any())
        column_shift, row_shift = Signal(TAP), Signal(TAP)
        edge = Signal(COLUMN)
        m.d.sync += edge.eq(source.width + source.pad_left)
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
        # What parameters have no use for is taken whenever there is room for it.
        with m.If(free):
            m.d.sync += [
                tile.start.column.eq(strip.start.column),
                tile.start.row.eq(strip.start.row + row_shift),
                tile.start.address.eq(strip.start.address + tap_offset + plane_offset),
                tile.left.eq(source.pad_left - column_shift),
                tile.right.eq(edge - column_shift),
                tile.raster.eq(strips.raster),
                tile.steps.eq(strip.steps),
                tile.lanes.eq(strip.lanes),
                tile.half.eq(half),
                tile.branch.eq(branch),
                tile.first.eq((plane == 0) & (tap_x == 0) & (tap_y == 0)),
                tile.last.eq(last_plane & last_x & last_y),
                tile.group_end.eq(strip.last),
                tile.begins.eq(begins),
                tile.ends.eq(ends_strip & strip.last & last_group),
                tile.chained.eq(work.chained),
                tile.layer.eq(work.layer),
            ]
        starts, given = Signal(), self.command.payload
        late = config.vendor == "ecp5"
        if late:
            given = work
        m.d["sync" if late else "comb"] += strips.command.valid.eq(starts)
        m.d.sync += strips.strip.ready.eq(0)
        m.d.comb += [
            strips.command.payload.walk.eq(given.walk),
            strips.command.payload.source.eq(given.source),
        ]
        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE") & ~self.tile.valid)
            with m.State("IDLE"):
                m.d.comb += [
                    self.command.ready.eq(1),
                    starts.eq(self.command.valid),
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
                with m.If(strips.strip.valid & ~strips.strip.ready & centered):
                    m.next = "TILE"
            with m.State("TILE"):
                with m.If(free):
                    m.d.sync += [
                        self.tile.valid.eq(1),
                        tile.parameters.eq(0),
                        tile.parity.eq(group_parity),
                        tile.offset.eq(offset),
                        tile.release.eq(strip.last | walk.refetch),
                        begins.eq(0),
                    ]
                    m.next = "NEXT"
            with m.State("NEXT"):
                with m.If(~tile.release):
                    m.d.sync += offset.eq(offset + config.tile_vectors)
                m.d.sync += [
                    strips.strip.ready.eq(strip_ended),
                    plane.eq(Mux(plane_ended, 0, plane + 1)),
                    plane_offset.eq(Mux(plane_ended, 0, plane_offset + source.plane)),
                ]
                m.next = "TILE"
                with m.If(plane_ended):
                    m.d.sync += [
                        tap_x.eq(Mux(x_ended, 0, tap_x + 1)),
                        tap_offset.eq(tap_offset + Mux(x_ended, row_gap, 1)),
                    ]
                with m.If(x_ended):
                    m.d.sync += tap_y.eq(Mux(y_ended, 0, tap_y + 1))
                with m.If(y_ended):
                    m.d.sync += [
                        half.eq(~half_ended),
                        tap_offset.eq(Mux(branch | half_ended, 0, tap_offset)),
                    ]
                with m.If(half_ended):
                    m.d.sync += branch.eq(1)
                with m.If(strip_ended):
                    m.next = "STRIP"
                    with m.If(strip.last):
                        m.d.sync += [
                            groups_a.eq(groups_a - has_a),
                            groups_b.eq(groups_b - has_b),
                            group_parity.eq(~group_parity),
                        ]
                        m.next = "GROUP-A"
                        with m.If(at_last_group):
                            m.next = "IDLE"
        return m
