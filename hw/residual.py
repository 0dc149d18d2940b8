"""The residual reader: the bypass operand of an add, in the order of the results."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import Config
from .interfaces import Bytes, ReadClient, Transfer
from .isa import EXTERNAL_ADDRESS, Residual, Source, Walk
from .linear_reader import LinearReader

PREFETCH = 64
"""Vectors fetched ahead of the results."""

PIXELS = Source.as_shape()["pixels"].shape

Command = data.StructLayout({"residual": Residual, "walk": Walk, "pixels": PIXELS, "single": 1})
"""A pass with a bypass operand; ``pixels`` and ``single`` are those of its ``isa.Source``."""


class ResidualReader(wiring.Component):
    """For every group, strip and branch of a pass, the strip's vectors of that branch's plane.

    A strip has ``steps`` pixels times ``Config.pixels`` (times 1 if ``single``), the first
    ``long_strips`` one step more; the last strip holds what remains of ``pixels``. The reader
    asks for a run in four cycles, a cycle more for a group, and fetches up to ``PREFETCH`` vectors
    ahead; the output gives one vector a cycle, over strips, groups and passes, as long as memory
    delivers.

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
        m.submodules.reader = reader = LinearReader(self.config, PREFETCH, PIXELS)
        wiring.connect(m, reader.client, wiring.flipped(self.client))
        wiring.connect(m, reader.output, wiring.flipped(self.output))

        # The pass under way. Counters and addresses are 0 before they are loaded, so that a load
        # shares their adder: groups count down over a pass, the others over a group.
        work = Signal(Command, reset_less=True)
        walk, residual = work.walk, work.residual
        new = self.command.payload
        groups_a, groups_b = Signal.like(walk.groups_a), Signal.like(walk.groups_b)
        plane = Signal(EXTERNAL_ADDRESS)  # of the group, from the address of the branch on
        place = Signal(EXTERNAL_ADDRESS)  # of the strip, likewise
        pixels = Signal(PIXELS)  # of the group that no strip was asked for
        strips, long_strips = Signal.like(walk.strips), Signal.like(walk.long_strips)
        run = Signal(Transfer)
        second = Signal()  # A of this strip was asked for, B remains

        is_b, last_branch, last_strip, last_group = (
            Signal(name=n) for n in ("is_b", "last_branch", "last_strip", "last_group"))
        steps, length = Signal(walk.steps.shape().width + 1), Signal(PIXELS)
        m.d.comb += [
            is_b.eq(second | ~groups_a.any()),
            last_branch.eq(is_b | ~groups_b.any()),
            last_strip.eq(strips == 1),
            last_group.eq(~groups_a[1:].any() & ~groups_b[1:].any()),
            steps.eq(walk.steps + long_strips.any()),
            reader.transfer.payload.eq(run),
        ]
        load, begin, advance, end = (Signal(name=n) for n in ("load", "begin", "advance", "end"))
        with m.If(load | end):
            m.d.sync += [
                groups_a.eq(groups_a + Mux(load, new.walk.groups_a, -groups_a.any())),
                groups_b.eq(groups_b + Mux(load, new.walk.groups_b, -groups_b.any())),
                plane.eq(plane + residual.plane),
            ]
        with m.If(load):
            m.d.sync += [work.eq(new), plane.eq(0)]
        with m.If(begin | advance):
            m.d.sync += [
                place.eq(place + Mux(begin, plane, length)),
                pixels.eq(pixels + Mux(begin, work.pixels, -length)),
                strips.eq(strips + Mux(begin, walk.strips, -1)),
                long_strips.eq(long_strips + Mux(begin, walk.long_strips, -long_strips.any())),
            ]
        with m.If(end):
            m.d.sync += [place.eq(0), pixels.eq(0)]

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += [self.command.ready.eq(1), load.eq(self.command.valid)]
                with m.If(self.command.valid):
                    m.next = "GROUP"
            with m.State("GROUP"):
                m.d.comb += begin.eq(1)
                m.next = "MEASURE"
            with m.State("MEASURE"):
                m.d.sync += length.eq(
                    Mux(work.single, steps, steps << exact_log2(self.config.pixels)))
                m.next = "PLACE"
            with m.State("PLACE"):
                m.d.sync += [
                    run.address.eq(place + Mux(is_b, residual.address_b, residual.address_a)),
                    run.count.eq(Mux(last_strip, pixels, length)),
                ]
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += reader.transfer.valid.eq(1)
                with m.If(reader.transfer.ready):
                    m.d.sync += second.eq(~last_branch)
                    m.d.comb += [advance.eq(last_branch), end.eq(last_branch & last_strip)]
                    m.next = "MEASURE"
                    with m.If(end):
                        m.next = "GROUP"
                        with m.If(last_group):
                            m.next = "IDLE"
            m.d.comb += self.idle.eq(
                fsm.ongoing("IDLE") & ~self.command.valid & reader.idle & ~reader.output.valid)
        return m
