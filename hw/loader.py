"""LOAD: planes of a feature map from external memory to the activation memory."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import Config
from .interfaces import ActWrite, ReadClient, command
from .isa import ACT_ADDRESS, Load
from .linear_reader import LinearReader

PREFETCH = 64
"""Vectors that may be under way from memory."""
RUNS = 8
"""Runs that may be under way; with short runs (one row of a small map) this is the limit."""

Run = data.StructLayout({"target": ACT_ADDRESS, "count": 16, "last": 1})


class Loader(wiring.Component):
    """Copies ``planes`` runs of ``count`` vectors, one vector a cycle, runs and commands without
    gaps as long as memory delivers.

    Members
    -------
    command : In(stream(command(Load))), ``planes`` and ``count`` at least 1
    client : Out(ReadClient())
    write : Out(stream(ActWrite))
    done : Out(1)
        High for one cycle for every command, in the cycle after its last vector was taken.
    idle : Out(1)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(command(Load))),
            "client": Out(ReadClient()),
            "write": Out(stream.Signature(ActWrite)),
            "done": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = LinearReader(self.config, PREFETCH)
        m.submodules.runs = runs = fifo.SyncFIFO(width=Run.size, depth=RUNS)
        wiring.connect(m, reader.client, wiring.flipped(self.client))

        # Requests: one run is both a transfer of the reader and a piece of work for the writer.
        # ``planes`` counts those still to be asked for; 0 means that there is no command.
        load = Signal(Load)
        asked = Signal()
        new_run = data.View(Run, runs.w_data)
        m.d.comb += [
            reader.transfer.payload.address.eq(load.address),
            reader.transfer.payload.count.eq(load.count),
            reader.transfer.valid.eq(load.planes.any() & runs.w_rdy),
            asked.eq(reader.transfer.valid & reader.transfer.ready),
            new_run.target.eq(load.target),
            new_run.count.eq(load.count),
            new_run.last.eq(load.planes == 1),
            runs.w_en.eq(asked),
            self.command.ready.eq(~load.planes.any() | (asked & new_run.last)),
        ]
        with m.If(asked):
            m.d.sync += [
                load.address.eq(load.address + load.stride),
                load.target.eq(load.target + load.target_stride),
                load.planes.eq(load.planes - 1),
            ]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += load.eq(self.command.payload.operand)

        # Writes: count the vectors of the oldest run.
        run = data.View(Run, runs.r_data)
        offset = Signal(run.count.shape())
        taken, run_ends = Signal(), Signal()
        m.d.comb += [
            self.write.valid.eq(reader.output.valid & runs.r_rdy),
            self.write.payload.address.eq(run.target + offset),
            self.write.payload.data.eq(reader.output.payload),
            reader.output.ready.eq(self.write.ready & runs.r_rdy),
            taken.eq(self.write.valid & self.write.ready),
            run_ends.eq(offset + 1 == run.count),
            runs.r_en.eq(taken & run_ends),
        ]
        with m.If(taken):
            m.d.sync += offset.eq(offset + 1)
            with m.If(run_ends):
                m.d.sync += offset.eq(0)
        m.d.sync += self.done.eq(taken & run_ends & run.last)
        m.d.comb += self.idle.eq(
            ~self.command.valid & ~load.planes.any() & ~runs.r_rdy & ~self.done & reader.idle
        )
        return m
