"""Fetch of the program, and the queues in which instructions wait for what they depend on."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import VECTOR, Config
from .interfaces import ReadClient, command
from .isa import (
    COUNT,
    EXTERNAL_ADDRESS,
    HEADER_BITS,
    INSTRUCTION_BYTES,
    Error,
    Fire,
    Gather,
    Header,
    Load,
    Opcode,
    Weights,
)
from .operand_check import OperandCheck
from .profile import UnitState

BEATS = INSTRUCTION_BYTES // VECTOR
"""Vectors of an instruction."""
INDEX = 16
"""Bits of an instruction's index."""

ComputeOperand = data.StructLayout({"is_fire": 1, "fire": Fire})
"""Operand of the compute queue; that of CONV is the ``main`` of ``fire``."""
EVENTS = ("loads", "gathers", "reads", "writes")
"""What instructions wait for; the fields of the header have the same names."""
Dependencies = data.StructLayout({event: COUNT for event in EVENTS})
"""How often each event must have happened, or has."""

QUEUES = {
    "weights": (Weights, 4, (Opcode.WEIGHTS,)),
    "load": (Load, 4, (Opcode.LOAD,)),
    "gather": (Gather, 2, (Opcode.GATHER,)),
    "compute": (ComputeOperand, 1, (Opcode.CONV, Opcode.FIRE)),
}
"""Operand, depth and opcodes of each queue."""
SCAN = len(QUEUES) * len(EVENTS)
"""Cycles in which the heads of all queues are compared with the events."""


def entry(operand) -> data.StructLayout:
    """What waits in a queue."""
    return data.StructLayout({"depends": Dependencies, "command": command(operand)})


