"""Where the cycles of a run go: a histogram of states for each unit, and event counters."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import Config


class UnitState(enum.Enum, shape=3):
    """What a unit did in a cycle of a run; exactly one state each cycle."""

    IDLE = 0
    """Nothing to do: no instruction has reached the unit, or it has nothing under way."""
    BUSY = 1
    """It did its work: a step, a vector, a beat; or, of the dispatcher, anything."""
    WAIT_INPUT = 2
    """Waiting for what it works on: a LOAD or GATHER, or vectors of the unit before it."""
    WAIT_WEIGHTS = 3
    """Waiting for weights or parameters."""
    WAIT_OUTPUT = 4
    """Results cannot leave: the unit behind it takes none."""
    WAIT_ORDER = 5
    """Waiting for an event of other instructions: reads, writes, a free parameter slot."""
    WAIT_MEMORY = 6
    """Waiting for external memory."""
    DRAIN = 7
    """Its work is given out, and what is behind it ends: results, responses, the program."""


STATES = len(UnitState)
UNITS = {
    "array": "a step",
    "tiles": "a vector of weights from the ring to the array",
    "weights": "a vector of weights from external memory",
    "load": "a vector of a LOAD to the activation memory",
    "gather": "windows of the image",
    "finish": "a phase of the requantisers",
    "store": "a vector into pooling or out of it",
    "residual": "a bypass operand",
    "dispatch": "an instruction is fetched and checked",
}
"""Names of the units, and what ``UnitState.BUSY`` is for each."""
EVENTS = ("CYCLES", "READ_BEATS", "WRITE_BEATS")
"""Counters beside the histograms; CYCLES counts every cycle of a run."""

LOW = 8
"""Bits of a counter that are kept where it counts."""
WIDTH = 32


def profiled(config: Config) -> tuple[str, ...]:
    """The units whose states the core counts: all, or the array alone."""
    return tuple(UNITS)[:None if config.profile else 1]


class Profile(wiring.Component):
    """32-bit counters: ``STATES`` words for each of ``units`` units, and ``EVENTS`` after them.

    Only the low ``LOW`` bits of a counter are where it counts, those of a histogram in LUT RAM. The
    upper bits of all counters share one memory and one adder: a scan visits every word before its
    low bits can turn over twice, and counts a turn when it finds their top bit fallen. A read is
    one more visit, so what it gives is exact.

    Members
    -------
    clear : counters are set to 0 in the ``STATES`` cycles after it rises; no cycle may count
        before they have passed
    running : this cycle counts, from the one after the next on
    states : of the units in this cycle
    read_beat, write_beat : events in this cycle
    address : unit times ``STATES`` plus state; events have the unit number ``units``
    read : one cycle for a read; the next one not before its answer
    valid, value : the answer, three cycles after ``read``, one more behind a scan of its word,
        later only during ``clear``
    """

    def __init__(self, units: int):
        self.units = units
        self.words = STATES * units + len(EVENTS)
        # One visit in three may be a read; a word's low bits move half their range between visits.
        if self.words * 3 > 2 << LOW - 1:
            raise ValueError(f"profile: {units} units have {self.words} counters, supported: "
                             f"{(2 << LOW - 1) // 3}")
        super().__init__({
            "clear": In(1),
            "running": In(1),
            "states": In(data.ArrayLayout(UnitState, units)),
            "read_beat": In(1),
            "write_beat": In(1),
            "address": In(range(STATES * (units + 1))),
            "read": In(1),
            "valid": Out(1),
            "value": Out(WIDTH),
        })

    def elaborate(self, platform):
        m = Module()
        scan, fresh = Signal.like(self.address, name="scan"), Signal(init=1)
        clearing, cleared = Signal(init=1), Signal()

        # Visit, first cycle: the low bits of a word. A waiting read goes before the scan.
        # No word is visited twice in a row: its upper bits are still on their way back then.
        asked, visiting, visited = Signal(), Signal(), Signal.like(self.address)
        wanted, again, grant, reading = Signal(), Signal(), Signal(), Signal()
        low, new_count = Signal(LOW), Signal()
        where = Signal.like(self.address)
        m.d.comb += [
            wanted.eq((asked | self.read) & ~clearing),
            where.eq(Mux(wanted, self.address, scan)),
            again.eq(visiting & (where == visited) & ~fresh),
            grant.eq(wanted & ~again),
        ]
        m.d.sync += [
            asked.eq((asked | self.read) & ~grant),
            reading.eq(grant),
            visiting.eq(~again),
            visited.eq(where),
            low.eq(self._low(m, where, clearing, scan)),
            new_count.eq(fresh),
            cleared.eq(self.clear),
        ]
        with m.If(clearing):
            m.d.sync += low.eq(0)
        with m.If(self.clear & ~cleared):
            m.d.sync += [scan.eq(0), fresh.eq(1), clearing.eq(1)]
        with m.Elif(~wanted & ~again):
            m.d.sync += scan.eq(scan + 1)
            with m.If(scan == STATES - 1):
                m.d.sync += clearing.eq(0)
            with m.If(scan == self.words - 1):
                m.d.sync += [scan.eq(0), fresh.eq(0)]

        # Second cycle: the upper bits, and the top one of the low bits as they were.
        upper = data.StructLayout({"before": 1, "count": WIDTH - LOW})
        m.submodules.memory = memory = Memory(shape=upper, depth=self.words, init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        held = Signal(WIDTH - LOW)
        turned = Signal()
        m.d.comb += read.addr.eq(visited)
        m.d.sync += [
            held.eq(Mux(new_count, 0, read.data.count)),
            turned.eq(read.data.before & ~low[-1] & ~new_count),
            write.addr.eq(visited),
            write.en.eq(visiting),
        ]

        # Third cycle: the sum.
        low_then, reading_then = Signal(LOW), Signal()
        m.d.sync += [low_then.eq(low), reading_then.eq(reading)]
        m.d.comb += [
            write.data.before.eq(low_then[-1]),
            write.data.count.eq(held + turned),
            self.valid.eq(reading_then),
            self.value.eq(Cat(low_then, write.data.count)),
        ]
        return m

    def _low(self, m, where, clearing, scan):
        """Counts, a cycle late; returns the low bits of the word at ``where``."""
        states, running = Signal.like(self.states), Signal()
        beats = Signal(2)
        m.d.sync += [states.eq(self.states), running.eq(self.running),
                     beats.eq(Cat(self.read_beat, self.write_beat))]
        words = []
        for unit in range(self.units):
            m.submodules[f"unit_{unit}"] = memory = Memory(shape=LOW, depth=STATES, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            seen = memory.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(Mux(clearing, scan, states[unit])),
                write.en.eq(clearing | running),
                read.addr.eq(write.addr),
                write.data.eq(Mux(clearing, 0, read.data + 1)),
                seen.addr.eq(where),
            ]
            words.append(seen.data)
        events = []
        for name, event in zip(EVENTS, (1, *beats), strict=True):
            count = Signal(LOW, name=name.lower())
            with m.If(clearing):
                m.d.sync += count.eq(0)
            with m.Elif(running):
                m.d.sync += count.eq(count + event)
            events.append(count)
        words.append(Array(events)[where[:ceil_log2(len(EVENTS))]])
        return Array(words)[where[ceil_log2(STATES):]]
