"""First-layer gather: windows of a three-channel image become vectors of 16 input channels."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from . import isa
from .config import Config
from .interfaces import ActWrite, ReadClient, command
from .isa import PIXELS_PER_VECTOR
from .linear_reader import LinearReader

BANKS = 4
"""Pixels in a vector of the image; as many banks hold a line, pixel ``x`` in bank ``x % BANKS``."""
PREFETCH = 32
"""Vectors that may be under way from memory: its latency is all they have to cover."""
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
    pixels begin another vector (kernels 4 and 6). Latency: 5 cycles from a row in the line memory
    to the first vector. Memory: ``image_lines * image_width`` pixels of 24 bits in four banks of
    block RAM with output registers, and the FIFO of the reader.

    Members
    -------
    done : pulse when the last vector of an instruction is accepted
    idle : no instruction under way
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(command(isa.Gather))),
            "client": Out(ReadClient()),
            "write": Out(stream.Signature(ActWrite)),
            "done": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.reader = reader = LinearReader(config, PREFETCH)
        wiring.connect(m, wiring.flipped(self.client), reader.client)

        # Instruction: taken, first and last window row placed, settled (each line too), running.
        job = Signal(isa.Gather)
        new = self.command.p.operand
        set_up, settle, running = Signal(), Signal(), Signal()
        m.d.comb += [
            self.idle.eq(~(set_up | settle | running)),
            self.command.ready.eq(self.idle),
        ]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [job.eq(new), set_up.eq(1)]
        with m.If(set_up):
            m.d.sync += [set_up.eq(0), settle.eq(1)]
        with m.If(settle):
            m.d.sync += [settle.eq(0), running.eq(1)]
        with m.If(self.done):
            m.d.sync += running.eq(0)

        def window_top(row):
            return Mux(job.stride[0], row, 0) + Mux(job.stride[1], row << 1, 0) - job.pad_top

        def needed(first_row):
            """Image rows that must have come for a window that begins there."""
            end = first_row + job.kernel
            return Mux(end > job.height, job.height, end)

        # Rows of the image: top is the first of the windows at hand. All that is fetched for an
        # instruction has come when its last line is emitted.
        top, last_top, bottom, fetch_end = (
            Signal(POSITION, name=name) for name in ("top", "last_top", "bottom", "fetch_end"))
        fetched, held = Signal(12), Signal(12)
        fetch_address = Signal.like(job.address)
        with m.If(set_up):
            m.d.sync += last_top.eq(window_top(job.row + job.rows - 1))
        with m.If(settle):
            m.d.sync += [bottom.eq(needed(top)), fetch_end.eq(needed(last_top))]
        with m.If(set_up & job.first):
            m.d.sync += [fetched.eq(0), held.eq(0), fetch_address.eq(job.address)]

        # Fetch: a transfer for each row, as soon as its line is free.
        request, arriving = reader.transfer, reader.output
        m.d.comb += [
            request.valid.eq(running & (fetched < fetch_end)
                             & (fetched - top < config.image_lines)),
            request.p.address.eq(fetch_address),
            request.p.count.eq(job.row_vectors),
        ]
        with m.If(request.valid & request.ready):
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
        m.d.comb += arriving.ready.eq(1)
        with m.If(arriving.valid):
            m.d.sync += word.eq(word + 1)
            with m.If(word == job.row_vectors - 1):
                m.d.sync += [word.eq(0), held.eq(held + 1)]

        # Issue: chunks of up to four pixels, row by row of each window.
        advance, issue, lines_done = Signal(), Signal(), Signal()
        x, y, left = (Signal(POSITION, name=n) for n in ("x", "y", "left"))
        columns, rows = Signal.like(job.out_width), Signal.like(job.rows)
        kx, ky = Signal.like(job.kernel), Signal.like(job.kernel)
        row_end, window_end, line_end = (
            Signal(name=n) for n in ("row_end", "window_end", "line_end"))
        m.d.comb += [
            issue.eq(running & ~settle & ~lines_done & (held >= bottom) & advance),
            row_end.eq(kx <= BANKS),
            window_end.eq(row_end & (ky == 1)),
            line_end.eq(window_end & (columns == 1)),
        ]

        def next_line(first_row):
            return [
                top.eq(first_row), y.eq(first_row), x.eq(-job.pad_left), left.eq(-job.pad_left),
                columns.eq(job.out_width), kx.eq(job.kernel), ky.eq(job.kernel),
            ]

        with m.If(set_up):
            m.d.sync += [
                next_line(window_top(job.row)), rows.eq(job.rows), lines_done.eq(0)]
        with m.If(issue):
            m.d.sync += [x.eq(x + BANKS), kx.eq(kx - BANKS)]
            with m.If(row_end):
                m.d.sync += [x.eq(left), kx.eq(job.kernel), y.eq(y + 1), ky.eq(ky - 1)]
            with m.If(window_end):
                m.d.sync += [
                    x.eq(left + job.stride), left.eq(left + job.stride), columns.eq(columns - 1),
                    y.eq(top), ky.eq(job.kernel),
                ]
            with m.If(line_end):
                m.d.sync += [
                    next_line(top + job.stride), settle.eq(1),
                    rows.eq(rows - 1), lines_done.eq(rows == 1),
                ]

        # Read: two cycles, with what the packer needs to know of each chunk.
        chunk = data.StructLayout({
            "count": range(BANKS + 1), "first": range(BANKS), "outside": BANKS,
            "window_end": 1, "final": 1,
        })
        asked, read, come = (Signal(chunk, name=n) for n in ("asked", "read", "come"))
        pixels = Signal(data.ArrayLayout(Pixel, BANKS))
        m.d.comb += [
            asked.count.eq(Mux(issue, Mux(row_end, kx, BANKS), 0)),
            asked.first.eq(x),
            asked.window_end.eq(issue & window_end),
            asked.final.eq(issue & line_end & (rows == 1)),
        ]
        for bank, port in enumerate(banks):
            column = Signal(POSITION, name=f"column{bank}")
            m.d.comb += [
                # The first column from x on that this bank holds.
                column.eq(Cat(Const(bank, 2), (x >> 2) + (x[:2] > bank))),
                asked.outside[bank].eq(
                    (y < 0) | (y >= job.height) | (column < 0) | (column >= job.width)),
                port.addr.eq(Cat(column[2:2 + len(word)], y[:line])),
                port.en.eq(advance),
            ]
            with m.If(advance):
                m.d.sync += pixels[bank].eq(port.data)
        with m.If(advance):
            m.d.sync += [read.eq(asked), come.eq(read)]

        # Pack: append to the pixels kept from before; five make a vector. A window that ends with
        # more than five spills the rest into a vector of its own, in a cycle of its own.
        kept = Signal(data.ArrayLayout(Pixel, PIXELS_PER_VECTOR - 1))
        slots = Signal(data.ArrayLayout(Pixel, PIXELS_PER_VECTOR + BANKS - 1))
        fill, total = Signal(range(PIXELS_PER_VECTOR)), Signal(4)
        free, full, over, give = Signal(), Signal(), Signal(), Signal()
        spill, spill_final, window_done = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(~self.write.valid | self.write.ready),
            advance.eq(free & ~spill),
            total.eq(fill + Mux(spill, 0, come.count)),
            full.eq(total >= PIXELS_PER_VECTOR),
            over.eq(come.window_end & (total > PIXELS_PER_VECTOR)),
            window_done.eq(spill | (come.window_end & ~over)),
            give.eq(full | window_done),
        ]
        for slot in range(PIXELS_PER_VECTOR + BANKS - 1):
            bank = Signal(range(BANKS), name=f"bank_of_slot{slot}")
            m.d.comb += bank.eq(come.first - fill + slot)
            with m.If(slot < fill):
                if slot < PIXELS_PER_VECTOR - 1:
                    m.d.comb += slots[slot].eq(kept[slot])
            with m.Elif(slot < total):
                with m.If(come.outside.bit_select(bank, 1)):
                    m.d.comb += slots[slot].as_value().eq(job.pad_value.replicate(3))
                with m.Else():
                    m.d.comb += slots[slot].eq(pixels[bank])

        address, window_address = Signal.like(job.target), Signal.like(job.target)
        final = Signal()
        vector_bits = PIXELS_PER_VECTOR * Pixel.size
        packed, rest = slots.as_value()[:vector_bits], slots.as_value()[vector_bits:]
        with m.If(free):
            m.d.sync += [
                self.write.valid.eq(give),
                self.write.p.address.eq(address),
                self.write.p.data.as_value().eq(packed),
                final.eq(window_done & Mux(spill, spill_final, come.final)),
                fill.eq(Mux(full, total - PIXELS_PER_VECTOR, Mux(window_done, 0, total))),
                kept.as_value().eq(Mux(full, rest, packed)),
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
        m.d.comb += self.done.eq(self.write.valid & self.write.ready & final)
        return m