class Queue(wiring.Component):
    """A queue of wide entries that come seldom: registers in a row, which cost no LUTs.

    Latency: ``depth`` cycles.
    """

    def __init__(self, shape, depth: int):
        self.shape, self.depth = shape, depth
        super().__init__({
            "input": In(stream.Signature(shape)),
            "output": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        previous = self.input
        for place in range(self.depth):
            following = stream.Signature(self.shape).create(path=(f"place{place}",))
            held = Signal(self.shape, name=f"held{place}", reset_less=True)
            m.d.comb += [previous.ready.eq(~following.valid), following.p.eq(held)]
            with m.If(following.valid):
                m.d.sync += following.valid.eq(~following.ready)
            with m.Else():
                # An empty place takes what comes, valid or not.
                m.d.sync += [following.valid.eq(previous.valid), held.eq(previous.p)]
            previous = following
        wiring.connect(m, previous, wiring.flipped(self.output))
        return m


class Dispatch(wiring.Component):
    """Fetches instructions, checks them and gives each to its engine when it may start.

    An instruction is fetched, in bursts of one vector, when the one before has gone to its queue;
    the read arbiter faults for one beyond the window. An instruction that fails ``OperandCheck``
    faults with OPCODE or OPERAND. After a fault nothing is dispatched until reset; ``start`` needs
    a dispatcher that has finished or is reset.

    The head of a queue is offered when each event counter has reached its dependency, up to
    ``SCAN + 2`` cycles later. END finishes when the loads, gathers, reads and writes of all
    instructions have happened, the queues are empty and ``engines_idle`` is set; its own
    dependencies do not matter.

    Throughput: an instruction in ``BEATS + 4`` cycles, the latency of the memory and that of
    ``OperandCheck``.

    Members
    -------
    start, program : begin at this vector address
    client : reads of the program
    weights, load, gather, compute : commands; ``operand`` is that of the opcode, for ``compute``
        ``ComputeOperand``
    load_done, gather_done, read_done, write_done : an event, one cycle each
    engines_idle : no engine has work or keeps any; falls in the cycle after a command is taken
    finished : one cycle at the end of the program
    fault, fault_code, fault_index : set from a fault until reset
    fetch_index : instruction being fetched, for faults of the program's reads
    active : index of the last command each engine took, in the order of ``QUEUES``
    waiting : why the head of the compute queue is not offered: WAIT_INPUT, WAIT_ORDER, else IDLE
    gated : heads that wait for events, in the order of ``QUEUES``
    state : what the fetch does; ``passed``: an instruction goes to its queue
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "start": In(1),
            "program": In(EXTERNAL_ADDRESS),
            "client": Out(ReadClient()),
            **{name: Out(stream.Signature(command(operand)))
               for name, (operand, *_) in QUEUES.items()},
            "load_done": In(1),
            "gather_done": In(1),
            "read_done": In(1),
            "write_done": In(1),
            "engines_idle": In(1),
            "finished": Out(1),
            "fault": Out(1),
            "fault_code": Out(Error),
            "fault_index": Out(INDEX),
            "fetch_index": Out(INDEX),
            "active": Out(data.ArrayLayout(INDEX, len(QUEUES))),
            "waiting": Out(UnitState),
            "gated": Out(len(QUEUES)),
            "state": Out(UnitState),
            "passed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.check = check = OperandCheck(self.config)
        instruction = Signal(8 * INSTRUCTION_BYTES, reset_less=True)
        header = data.View(Header, instruction[:HEADER_BITS])
        index = Signal(INDEX)
        queued, empty = Signal(), Signal()

        fetch, come = self._fetch(m, instruction)
        happened, owed = self._events(m, header.opcode, queued)
        offer = self._queues(m, instruction, index, happened, queued, empty)
        m.d.comb += [
            check.instruction.eq(instruction), self.fetch_index.eq(index), self.passed.eq(queued),
        ]

        def stop(code):
            m.d.sync += [
                self.fault.eq(1), self.fault_code.eq(code), self.fault_index.eq(index),
            ]
            m.next = "STOP"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += index.eq(0)
                with m.If(self.start):
                    m.d.comb += fetch.eq(1)
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += self.state.eq(
                    Mux(self.client.data.valid, UnitState.BUSY, UnitState.WAIT_MEMORY))
                with m.If(come):
                    m.next = "DECODE"
            with m.State("DECODE"):
                m.d.comb += [check.start.eq(1), self.state.eq(UnitState.BUSY)]
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.state.eq(UnitState.BUSY)
                with m.If(check.done):
                    with m.If(check.opcode_fault):
                        stop(Error.OPCODE)
                    with m.Elif(check.operand_fault):
                        stop(Error.OPERAND)
                    with m.Elif(header.opcode == Opcode.END.value):
                        m.next = "END"
                    with m.Else():
                        m.next = "QUEUE"
            with m.State("QUEUE"):
                m.d.comb += [
                    offer.eq(1),
                    self.state.eq(Mux(queued, UnitState.BUSY, UnitState.WAIT_OUTPUT)),
                ]
                with m.If(queued):
                    m.d.sync += index.eq(index + 1)
                    m.d.comb += fetch.eq(1)
                    m.next = "FETCH"
            with m.State("END"):
                m.d.comb += self.state.eq(UnitState.DRAIN)
                with m.If(empty & ~owed & self.engines_idle):
                    m.d.comb += self.finished.eq(1)
                    m.next = "IDLE"
            with m.State("STOP"):
                pass
        return m

    def _fetch(self, m, instruction):
        """The signal that starts the fetch of an instruction, and the one of its last word."""
        address = Signal(EXTERNAL_ADDRESS)
        asked, word = Signal(range(BEATS)), Signal(range(BEATS))
        fetch, come = Signal(), Signal()
        request, beat = self.client.request, self.client.data
        m.d.comb += [request.p.address.eq(address), come.eq(beat.valid & (word == BEATS - 1))]
        with m.If(request.valid & request.ready):
            m.d.sync += [address.eq(address + 1), asked.eq(asked + 1)]
            with m.If(asked == BEATS - 1):
                m.d.sync += request.valid.eq(0)
        with m.If(fetch):
            m.d.sync += request.valid.eq(1)
        with m.If(self.start):
            m.d.sync += address.eq(self.program)
        with m.If(beat.valid):
            m.d.sync += [
                instruction.word_select(word, 8 * VECTOR).eq(beat.p.as_value()),
                word.eq(word + 1),
            ]
        return fetch, come

    def _events(self, m, opcode, queued):
        """Counters of the events; whether instructions in the queues or engines owe some."""
        happened = Signal(Dependencies)
        pulses = dict(zip(EVENTS, (
            self.load_done, self.gather_done, self.read_done, self.write_done), strict=True))
        for name, pulse in pulses.items():
            m.d.sync += happened[name].eq(happened[name] + pulse)
        with m.If(self.start):
            m.d.sync += happened.eq(0)

        # Queues and engines hold far fewer than 64 instructions, of four events at most.
        # What the opcode says comes from registers: it is there long before it is queued.
        owed, promised, change = Signal(8), Signal(3), Signal(signed(4))
        with m.Switch(opcode):
            with m.Case(Opcode.LOAD.value, Opcode.GATHER.value):
                m.d.sync += promised.eq(1)
            with m.Case(Opcode.CONV.value):
                m.d.sync += promised.eq(2)
            with m.Case(Opcode.FIRE.value):
                m.d.sync += promised.eq(4)
            with m.Default():
                m.d.sync += promised.eq(0)
        m.d.sync += [
            change.eq(Mux(queued, promised, 0) - sum(pulses.values())),
            owed.eq(owed + change),
        ]
        return happened, owed.any() | change.any()

    def _queues(self, m, instruction, index, happened, queued, empty):
        """The queues and the gates at their heads; returns the signal that offers an instruction.

        ``queued`` tells that it was taken, ``empty`` that no queue has a head.
        """
        header = data.View(Header, instruction[:HEADER_BITS])
        plain = instruction[HEADER_BITS:]
        offer = Signal()
        inputs, heads = [], []
        opened = Signal(len(QUEUES))
        for place, (name, (operand, depth, opcodes)) in enumerate(QUEUES.items()):
            m.submodules[name] = queue = Queue(entry(operand), depth)
            mine = Signal(name=f"for_{name}")
            m.d.sync += mine.eq(header.opcode.matches(*(opcode.value for opcode in opcodes)))
            bits = Cat(header.opcode == Opcode.FIRE.value, plain) if name == "compute" else plain
            incoming = queue.input.p
            m.d.comb += [
                queue.input.valid.eq(offer & mine),
                *(incoming.depends[event].eq(header[event]) for event in EVENTS),
                incoming.command.index.eq(index),
                incoming.command.layer.eq(header.layer),
                Value.cast(incoming.command.operand).eq(bits),
            ]
            inputs.append(queue.input.valid & queue.input.ready)
            heads.append(queue.output)

            engine = getattr(self, name)
            m.d.comb += [
                engine.p.eq(queue.output.p.command),
                engine.valid.eq(queue.output.valid & opened[place]),
                self.gated[place].eq(queue.output.valid & ~opened[place]),
                queue.output.ready.eq(engine.valid & engine.ready),
            ]
            with m.If(engine.valid & engine.ready):
                m.d.sync += [self.active[place].eq(engine.p.index), opened[place].eq(0)]
        m.d.comb += [
            queued.eq(Cat(inputs).any()),
            empty.eq(~Cat(head.valid for head in heads).any()),
        ]
        self._gates(m, heads, happened, opened)
        return offer

    def _gates(self, m, heads, happened, opened):
        """Opens the heads that have all their events: one comparator, an event of a head a cycle.

        A head in its queue stays there while it is looked at, as it is not open.
        """
        scan = data.StructLayout({"event": range(len(EVENTS)), "place": range(len(QUEUES))})
        now, compared = Signal(scan), Signal(scan)
        wanted, counted, shut = Signal(COUNT), Signal(COUNT), Signal()
        m.d.sync += [
            now.as_value().eq(now.as_value() + 1),
            compared.eq(now),
            wanted.eq(Array(head.p.depends[event] for head in heads for event in EVENTS)[
                now.as_value()]),
            counted.eq(Array(happened[event] for event in EVENTS)[now.event]),
            shut.eq(self.gated.bit_select(now.place, 1)),
        ]
        missing, failed = Signal(), Signal()
        m.d.comb += missing.eq(counted < wanted)
        with m.If(compared.event == 0):
            m.d.sync += failed.eq(missing | ~shut)
        with m.Elif(missing | ~shut):
            m.d.sync += failed.eq(1)
        with m.If((compared.event == len(EVENTS) - 1) & shut & ~missing & ~failed):
            m.d.sync += opened.bit_select(compared.place, 1).eq(1)

        # Which kinds of events the compute head misses.
        misses = Signal(len(EVENTS))
        with m.If(shut & (compared.place == list(QUEUES).index("compute"))):
            m.d.sync += misses.bit_select(compared.event, 1).eq(missing)
        with m.If(self.gated[list(QUEUES).index("compute")]):
            with m.If(misses[:2].any()):
                m.d.comb += self.waiting.eq(UnitState.WAIT_INPUT)
            with m.Elif(misses.any()):
                m.d.comb += self.waiting.eq(UnitState.WAIT_ORDER)
