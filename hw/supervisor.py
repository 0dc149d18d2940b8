"""Start, end, first error, watchdog and soft reset of a run."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .isa import Error

RESET_CYCLES = 4
"""Length of the ``reset`` pulse, and of the pause after it."""


class Fault(data.Struct):
    """A fault of one unit; ``index`` is that of the instruction it belongs to."""

    valid: 1
    code: Error
    index: 16


class Supervisor(wiring.Component):
    """Sequences runs so that the core never meets a reset with AXI transactions under way.

    Every start, after an error or not, first waits for an idle AXI, then pulses ``reset``, then
    pulses ``run_start``. The first fault of a run (the lowest source on a tie) halts the masters;
    when AXI is idle the run has ended with an error. ``halt`` stays set until the next run. A soft
    reset does the same as a start without the run, and cancels a run; a start that comes while it
    works is kept; a start during a run is ignored.

    Watchdog: without ``progress`` for ``watchdog`` cycles (0 is never) a run, a drain or a reset
    ends with TIMEOUT, or with the fault that came before; AXI may then be busy, and no reset is
    given until it is idle.

    Latency: start to ``run_start`` is ``2 * RESET_CYCLES + 2`` cycles.

    Members
    -------
    start, soft_reset : pulses from the registers
    watchdog : cycles
    faults : from the units, a cycle or longer
    progress : some engine or AXI channel moved
    axi_idle : no read or write is under way on AXI
    finished : pulse at the end of the program
    active_index : instruction at work, reported with TIMEOUT
    halt : masters issue no new burst
    reset : reset everything but the registers and this unit
    run_start : pulse to the dispatcher
    running : between ``run_start`` and the end of the run or its first fault
    busy, done, error, error_code, error_index : status; ``busy`` from start to all drained
    """

    def __init__(self, sources: int):
        super().__init__({
            "start": In(1),
            "soft_reset": In(1),
            "watchdog": In(32),
            "faults": In(Fault).array(sources),
            "progress": In(1),
            "axi_idle": In(1),
            "finished": In(1),
            "active_index": In(16),
            "halt": Out(1, init=1),
            "reset": Out(1),
            "run_start": Out(1),
            "running": Out(1),
            "busy": Out(1),
            "done": Out(1),
            "error": Out(1),
            "error_code": Out(Error),
            "error_index": Out(16),
        })

    def elaborate(self, platform):
        m = Module()
        timer = Signal(32)
        stuck = Signal()
        restart, again = Signal(), Signal()
        count = Signal(range(2 * RESET_CYCLES))
        fault = Signal(Fault)
        command = self.start | self.soft_reset

        for source in reversed(self.faults):
            with m.If(source.valid):
                m.d.comb += fault.eq(source)
        m.d.comb += [
            stuck.eq((self.watchdog != 0) & (timer == 0)),
            # The latest command decides whether a run follows the reset.
            again.eq(Mux(command, self.start, restart)),
        ]
        m.d.sync += restart.eq(again)
        with m.If(self.progress):
            m.d.sync += timer.eq(self.watchdog)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)

        def fail(code, index):
            m.d.sync += [
                self.error.eq(1), self.error_code.eq(code), self.error_index.eq(index),
            ]

        def drain():
            m.d.sync += [
                self.done.eq(0), self.error.eq(0), self.error_code.eq(Error.NONE),
                self.error_index.eq(0), self.halt.eq(1), timer.eq(self.watchdog),
            ]
            m.next = "DRAIN"

        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(command):
                    drain()
            with m.State("DRAIN"):
                m.d.sync += count.eq(0)
                with m.If(self.axi_idle):
                    m.next = "RESET"
                with m.Elif(stuck):
                    fail(Error.TIMEOUT, 0)
                    m.next = "IDLE"
            with m.State("RESET"):
                m.d.comb += self.reset.eq(count < RESET_CYCLES)
                m.d.sync += count.eq(count + 1)
                with m.If(count == 2 * RESET_CYCLES - 1):
                    m.next = "IDLE"
                    with m.If(again):
                        m.d.sync += self.halt.eq(0)
                        m.next = "START"
            with m.State("START"):
                m.d.comb += self.run_start.eq(~self.soft_reset)
                m.d.sync += timer.eq(self.watchdog)
                m.next = "RUN"
                with m.If(self.soft_reset):
                    drain()
            with m.State("RUN"):
                m.d.comb += self.running.eq(1)
                with m.If(self.soft_reset):
                    drain()
                with m.Elif(fault.valid):
                    fail(fault.code, fault.index)
                    m.d.sync += [self.halt.eq(1), timer.eq(self.watchdog)]
                    m.next = "STOP"
                with m.Elif(self.finished):
                    m.d.sync += [self.done.eq(1), self.halt.eq(1)]
                    m.next = "IDLE"
                with m.Elif(stuck):
                    fail(Error.TIMEOUT, self.active_index)
                    m.d.sync += self.halt.eq(1)
                    m.next = "IDLE"
            with m.State("STOP"):
                with m.If(self.soft_reset):
                    drain()
                with m.Elif(self.axi_idle | stuck):
                    m.next = "IDLE"
        return m
