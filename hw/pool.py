"""Max pooling of the output stream, over strips, groups and bands."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import Config
from .finish import part_layout
from .interfaces import OutputVector
from .isa import Pool


class MaxPool(wiring.Component):
    """Maxima over the windows of ``isa.Pool``; without ``enable`` vectors pass unchanged.

    The two branches may interleave in any way; within a branch vectors come group by group in
    raster order, each group ending with ``last``. The line buffer holds, for every output column of
    every group, the maximum of the window that is open there: group ``g`` of branch A from entry
    ``g * out_width`` up, of branch B from entry ``line_vectors - (g + 1) * out_width`` up, so
    ``(groups_a + groups_b) * out_width`` must not exceed ``line_vectors``. Windows open at the end
    of a pass continue in the next enabled pass, unless that has phase 0 or the pass before it had
    ``close_bottom``: those start afresh (a first band with padding above needs the latter).

    A pass must close the ``out_width`` windows of at least one row: the last of them has ``last``.
    A row or column closes one window at most: a window that begins in the last one, where another
    ends (only with padding and ceil mode), is not supported.

    Throughput: a part of a vector a cycle; maps of less than 4 columns are slower, for a column
    waits until the writes of a closing one before it have passed the pipeline. Latency: 4 cycles
    from the last part to the whole vector; between two passes two cycles are lost. Memory:
    ``line_vectors`` x 128 bits of block RAM with output register.

    Members
    -------
    command : one for each pass, taken when its first vector may come
    input : vectors in parts, see ``finish.part_layout``
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(
                data.StructLayout({"pool": Pool, "groups_a": 8, "groups_b": 8}))),
            "input": In(stream.Signature(part_layout(config))),
            "output": Out(stream.Signature(OutputVector)),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, parts = self.config.requantisers, self.config.phases
        entry = exact_log2(self.config.line_vectors)
        # Where a branch stands: x and y in their windows, what is left of its rows and columns.
        position = data.StructLayout({
            "base": entry, "entry": entry, "columns": 11, "outputs": 11, "x": 3, "first": 1,
            "rows": 11, "y": 3, "fresh": 1,
        })
        # What the pipeline does with a part of a vector.
        part_shape = data.ArrayLayout(8, lanes)
        action = data.StructLayout({
            "valid": 1, "data": part_shape, "part": range(parts), "branch": 1, "last": 1,
            "entry": entry,
            "first": 1,     # first column of its window
            "restart": 1,   # last column of its window and also the first of the next
            "close": 1,     # last column of its window: use the line buffer
            "fresh": 1,     # first row of its window: nothing in the line buffer
            "renew": 1,     # last row of its window and also the first of the next
            "emit": 1,      # a result
        })

        # Pass: its operands, the groups still to come, whether windows stay open into the next.
        # ``active`` is that groups are to come: a flip-flop, as the input waits for it.
        pool, groups, active = Signal(Pool), Signal(9), Signal()
        begin, fresh, still_open, narrow = Signal(), Signal(), Signal(), Signal()
        new = self.command.p.pool
        m.d.comb += self.command.ready.eq(~active)
        m.d.sync += begin.eq(self.command.valid & self.command.ready)
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [
                pool.eq(new),
                groups.eq(self.command.p.groups_a + self.command.p.groups_b),
                active.eq(1),
                fresh.eq(~still_open | (new.phase == 0)),
                narrow.eq(new.width < 4),
            ]
            with m.If(new.enable):
                m.d.sync += still_open.eq(~new.close_bottom)

        # Take: the state of the branch says what to do with all parts of its vector.
        take, whole, advance, hazard = Signal(), Signal(), Signal(), Signal()
        given = self.input.p
        part = Signal(range(parts))
        m.d.comb += [
            self.input.ready.eq(advance & active & ~begin & ~hazard),
            take.eq(self.input.valid & self.input.ready),
            whole.eq(take & (part == parts - 1)),
        ]
        # Both branches at once: to choose one first would make the longest way longer.
        state = Signal(data.ArrayLayout(position, 2))
        acts = Signal(data.ArrayLayout(action, 2))
        for branch, act in enumerate(acts):
            then = Signal(position, name=f"then_{branch}")
            self._follow(m, state[branch], then, act, pool, branch, begin, fresh)
            with m.If(begin | (whole & (given.branch == branch))):
                m.d.sync += state[branch].eq(then)
        act = Signal(action)
        m.d.comb += [
            act.eq(acts[given.branch]),
            act.data.eq(given.data),
            act.part.eq(part),
            act.branch.eq(given.branch),
        ]
        with m.If(~pool.enable):
            m.d.comb += act.last.eq(given.last)
        with m.If(whole & given.last):
            m.d.sync += [groups.eq(groups - 1), active.eq(groups != 1)]
        if parts > 1:
            m.d.sync += part.eq(part + take)

        # Column: the running maximum of the row, of each branch. Line: two cycles for its read.
        column, line, line_late = (Signal(action, name=n) for n in ("column", "line", "line_late"))
        row_maximum = Signal(part_shape)
        with m.If(advance):
            m.d.sync += [
                column.eq(act), column.valid.eq(take),
                line.eq(column), line.data.eq(row_maximum),
                line_late.eq(line),
            ]
        for c in range(lanes):
            m.submodules[f"running_{c}"] = running = memory.Memory(
                shape=8, depth=2 * parts, init=[])
            read, write = running.read_port(domain="comb"), running.write_port()
            byte, greater = column.data[c], Signal(name="greater_column")
            m.d.comb += [
                read.addr.eq(Cat(column.part, column.branch)),
                greater.eq(column.first | (byte > read.data)),
                row_maximum[c].eq(Mux(greater, byte, read.data)),
                # A smaller byte changes nothing: the enable saves the multiplexer.
                write.addr.eq(read.addr),
                write.data.eq(byte),
                write.en.eq(advance & column.valid & (column.restart | greater)),
            ]

        m.submodules.buffer = buffer = memory.Memory(
            shape=8 * lanes, depth=self.config.line_vectors * parts, init=[])
        read, write = buffer.read_port(), buffer.write_port(granularity=8)
        stored = Signal(part_shape, reset_less=True)
        m.d.comb += [read.addr.eq(Cat(column.part, column.entry)), read.en.eq(advance)]
        with m.If(advance):
            m.d.sync += stored.eq(read.data)

        # Give: the maximum over the rows, back into the line buffer or out.
        both = Signal(part_shape)
        writing = advance & line_late.valid & line_late.close
        for c in range(lanes):
            byte, greater = line_late.data[c], Signal(name="greater_row")
            m.d.comb += [
                greater.eq(line_late.fresh | (byte > stored[c])),
                both[c].eq(Mux(greater, byte, stored[c])),
                write.en[c].eq(writing & (greater | line_late.renew)),
            ]
        m.d.comb += [
            write.addr.eq(Cat(line_late.part, line_late.entry)),
            write.data.eq(line_late.data),
            advance.eq(~self.output.valid | self.output.ready),
            hazard.eq(narrow & Cat(s.valid & s.close for s in (column, line)).any()),
        ]
        emit = line_late.valid & line_late.emit
        out = Signal.like(self.output.p, reset_less=True)
        m.d.comb += self.output.p.eq(out)
        with m.If(advance):
            m.d.sync += [
                self.output.valid.eq(emit & (line_late.part == parts - 1)),
                out.branch.eq(line_late.branch),
                out.last.eq(line_late.last),
            ]
            with m.If(emit):
                m.d.sync += out.data.as_value().word_select(line_late.part, 8 * lanes).eq(both)
        return m

    def _follow(self, m, now, then, act, pool, branch, begin, fresh):
        """What the state ``now`` of a branch makes of a vector, and the state after it."""
        overlap, right, right_end, bottom, bottom_end = (
            Signal(name=f"{name}_{branch}")
            for name in ("overlap", "right", "right_end", "bottom", "bottom_end"))
        last = self.input.p.last
        m.d.comb += [
            overlap.eq(pool.kernel != pool.stride),
            right_end.eq(now.columns == 1),
            bottom_end.eq(now.rows == 1),
            right.eq((now.x == pool.kernel - 1) | (right_end & pool.close_right)),
            bottom.eq((now.y == pool.kernel - 1) | (bottom_end & pool.close_bottom)),
            act.entry.eq(now.entry),
        ]
        with m.If(pool.enable):
            m.d.comb += [
                act.first.eq(now.first),
                act.restart.eq(right & overlap),
                act.close.eq(right & (now.outputs != 0)),
                act.fresh.eq(now.fresh),
                act.renew.eq(bottom & overlap),
                act.emit.eq(act.close & bottom),
                # No other row closes in this pass.
                act.last.eq((now.outputs == 1) & Mux(
                    pool.close_bottom, bottom_end, now.rows <= pool.stride)),
            ]
        with m.Else():
            m.d.comb += [act.first.eq(1), act.fresh.eq(1), act.emit.eq(1)]

        m.d.comb += [
            then.eq(now),
            then.columns.eq(now.columns - 1),
            then.first.eq(right & ~overlap),
            then.x.eq(Mux(right, overlap, now.x + 1)),
            then.entry.eq(now.entry + act.close),
            then.outputs.eq(now.outputs - act.close),
        ]
        with m.If(right_end):
            m.d.comb += [
                then.rows.eq(now.rows - 1),
                then.fresh.eq(bottom & ~overlap),
                then.y.eq(Mux(bottom, overlap, now.y + 1)),
            ]
        with m.If(last):
            m.d.comb += then.base.eq(now.base + (-pool.out_width if branch else pool.out_width))
        with m.If(begin):
            m.d.comb += then.base.eq(-pool.out_width if branch else 0)
        with m.If(begin | last):
            m.d.comb += [then.rows.eq(pool.rows), then.y.eq(pool.phase), then.fresh.eq(fresh)]
        with m.If(begin | last | right_end):
            m.d.comb += [
                then.entry.eq(then.base), then.columns.eq(pool.width),
                then.outputs.eq(pool.out_width), then.x.eq(pool.pad_left), then.first.eq(1),
            ]
