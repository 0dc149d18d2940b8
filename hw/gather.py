"""First-layer gather: windows of a three-channel image become vectors of 16 input channels."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from . import isa
from .config import Config
from .fifo import TwoPlaces
from .interfaces import ActWrite, ReadClient, command
from .isa import PIXELS_PER_VECTOR
from .linear_reader import BurstCutter

BANKS = 4
"""Pixels in a vector of the image; as many banks hold a line, pixel ``x`` in bank ``x % BANKS``."""
Pixel = data.ArrayLayout(8, 3)

POSITION = signed(14)
"""Row or column of the image, a window beyond its edges included."""


class Gather(wiring.Component):
    """GATHER instructions, one after the other; see ``isa.Gather`` for the order of the bytes.

    Rows of the image stream into a line memory of ``image_lines`` rows, which stays filled from one
    instruction to the next of the same image. Fetching runs ahead of emission within an instruction
    as far as the line memory reaches, and no further than the last window of the instruction needs.
    Supported are ``kernel`` 1 to 7, ``stride`` 1 to 3 and rows of at most ``image_width`` pixels.

    Throughput: up to four adjacent pixels of a window row a cycle, that is
    ``kernel * ceil(kernel / 4)`` cycles a window (3 for 3x3, 14 for 7x7), one more where its last
    pixels begin another vector (kernels 4 and 6), two more at the end of each output row. Latency:
    6 cycles from a row in the line memory to the first vector. Memory: ``image_lines *
    image_width`` pixels of 24 bits in four banks of block RAM with output registers.

    Members
    -------
    done : pulse when the last vector of an instruction is accepted
    idle : no instruction under way
    starved : the rows of the next window have not come
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(command(isa.Gather))),
            "client": Out(ReadClient()),
            "write": Out(stream.Signature(ActWrite)),
            "done": Out(1),
            "idle": Out(1),
            "starved": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.cutter = cutter = BurstCutter(config.burst, count_width=8)
        wiring.connect(m, wiring.flipped(self.client.request), cutter.request)

        # Instruction: taken, its rows placed in two cycles, settled (each line too), running.
        job = Signal(isa.Gather, reset_less=True)
        new = self.command.p.operand
        set_up, place, settle, running = (
            Signal(name=n) for n in ("set_up", "place", "settle", "running"))
        m.d.comb += [
            self.idle.eq(~(set_up | place | settle | running)),
            self.command.ready.eq(self.idle),
        ]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [job.eq(new), set_up.eq(1)]
        with m.If(set_up):
            m.d.sync += [set_up.eq(0), place.eq(1)]
        with m.If(place):
            m.d.sync += [place.eq(0), settle.eq(1)]
        with m.If(settle):
            m.d.sync += [settle.eq(0), running.eq(1)]
        with m.If(self.done):
            m.d.sync += running.eq(0)

        # Rows of the image: top is the first of the windows at hand. A window needs ``kernel`` rows
        # from there on, as far as there are some. All that is fetched for an instruction has come
        # when its last line is emitted.
        top, fetch_end, scaled, complete = (
            Signal(POSITION, name=name) for name in ("top", "fetch_end", "scaled", "complete"))
        fetched, held, there = Signal(12), Signal(12), Signal()
        fetch_address = Signal.like(job.address)
        line_end, ended = Signal(), Signal()
        row = job.row + Mux(set_up, 0, job.rows)
        m.d.sync += [
            scaled.eq(Mux(job.stride[0], row, 0) + Mux(job.stride[1], row << 1, 0)),
            fetch_end.eq(scaled + (job.kernel - job.stride - job.pad_top)),
            complete.eq(held - job.kernel),
            there.eq((complete >= top) | (held == job.height)),
        ]
        with m.If(place | ended):
            m.d.sync += top.eq(Mux(place, scaled, top) + Mux(place, -job.pad_top, job.stride))
        with m.If(set_up & job.first):
            m.d.sync += [fetched.eq(0), held.eq(0), fetch_address.eq(job.address)]

        # Fetch: a transfer for each row, as soon as its line is free.
        request, arriving = cutter.transfer, self.client.data
        asked_row = request.valid & request.ready
        m.d.comb += [
            cutter.room.eq(1),  # the line is free
            request.p.address.eq(fetch_address),
            request.p.count.eq(job.row_vectors),
        ]
        m.d.sync += request.valid.eq(
            running & (fetched < fetch_end) & (fetched != job.height)
            & (fetched - top < config.image_lines) & ~asked_row)
        with m.If(asked_row):
            m.d.sync += [
                fetched.eq(fetched + 1),
                fetch_address.eq(fetch_address + job.row_vectors),
            ]

        # Lines: a vector of the image is one pixel for each bank.
        word = Signal(exact_log2(config.image_width // BANKS))
        line = exact_log2(config.image_lines)
        banks = []
        for bank in range(BANKS):
            lines = memory.Memory(
                shape=Pixel, depth=config.image_lines * config.image_width // BANKS, init=[])
            m.submodules[f"bank{bank}"] = lines
            banks.append(lines.read_port())
            write = lines.write_port()
            m.d.comb += [
                write.addr.eq(Cat(word, held[:line])),
                write.data.as_value().eq(arriving.p.as_value().word_select(bank, 32)),
                write.en.eq(arriving.valid),
            ]
        with m.If(arriving.valid):
            m.d.sync += word.eq(word + 1)
            with m.If(word == job.row_vectors - 1):
                m.d.sync += [word.eq(0), held.eq(held + 1)]

        # Issue: chunks of up to four pixels, row by row of each window. ``second`` is the second
        # chunk of a row, ``ky`` the row, ``left`` the first column. Counters that are loaded are 0
        # before, so that a load shares their adder.
        advance, issue, lines_done = Signal(), Signal(), Signal()
        left = Signal(POSITION)
        columns, rows = Signal.like(job.out_width), Signal.like(job.rows)
        second, ky = Signal(), Signal.like(job.kernel)
        row_end, window_end = Signal(), Signal()
        m.d.comb += [
            self.starved.eq(running & ~ended & ~settle & ~lines_done & ~there),
            issue.eq(running & ~ended & ~settle & ~lines_done & there & advance),
            row_end.eq(issue & (second | (job.kernel <= BANKS))),
            window_end.eq(row_end & (ky + 1 == job.kernel)),
            line_end.eq(window_end & (columns == 1)),
        ]
        with m.If(set_up):
            m.d.sync += [ky.eq(0), second.eq(0), lines_done.eq(0)]
        with m.If(issue):
            m.d.sync += second.eq(~row_end)
        with m.If(row_end):
            m.d.sync += ky.eq(Mux(window_end, 0, ky + 1))
        with m.If(settle | window_end):
            m.d.sync += [
                left.eq(left + Mux(settle, -job.pad_left, job.stride)),
                columns.eq(columns + Mux(settle, job.out_width, -1)),
            ]
        # The end of a line moves much: a cycle of its own.
        m.d.sync += ended.eq(line_end)
        with m.If(set_up | ended):
            m.d.sync += [left.eq(0), rows.eq(rows + Mux(set_up, job.rows, -1))]
        with m.If(ended):
            m.d.sync += [settle.eq(rows != 1), lines_done.eq(rows == 1)]

        # Place of the chunk, then three cycles of memory, with what the packer needs to know.
        x, y = Signal(POSITION), Signal(POSITION)
        chunk = data.StructLayout({
            "count": range(BANKS + 1), "first": range(BANKS), "window_end": 1, "final": 1})
        asked, read, come = (Signal(chunk, name=n) for n in ("asked", "read", "come"))
        outside, pixels = Signal(BANKS), Signal(data.ArrayLayout(Pixel, BANKS), reset_less=True)
        kx = Mux(second, job.kernel - BANKS, job.kernel)
        with m.If(advance):
            m.d.sync += [
                x.eq(Cat(left[:2], left[2:].as_signed() + second)),
                y.eq(top + ky),
                asked.count.eq(Mux(issue, Mux(row_end, kx, BANKS), 0)),
                asked.first.eq(left),
                asked.window_end.eq(window_end),
                asked.final.eq(line_end & (rows == 1)),
                read.eq(asked),
                come.eq(read),
            ]
        # Which of the four columns from x on are outside the image, and in which bank those are.
        remaining = Signal(POSITION)
        m.d.comb += remaining.eq(job.width - x)
        beyond = Cat(
            (x < 0) & (x[:3] + i < 8) | (remaining[2:].as_signed() < 0)
            | (remaining[2:] == 0) & (remaining[:2] <= i)
            for i in range(BANKS))
        row_outside = (y < 0) | (y >= job.height)
        for bank, port in enumerate(banks):
            m.d.comb += [
                # The first column from x on that this bank holds.
                port.addr.eq(Cat(((x >> 2) + (x[:2] > bank))[:len(word)], y[:line])),
                port.en.eq(advance),
            ]
            with m.If(advance):
                m.d.sync += [
                    outside[bank].eq(
                        row_outside | beyond.bit_select((bank - x[:2])[:2], 1)),
                    pixels[bank].as_value().eq(Mux(
                        outside[bank], job.pad_value.replicate(3), port.data.as_value())),
                ]

        # Pack: every slot of a vector keeps the last pixel that came for it; those before ``fill``
        # are kept ones. A window that ends with more than a vector spills the rest into one of its
        # own, in a cycle of its own.
        kept = Signal(data.ArrayLayout(Pixel, PIXELS_PER_VECTOR), reset_less=True)
        packed = Signal.like(kept)
        fill, total = Signal(range(PIXELS_PER_VECTOR)), Signal(4)
        free, full, over, give = Signal(), Signal(), Signal(), Signal()
        spill, spill_final, window_done = Signal(), Signal(), Signal()
        m.d.comb += [
            advance.eq(free & ~spill),
            total.eq(fill + Mux(spill, 0, come.count)),
            full.eq(total >= PIXELS_PER_VECTOR),
            over.eq(come.window_end & (total > PIXELS_PER_VECTOR)),
            window_done.eq(spill | (come.window_end & ~over)),
            give.eq(full | window_done),
        ]
        for slot in range(PIXELS_PER_VECTOR):
            # The pixel of the chunk that belongs here, and its bank.
            number, bank = (Signal(n, name=f"{name}_of_slot{slot}")
                            for name, n in (("number", 3), ("bank", 2)))
            comes = Signal(name=f"comes{slot}")
            fresh = pixels[bank]
            m.d.comb += [
                number.eq(slot - fill + Mux(fill > slot, PIXELS_PER_VECTOR, 0)),
                bank.eq(come.first + number),
                comes.eq((number < come.count) & ~spill),
            ]
            with m.If(free & comes):
                m.d.sync += kept[slot].eq(fresh)
            with m.If(slot < fill):
                m.d.comb += packed[slot].eq(kept[slot])
            with m.Elif(comes):
                m.d.comb += packed[slot].eq(fresh)

        address, window_address = Signal.like(job.target), Signal.like(job.target)
        given = Signal(data.StructLayout({"write": ActWrite, "final": 1}))
        m.d.comb += [
            given.write.address.eq(address),
            given.write.data.as_value().eq(packed.as_value()),
            given.final.eq(window_done & Mux(spill, spill_final, come.final)),
        ]
        last = Signal.like(given)
        if config.vendor == "ecp5":
            # A memory that stalls would have to reach all of the pipeline in the same cycle.
            m.submodules.places = places = TwoPlaces(given.shape())
            m.d.comb += [
                places.i.payload.eq(given), places.i.valid.eq(give), free.eq(places.i.ready),
                last.eq(places.o.payload), self.write.valid.eq(places.o.valid),
                places.o.ready.eq(self.write.ready),
            ]
        else:
            m.d.comb += free.eq(~self.write.valid | self.write.ready)
            with m.If(free):
                m.d.sync += [last.eq(given), self.write.valid.eq(give)]
        m.d.comb += [
            self.write.p.eq(last.write),
            self.done.eq(self.write.valid & self.write.ready & last.final),
        ]
        with m.If(free):
            m.d.sync += [
                fill.eq(Mux(full, total - PIXELS_PER_VECTOR, Mux(window_done, 0, total))),
                spill.eq(over & ~spill),
                spill_final.eq(come.final),
            ]
            with m.If(window_done):
                m.d.sync += [
                    window_address.eq(window_address + 1), address.eq(window_address + 1)]
            with m.Elif(give):
                m.d.sync += address.eq(address + job.target_stride)
        with m.If(set_up):
            m.d.sync += [address.eq(job.target), window_address.eq(job.target)]
        return m
