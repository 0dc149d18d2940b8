"""Fetch of the program, and the queues in which instructions wait for what they depend on."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import VECTOR, Config
from .csr import EngineState
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
from .linear_reader import LinearReader
from .operand_check import OperandCheck

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


def entry(operand) -> data.StructLayout:
    """What waits in a queue."""
    return data.StructLayout({"depends": Dependencies, "command": command(operand)})


class Queue(wiring.Component):
    """A queue of wide entries that come seldom.

    Up to two places are registers in a row, which cost no LUTs; more are LUT RAM. Latency:
    ``depth`` cycles for registers, else 1.
    """

    def __init__(self, shape, depth: int):
        self.shape, self.depth = shape, depth
        super().__init__({
            "input": In(stream.Signature(shape)),
            "output": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        if self.depth > 2:
            m.submodules.fifo = queue = fifo.SyncFIFO(width=self.shape.size, depth=self.depth)
            m.d.comb += [
                queue.w_data.eq(self.input.p.as_value()),
                queue.w_en.eq(self.input.valid),
                self.input.ready.eq(queue.w_rdy),
                self.output.p.as_value().eq(queue.r_data),
                self.output.valid.eq(queue.r_rdy),
                queue.r_en.eq(self.output.ready),
            ]
            return m
        previous = self.input
        for place in range(self.depth):
            following = stream.Signature(self.shape).create(path=(f"place{place}",))
            m.d.comb += previous.ready.eq(~following.valid)
            with m.If(following.ready):
                m.d.sync += following.valid.eq(0)
            with m.If(previous.valid & previous.ready):
                m.d.sync += [following.valid.eq(1), following.p.eq(previous.p)]
            previous = following
        wiring.connect(m, previous, wiring.flipped(self.output))
        return m


class Dispatch(wiring.Component):
    """Fetches instructions, checks them and gives each to its engine when it may start.

    Instructions are fetched one after the other, at most three ahead of the one that waits for
    its queue, never beyond the window: an instruction there faults with WINDOW when its turn comes.
    An instruction that fails ``OperandCheck`` faults with OPCODE or OPERAND. After a fault nothing
    is dispatched until reset; ``start`` needs a dispatcher that has finished or is reset.

    The head of a queue is offered when each event counter has reached its dependency. END finishes
    when the loads, gathers, reads and writes of all instructions have happened, the queues are
    empty and ``engines_idle`` is set; its own dependencies do not matter.

    Throughput: an instruction in ``BEATS + 5`` cycles, CONV and FIRE 65 more.

    Members
    -------
    start, program : begin at this vector address
    client : reads of the program
    window_vectors : size of the window
    weights, load, gather, compute : commands; ``operand`` is that of the opcode, for ``compute``
        ``ComputeOperand``
    load_done, gather_done, read_done, write_done : an event, one cycle each
    engines_idle : no engine has work or keeps any; falls in the cycle after a command is taken
    finished : one cycle at the end of the program
    fault, fault_code, fault_index : set from a fault until reset
    fetch_index : instruction being fetched, for faults of the program's reads
    active : index of the last command each engine took, in the order of ``QUEUES``
    waiting : why the head of the compute queue is not offered: WAIT_LOAD, WAIT_ORDER, else IDLE
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "start": In(1),
            "program": In(EXTERNAL_ADDRESS),
            "client": Out(ReadClient()),
            "window_vectors": In(EXTERNAL_ADDRESS),
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
            "waiting": Out(EngineState),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = LinearReader(self.config, 2 * BEATS)
        m.submodules.check = check = OperandCheck(self.config)
        wiring.connect(m, reader.client, wiring.flipped(self.client))

        instruction = Signal(8 * INSTRUCTION_BYTES)
        index = Signal(INDEX)
        beat = Signal(range(BEATS))
        header = data.View(Header, instruction[:HEADER_BITS])
        ending, queued, empty = Signal(), Signal(), Signal()
        missing = self._fetch(m, reader, ending)
        happened, owed = self._events(m, header.opcode, queued)
        offer = self._queues(m, instruction, index, happened, queued, empty)
        m.d.comb += [check.instruction.eq(instruction), self.fetch_index.eq(index)]

        def stop(code):
            m.d.sync += [
                self.fault.eq(1), self.fault_code.eq(code), self.fault_index.eq(index),
            ]
            m.next = "STOP"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), ending.eq(0)]
                with m.If(self.start):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += reader.output.ready.eq(1)
                with m.If(reader.output.valid):
                    m.d.sync += [
                        instruction.word_select(beat, 8 * VECTOR).eq(reader.output.p.as_value()),
                        beat.eq(beat + 1),
                    ]
                    with m.If(beat == BEATS - 1):
                        m.next = "DECODE"
                with m.Elif(missing):
                    stop(Error.WINDOW)
            with m.State("DECODE"):
                m.d.comb += check.start.eq(1)
                m.next = "CHECK"
            with m.State("CHECK"), m.If(check.done):
                with m.If(check.opcode_fault):
                    stop(Error.OPCODE)
                with m.Elif(check.operand_fault):
                    stop(Error.OPERAND)
                with m.Elif(header.opcode == Opcode.END.value):
                    m.d.sync += ending.eq(1)
                    m.next = "END"
                with m.Else():
                    m.next = "QUEUE"
            with m.State("QUEUE"):
                m.d.comb += offer.eq(1)
                with m.If(queued):
                    m.d.sync += index.eq(index + 1)
                    m.next = "FETCH"
            with m.State("END"):
                # What was fetched beyond the end is dropped.
                m.d.comb += reader.output.ready.eq(1)
                with m.If(reader.idle & empty & ~owed & self.engines_idle):
                    m.d.comb += self.finished.eq(1)
                    m.next = "IDLE"
            with m.State("STOP"):
                pass
        return m

    def _fetch(self, m, reader, ending):
        """Ask for instructions until the end; true if the next one lies beyond the window."""
        address = Signal(EXTERNAL_ADDRESS)
        fetching, inside = Signal(), Signal()
        m.d.comb += [
            inside.eq(address + BEATS <= self.window_vectors),
            reader.transfer.valid.eq(fetching & inside),
            reader.transfer.p.address.eq(address),
            reader.transfer.p.count.eq(BEATS),
        ]
        with m.If(reader.transfer.valid & reader.transfer.ready):
            m.d.sync += address.eq(address + BEATS)
        with m.If(ending | self.fault):
            m.d.sync += fetching.eq(0)
        with m.Elif(self.start):
            m.d.sync += [fetching.eq(1), address.eq(self.program)]
        return fetching & ~inside & reader.idle

    def _events(self, m, opcode, queued):
        """Counters of the events; whether instructions in the queues or engines owe some."""
        happened, promised = Signal(Dependencies), Signal(Dependencies)
        is_fire = opcode == Opcode.FIRE.value
        passes = Mux(is_fire, 2, opcode == Opcode.CONV.value)
        events = {
            "loads": (self.load_done, opcode == Opcode.LOAD.value),
            "gathers": (self.gather_done, opcode == Opcode.GATHER.value),
            "reads": (self.read_done, passes),
            "writes": (self.write_done, passes),
        }
        for name, (event, promise) in events.items():
            m.d.sync += happened[name].eq(happened[name] + event)
            with m.If(queued):
                m.d.sync += promised[name].eq(promised[name] + promise)
        with m.If(self.start):
            m.d.sync += [happened.eq(0), promised.eq(0)]
        return happened, happened != promised

    def _queues(self, m, instruction, index, happened, queued, empty):
        """The queues and the gates at their heads; returns the signal that offers an instruction.

        ``queued`` tells that it was taken, ``empty`` that no queue has a head.
        """
        header = data.View(Header, instruction[:HEADER_BITS])
        plain = instruction[HEADER_BITS:]
        offer = Signal()
        inputs, heads = [], []
        for place, (name, (operand, depth, opcodes)) in enumerate(QUEUES.items()):
            m.submodules[name] = queue = Queue(entry(operand), depth)
            mine = header.opcode.matches(*(opcode.value for opcode in opcodes))
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
            heads.append(queue.output.valid)

            engine, head = getattr(self, name), queue.output.p
            waits = {event: happened[event] < head.depends[event] for event in EVENTS}
            m.d.comb += [
                engine.p.eq(head.command),
                engine.valid.eq(queue.output.valid & ~Cat(waits.values()).any()),
                queue.output.ready.eq(engine.valid & engine.ready),
            ]
            with m.If(engine.valid & engine.ready):
                m.d.sync += self.active[place].eq(engine.p.index)
            if name == "compute":
                with m.If(queue.output.valid):
                    with m.If(waits["loads"] | waits["gathers"]):
                        m.d.comb += self.waiting.eq(EngineState.WAIT_LOAD)
                    with m.Elif(waits["reads"] | waits["writes"]):
                        m.d.comb += self.waiting.eq(EngineState.WAIT_ORDER)
        m.d.comb += [queued.eq(Cat(inputs).any()), empty.eq(~Cat(heads).any())]
        return offer
