"""The residual reader: the bypass operand of an add, in the order of the results."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import Config
from .interfaces import Bytes, ReadClient
from .isa import Residual, Source, Walk
from .linear_reader import LinearReader

PREFETCH = 64
"""Vectors fetched ahead of the results."""

PIXELS = Source.as_shape()["pixels"].shape

Command = data.StructLayout({"residual": Residual, "walk": Walk, "pixels": PIXELS, "single": 1})
"""A pass with a bypass operand; ``pixels`` and ``single`` are those of its ``isa.Source``."""


class ResidualReader(wiring.Component):
    """For every group, strip and branch of a pass, the strip's vectors of that branch's plane.

    A strip has ``steps`` pixels times ``Config.pixels`` (times 1 if ``single``), the first
    ``long_strips`` one step more; the last strip holds what remains of ``pixels``. The reader asks
    for one run a cycle and fetches up to ``PREFETCH`` vectors ahead; the output gives one vector a
    cycle, passes without gaps, as long as memory delivers.

    Members
    -------
    command : In(stream(Command)), at least one group, strip and pixel
    output : Out(stream(Bytes))
    client : Out(ReadClient())
    idle : Out(1)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(Command)),
            "output": Out(stream.Signature(Bytes)),
            "client": Out(ReadClient()),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = LinearReader(self.config, PREFETCH)
        wiring.connect(m, reader.client, wiring.flipped(self.client))
        wiring.connect(m, reader.output, wiring.flipped(self.output))

        # The pass under way: groups count down and addresses advance by a plane a group.
        work, busy = Signal(Command), Signal()
        walk, residual = work.walk, work.residual
        strip = Signal(walk.strips.shape())
        start = Signal(PIXELS)  # first pixel of the strip
        second = Signal()  # A of this strip was asked for, B remains

        is_b, last_branch, last_strip, last_group = (Signal() for _ in range(4))
        steps, length = Signal(walk.steps.shape().width + 1), Signal(PIXELS)
        m.d.comb += [
            is_b.eq(second | ~walk.groups_a.any()),
            last_branch.eq(is_b | ~walk.groups_b.any()),
            last_strip.eq(strip + 1 == walk.strips),
            last_group.eq(~walk.groups_a[1:].any() & ~walk.groups_b[1:].any()),
            steps.eq(walk.steps + (strip < walk.long_strips)),
            length.eq(Mux(work.single, steps, steps << exact_log2(self.config.pixels))),
            reader.transfer.valid.eq(busy),
            reader.transfer.payload.address.eq(
                Mux(is_b, residual.address_b, residual.address_a) + start
            ),
            reader.transfer.payload.count.eq(Mux(last_strip, work.pixels - start, length)),
        ]
        asked, ends = Signal(), Signal()
        m.d.comb += [
            asked.eq(reader.transfer.valid & reader.transfer.ready),
            ends.eq(asked & last_branch & last_strip & last_group),
        ]
        with m.If(asked):
            m.d.sync += second.eq(~last_branch)
        with m.If(asked & last_branch):
            m.d.sync += [strip.eq(strip + 1), start.eq(start + length)]
            with m.If(last_strip):
                m.d.sync += [
                    strip.eq(0),
                    start.eq(0),
                    walk.groups_a.eq(walk.groups_a - walk.groups_a.any()),
                    walk.groups_b.eq(walk.groups_b - walk.groups_b.any()),
                    residual.address_a.eq(residual.address_a + residual.plane),
                    residual.address_b.eq(residual.address_b + residual.plane),
                ]

        m.d.comb += self.command.ready.eq(~busy | ends)
        with m.If(self.command.ready):
            m.d.sync += [busy.eq(self.command.valid), work.eq(self.command.payload)]
        m.d.comb += self.idle.eq(
            ~self.command.valid & ~busy & reader.idle & ~reader.output.valid
        )
        return m
