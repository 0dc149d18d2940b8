"""LOAD: planes of a feature map from external memory to the activation memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import Config
from .interfaces import ActWrite, ReadClient, command
from .isa import ACT_ADDRESS, EXTERNAL_ADDRESS, Load
from .linear_reader import BurstCutter

SAVED = 4
"""Longest bursts that may be paid for in advance."""
RUNS = 8
"""Runs that may be under way; with short runs (one row of a small map) this is the limit."""

Run = data.StructLayout({"target": ACT_ADDRESS, "last_offset": 16, "last": 1})


class Loader(wiring.Component):
    """Copies ``planes`` runs of ``count`` vectors, one vector a cycle, runs and commands without
    gaps as long as memory delivers.

    What comes is written at once, before any other writer, so no vector has to wait anywhere. So
    that the others get the cycles they need, a burst is paid for with the cycles in which no other
    writer had anything (``spare``): one for each of its vectors.

    Members
    -------
    command : In(stream(command(Load))), ``planes`` and ``count`` at least 1
    client : Out(ReadClient())
    write : Out(stream(ActWrite)), never refused
    spare : In(1)
    done : Out(1)
        High for one cycle for every command, in the cycle after its last vector.
    full : Out(1)
        A burst waits for spare cycles.
    idle : Out(1)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(command(Load))),
            "client": Out(ReadClient()),
            "write": Out(stream.Signature(ActWrite, always_ready=True)),
            "spare": In(1),
            "done": Out(1),
            "full": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        burst = self.config.burst
        m.submodules.cutter = cutter = BurstCutter(burst, count_width=16)
        # Buffered: what it gives comes from registers, for the comparison behind it.
        m.submodules.runs = runs = fifo.SyncFIFOBuffered(width=Run.size, depth=RUNS)
        wiring.connect(m, cutter.request, wiring.flipped(self.client.request))

        # Requests: one run is both a transfer of the cutter and a piece of work for the writer.
        # ``planes`` counts those still to be asked for; 0 means that there is no command, and that
        # the addresses are 0: a load shares the adder of a step.
        load = Signal(Load)
        address, target = Signal(EXTERNAL_ADDRESS), Signal(ACT_ADDRESS)
        planes = Signal(Load.as_shape()["planes"].shape)
        take, asked, last, busy = Signal(), Signal(), Signal(), Signal()
        new = self.command.payload.operand
        new_run = data.View(Run, runs.w_data)
        m.d.comb += [
            busy.eq(planes.any()),
            self.command.ready.eq(~busy),
            take.eq(self.command.valid & ~busy),
            last.eq(planes == 1),
            cutter.transfer.payload.address.eq(address),
            cutter.transfer.payload.count.eq(load.count),
            cutter.transfer.valid.eq(busy & runs.w_rdy),
            asked.eq(cutter.transfer.valid & cutter.transfer.ready),
            new_run.target.eq(target),
            new_run.last_offset.eq(load.count - 1),
            new_run.last.eq(last),
            runs.w_en.eq(asked),
        ]
        with m.If(take):
            m.d.sync += load.eq(new)
        with m.If(take | asked):
            m.d.sync += [
                planes.eq(planes + Mux(take, new.planes, -1)),
                address.eq(address + Mux(take, new.address, load.stride)),
                target.eq(target + Mux(take, new.target, load.target_stride)),
            ]
        with m.If(asked & last):
            m.d.sync += [address.eq(0), target.eq(0)]

        # Cycles saved, at most SAVED bursts of them.
        saved = Signal(range(SAVED * burst + 1))
        full = saved[-1]
        m.d.comb += [
            cutter.room.eq(saved[exact_log2(burst):].any()),
            self.full.eq(cutter.busy & ~cutter.room),
        ]
        m.d.sync += saved.eq(saved + cutter.price + (self.spare & ~full))

        # Writes: count the vectors of the oldest run.
        run = data.View(Run, runs.r_data)
        offset = Signal(run.last_offset.shape())
        run_ends = Signal()
        m.d.comb += [
            self.write.valid.eq(self.client.data.valid),
            self.write.payload.address.eq(run.target + offset),
            self.write.payload.data.eq(self.client.data.payload),
            run_ends.eq(offset == run.last_offset),
            runs.r_en.eq(self.write.valid & run_ends),
        ]
        with m.If(self.write.valid):
            m.d.sync += offset.eq(offset + 1)
            with m.If(run_ends):
                m.d.sync += offset.eq(0)
        m.d.sync += self.done.eq(self.write.valid & run_ends & run.last)
        m.d.comb += self.idle.eq(~self.command.valid & ~busy & (runs.level == 0) & ~self.done)
        return m
