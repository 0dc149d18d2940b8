"""Sums of a strip over all its tiles, and the results' way to the requantisers."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .array import GROUP, SUM, array_latency
from .config import Config
from .ecp5 import copies
from .fifo import BlockFifo, TwoPlaces
from .interfaces import result_layout
from .stepper import step_layout


class Accumulator(wiring.Component):
    """Adds the array's sums to those of the strip so far, in a memory of one word a step.

    ``step`` comes with the array's ``x``; sums come ``array_latency`` cycles later. The sums of a
    step that ends them go to the FIFO of their half; once all halves of a step are there, its
    pixels leave one by one on ``results``. ``credit`` pulses when a FIFO gives an entry away.
    A step index returns only after a whole tile has been loaded, so the two cycles between read
    and write need no bypass. Memory: ``strip_steps`` words of all lanes' sums in LUT RAM, ``depth``
    in block RAM.

    With two halves the first half of a whole strip waits for the second: ``depth`` is at least
    ``strip_steps`` then (ValueError).
    """

    def __init__(self, config: Config, depth: int):
        if config.halves > 1 and depth < config.strip_steps:
            raise ValueError(f"accumulator: depth is {depth}, a strip of the first half needs "
                             f"{config.strip_steps}")
        self.config, self.depth = config, depth
        super().__init__({
            "step": In(step_layout(config)),
            "sums": In(data.ArrayLayout(data.ArrayLayout(SUM, config.co_lanes), config.pixels)),
            "results": Out(stream.Signature(result_layout(config))),
            "credit": Out(config.halves),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        word = data.ArrayLayout(
            data.ArrayLayout(signed(config.acc_width), config.co_lanes), config.pixels)
        entry = data.StructLayout({
            "sums": word, "lanes": range(config.pixels + 1), "branch": 1, "parity": 1,
            "group_end": 1})

        latency = array_latency(config)
        steps = [self.step]
        for i in range(latency + 1):
            steps.append(Signal(step_layout(config), name=f"step{i}"))
            m.d.sync += steps[-1].eq(steps[-2])
        sooner, before, now, after = steps[latency - 2:]

        # On an ECP5 the lanes of the array are far from one another.
        lanes = GROUP if config.vendor == "ecp5" else config.co_lanes
        groups = config.co_lanes // lanes
        if groups > 1:
            reading = copies(m, "reading", Cat(sooner.index, sooner.first), groups)
            writing = copies(m, "writing", Cat(now.index, now.valid & ~now.last), groups)
        else:
            reading = [Cat(before.index, before.first)]
            writing = [Cat(after.index, after.valid & ~after.last)]
        total = Signal(word, reset_less=True)
        for g in range(groups):
            part = data.ArrayLayout(data.ArrayLayout(word.elem_shape.elem_shape, lanes),
                                    config.pixels)
            m.submodules[f"memory{g}"] = memory = Memory(
                shape=part, depth=config.strip_steps, init=[])
            read = memory.read_port(domain="comb")
            write = memory.write_port()
            so_far = Signal(part, name=f"so_far{g}", reset_less=True)
            m.d.comb += [read.addr.eq(reading[g][:-1]), Cat(write.addr, write.en).eq(writing[g])]
            for p in range(config.pixels):
                for o in range(lanes):
                    lane = g * lanes + o
                    m.d.comb += write.data[p][o].eq(total[p][lane])
                    m.d.sync += [
                        so_far[p][o].eq(Mux(reading[g][-1], 0, read.data[p][o])),
                        total[p][lane].eq(so_far[p][o] + self.sums[p][lane]),
                    ]

        fifos, outgoing = [], []
        here, over = Signal(config.halves), Signal()
        for half in range(config.halves):
            fifo = m.submodules[f"fifo{half}"] = BlockFifo(
                width=entry.size, depth=self.depth)
            incoming = Signal(entry, name=f"incoming{half}")
            m.d.comb += [
                incoming.sums.eq(total),
                incoming.lanes.eq(after.lanes),
                incoming.branch.eq(after.branch),
                incoming.parity.eq(after.parity),
                incoming.group_end.eq(after.group_end),
                fifo.w_data.eq(incoming),
                fifo.w_en.eq(after.valid & after.last & (after.half == half)),
                self.credit[half].eq(fifo.r_en),
            ]
            # What decides when a step is over comes from a register, not from block RAM.
            if config.vendor == "ecp5":
                m.submodules[f"leaving{half}"] = leaving = TwoPlaces(
                    entry, GROUP * config.acc_width)
                m.d.comb += [
                    leaving.i.valid.eq(fifo.r_rdy),
                    leaving.i.payload.as_value().eq(fifo.r_data),
                    fifo.r_en.eq(fifo.r_rdy & leaving.i.ready),
                    here[half].eq(leaving.o.valid),
                    leaving.o.ready.eq(over),
                ]
                outgoing.append(leaving.o.payload)
            else:
                leaving = Signal(entry, name=f"leaving{half}", reset_less=True)
                empty = ~here[half] | over
                m.d.comb += fifo.r_en.eq(fifo.r_rdy & empty)
                with m.If(fifo.r_en):
                    m.d.sync += [leaving.eq(fifo.r_data), here[half].eq(1)]
                with m.Elif(empty):
                    m.d.sync += here[half].eq(0)
                outgoing.append(leaving)
            fifos.append(fifo)

        # All halves of a step together make its vectors.
        lane = Signal(range(config.pixels))
        last_lane = Signal()
        out = self.results.payload
        m.d.comb += [
            last_lane.eq(lane + 1 == outgoing[0].lanes),
            self.results.valid.eq(here.all()),
            over.eq(self.results.valid & self.results.ready & last_lane),
            out.sums.as_value().eq(
                Cat(v.sums[lane].as_value() for v in outgoing)),
            out.branch.eq(outgoing[0].branch),
            out.parity.eq(outgoing[0].parity),
            out.last.eq(outgoing[0].group_end & last_lane),
            self.idle.eq(~(Cat(s.valid for s in steps).any()
                           | here.any() | Cat(fifo.level.any() for fifo in fifos).any())),
        ]
        with m.If(self.results.valid & self.results.ready):
            m.d.sync += lane.eq(lane + 1)
            with m.If(last_lane):
                m.d.sync += lane.eq(0)
        return m
