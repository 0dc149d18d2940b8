"""CONV and FIRE instructions to passes of the array."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .dispatch import ComputeOperand
from .interfaces import command
from .isa import COUNT, Average, Pass

PassCommand = data.StructLayout({"work": Pass, "chained": 1, "index": COUNT, "layer": COUNT})
"""A pass; ``chained`` must not read before every earlier pass is written."""


class FireSequencer(wiring.Component):
    """One pass for CONV; for FIRE the squeeze pass, then the two expands chained behind it.

    The squeeze is a 1x1 branch B into the activation memory without any further stage (the fields
    of stages that are off are those of the main pass, which nobody reads). Its results
    never leave the chip, and the expands' results need no concatenation: branch A goes to
    ``target.address_a``, branch B to ``target.address_b``, plane by plane.
    Latency: none; one pass a cycle.
    """

    command: In(stream.Signature(command(ComputeOperand)))
    passes: Out(stream.Signature(PassCommand))

    def elaborate(self, platform):
        m = Module()
        cmd, out = self.command.payload, self.passes.payload
        fire = cmd.operand.fire

        m.d.comb += [
            self.passes.valid.eq(self.command.valid),
            out.index.eq(cmd.index),
            out.layer.eq(cmd.layer),
        ]
        # Only what an ordinary squeeze must not have is masked; the rest of `main` does no harm
        # there, and 400 gates are saved.
        squeezing = Signal()
        m.d.comb += out.work.eq(fire.main)
        with m.If(squeezing):
            m.d.comb += [
                out.work.walk.eq(fire.squeeze.walk),
                out.work.source.eq(fire.squeeze.source),
                out.work.finish.zero_b.eq(fire.squeeze.zero),
                out.work.finish.low_b.eq(fire.squeeze.low),
                out.work.finish.rescale.eq(0),
                out.work.finish.add.eq(0),
                out.work.finish.average.eq(Average.NONE),
                out.work.pool.enable.eq(0),
                out.work.target.to_act.eq(1),
                out.work.target.address_b.eq(fire.squeeze.target),
                out.work.target.plane.eq(fire.squeeze.plane),
            ]
        with m.FSM():
            with m.State("FIRST"):
                m.d.comb += [
                    squeezing.eq(cmd.operand.is_fire),
                    self.command.ready.eq(self.passes.ready & ~squeezing),
                ]
                with m.If(squeezing & self.passes.valid & self.passes.ready):
                    m.next = "EXPAND"
            with m.State("EXPAND"):
                m.d.comb += [
                    out.chained.eq(1),
                    self.command.ready.eq(self.passes.ready),
                ]
                with m.If(self.passes.valid & self.passes.ready):
                    m.next = "FIRST"
        return m
