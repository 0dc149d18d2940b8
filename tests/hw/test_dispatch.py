"""The dispatcher: programs from memory to queues, gates, end, faults."""

import random

import pytest
from amaranth.hdl import Module, ResetInserter, Signal

from hw.config import Config
from hw.dispatch import EVENTS, QUEUES, Dispatch
from hw.isa import HEADER_BITS, Error, Opcode
from hw.profile import UnitState
from tests.hw.programs import good, instruction, vectors
from tests.hw.streams import bits, go, read_server, simulate, ticked

CONFIG = Config()
PROGRAM = 1003
QUEUE_OF = {opcode: name for name, (*_, opcodes) in QUEUES.items() for opcode in opcodes}
ENDED = ("finished",)


class Machine:
    """Engines as the dispatcher sees them: each takes a command, works a while, tells its events.

    Every gate is checked when a command is taken, against the events that the engines have told.
    """

    def __init__(self, program, *, rng=None, rate=1.0, work=20, latency=3):
        self.dut = Dispatch(CONFIG)
        self.program, self.rng, self.rate, self.work = program, rng, rate, work
        self.latency = latency
        self.memory = dict(enumerate(vectors([word for word, _ in program]), PROGRAM))
        self.taken, self.reads = [], []
        self.events = dict.fromkeys(EVENTS, 0)
        self.busy = 0
        self.waited = set()

    def engine(self, name):
        dut = self.dut
        port = getattr(dut, name)
        pulses = {"load": ["load_done"], "gather": ["gather_done"], "weights": [],
                  "compute": ["read_done", "write_done"]}[name]

        async def bench(ctx):
            while True:
                ctx.set(port.ready, go(self.rng, self.rate))
                valid, ready, payload = await ticked(ctx, port.valid, port.ready, port.payload)
                if not (valid and ready):
                    continue
                ctx.set(port.ready, 0)
                self.busy += 1
                ctx.set(dut.engines_idle, 0)
                index = payload.index
                _, depends = self.program[index]
                self.taken.append((name, index, payload.layer, bits(payload.operand)))
                missing = {e: n for e, n in depends.items() if n > self.events[e]}
                assert not missing, f"instruction {index} started before {missing}"
                opcode = self.program[index][0] & 255
                for _ in range(2 if opcode == Opcode.FIRE.value else 1):
                    for pulse in pulses:
                        cycles = self.rng.randrange(self.work) if self.rng else self.work
                        for _ in range(cycles):
                            await ticked(ctx, port.valid)
                        ctx.set(getattr(dut, pulse), 1)
                        await ticked(ctx, port.valid)
                        ctx.set(getattr(dut, pulse), 0)
                        self.events[pulse.replace("_done", "s")] += 1
                self.busy -= 1
                if not self.busy:
                    ctx.set(dut.engines_idle, 1)
        return bench

    async def watch(self, ctx):
        dut = self.dut
        while True:
            waiting, valid = await ticked(ctx, dut.waiting, dut.compute.valid)
            assert not (valid and waiting != UnitState.IDLE)
            self.waited.add(UnitState(waiting))

    async def outcome(self, ctx):
        """Start, and wait for the end: ("finished",) or (code, index)."""
        dut = self.dut
        self.taken.clear()
        self.events.update(dict.fromkeys(EVENTS, 0))
        ctx.set(dut.engines_idle, 1)
        ctx.set(dut.program, PROGRAM)
        ctx.set(dut.start, 1)
        await ticked(ctx, dut.finished)
        ctx.set(dut.start, 0)
        while True:
            finished, fault, code, index = await ticked(
                ctx, dut.finished, dut.fault, dut.fault_code, dut.fault_index)
            if finished:
                assert not fault and not self.busy
                return ENDED
            if fault:
                return Error(code), index

    def run(self, times=1):
        outcomes = []

        async def main(ctx):
            for _ in range(times):
                outcomes.append(await self.outcome(ctx))
                for _ in range(10):
                    assert not await ticked(ctx, self.dut.finished)
        # Memory beyond the program holds no instruction.
        server = read_server(
            self.dut.client, lambda address: self.memory.get(address, (1 << 128) - 1),
            self.rng, self.rate, self.latency, self.reads)
        simulate(self.dut, main, background=(
            server, self.watch, *map(self.engine, QUEUES)), deadline=60_000)
        return outcomes[0] if times == 1 else outcomes


def random_program(rng, length):
    """Instructions whose dependencies can be met, with their dependencies; END last."""
    counts, program = dict.fromkeys(EVENTS, 0), []
    opcodes = [opcode for opcode in Opcode if opcode != Opcode.END]
    for _ in range(length):
        opcode = rng.choice(opcodes)
        depends = {event: rng.choice((0, max(n - 2, 0), n)) for event, n in counts.items()}
        program.append((instruction(
            opcode, good(opcode, CONFIG), rng.randrange(1 << 16), **depends), depends))
        for event in {"load": ["loads"], "gather": ["gathers"], "weights": [],
                      "compute": ["reads", "writes"]}[QUEUE_OF[opcode]]:
            counts[event] += 2 if opcode == Opcode.FIRE else 1
    return [*program, (instruction(Opcode.END), {})]


def commands(program):
    """What each engine has to take, in order: (index, layer, operand bits)."""
    result = {name: [] for name in QUEUES}
    for index, (word, _) in enumerate(program):
        opcode = Opcode(word & 255)
        if opcode == Opcode.END:
            break
        operand = word >> HEADER_BITS
        if QUEUE_OF[opcode] == "compute":
            operand = operand << 1 | (opcode == Opcode.FIRE)
        result[QUEUE_OF[opcode]].append((index, word >> 16 & 0xFFFF, operand))
    return result


def taken(machine):
    result = {name: [] for name in QUEUES}
    for name, *rest in machine.taken:
        result[name].append(tuple(rest))
    return result


@pytest.mark.parametrize("rate, work", ((1.0, 1), (0.5, 40), (0.3, 100)))
@pytest.mark.parametrize("seed", range(2))
def test_programs(seed, rate, work):
    """Random programs, twice: each engine takes its commands in order, whole, and not early."""
    rng = random.Random(seed)
    machine = Machine(random_program(rng, 16), rng=rng, rate=rate, work=work)
    assert machine.run(times=2) == [ENDED, ENDED]
    assert taken(machine) == commands(machine.program)


def test_waiting():
    """A blocked head shows what it waits for."""
    for event, state in (("loads", UnitState.WAIT_INPUT), ("gathers", UnitState.WAIT_INPUT),
                         ("reads", UnitState.WAIT_ORDER), ("writes", UnitState.WAIT_ORDER)):
        first = {"loads": Opcode.LOAD, "gathers": Opcode.GATHER}.get(event, Opcode.CONV)
        program = [(instruction(first, good(first, CONFIG)), {}),
                   (instruction(Opcode.CONV, good(Opcode.CONV, CONFIG), **{event: 1}), {event: 1}),
                   (instruction(Opcode.END), {})]
        machine = Machine(program, work=300)
        assert machine.run() == ENDED
        assert machine.waited == {UnitState.IDLE, state}


@pytest.mark.parametrize("latency", (1, 60))
def test_end_alone(latency):
    """A program of END finishes, and nothing behind it is read."""
    machine = Machine([(instruction(Opcode.END), {})], latency=latency)
    assert machine.run(times=2) == [ENDED, ENDED]
    assert machine.reads == [(PROGRAM + word, 1) for word in range(8)] * 2


def test_end_waits_for_weights():
    """END waits for a WEIGHTS in its queue, and then for its engine."""
    dut = Dispatch(CONFIG)
    program = [instruction(op, good(op, CONFIG)) for op in (Opcode.WEIGHTS, Opcode.END)]
    memory = dict(enumerate(vectors(program)))

    async def bench(ctx):
        async def unfinished(cycles):
            for _ in range(cycles):
                assert not await ticked(ctx, dut.finished)

        ctx.set(dut.engines_idle, 1)
        ctx.set(dut.start, 1)
        await unfinished(1)
        ctx.set(dut.start, 0)
        await unfinished(200)
        ctx.set(dut.weights.ready, 1)
        await unfinished(1)
        ctx.set(dut.engines_idle, 0)
        await unfinished(200)
        ctx.set(dut.engines_idle, 1)
        assert await ticked(ctx, dut.finished)

    simulate(dut, bench, background=(read_server(dut.client, memory.get),))


@pytest.mark.parametrize("event", EVENTS)
def test_end_waits_for_every_event(event):
    """END waits for the last event of each kind though engines_idle never falls."""
    opcode = {"loads": Opcode.LOAD, "gathers": Opcode.GATHER}.get(event, Opcode.FIRE)
    dut = Dispatch(CONFIG)
    program = [instruction(opcode, good(opcode, CONFIG)), instruction(Opcode.END)]
    memory = dict(enumerate(vectors(program)))
    pulses = {"loads": ["load_done"], "gathers": ["gather_done"],
              "reads": ["write_done"] * 2 + ["read_done"] * 2,
              "writes": ["read_done"] * 2 + ["write_done"] * 2}[event]

    async def bench(ctx):
        ctx.set(dut.engines_idle, 1)
        for name in QUEUES:
            ctx.set(getattr(dut, name).ready, 1)
        ctx.set(dut.start, 1)
        await ticked(ctx, dut.finished)
        ctx.set(dut.start, 0)
        for pulse in pulses:
            for _ in range(200):
                assert not await ticked(ctx, dut.finished)
            ctx.set(getattr(dut, pulse), 1)
            await ticked(ctx, dut.finished)
            ctx.set(getattr(dut, pulse), 0)
        assert [await ticked(ctx, dut.finished) for _ in range(3)].count(1) == 1

    simulate(dut, bench, background=(read_server(dut.client, memory.get),))


def test_runs_ahead():
    """While the array is held, the loads and weights that follow are taken."""
    dut = Dispatch(CONFIG)
    program = [instruction(op, good(op, CONFIG)) for op in
               (Opcode.CONV, Opcode.WEIGHTS, Opcode.LOAD, Opcode.WEIGHTS, Opcode.END)]
    memory = dict(enumerate(vectors(program)))
    seen = []

    async def bench(ctx):
        ctx.set(dut.weights.ready, 1)
        ctx.set(dut.load.ready, 1)
        ctx.set(dut.start, 1)
        for _ in range(400):
            weights, weights_index, load, load_index = await ticked(
                ctx, dut.weights.valid, dut.weights.p.index, dut.load.valid, dut.load.p.index)
            ctx.set(dut.start, 0)
            seen.extend([weights_index] * weights + [load_index] * load)
        assert ctx.get(dut.compute.valid) and ctx.get(dut.compute.p.index) == 0
        assert list(ctx.get(dut.active)) == [3, 2, 0, 0]

    simulate(dut, bench, background=(read_server(dut.client, memory.get),))
    assert seen == [1, 2, 3]


WORK = [(instruction(Opcode.WEIGHTS, good(Opcode.WEIGHTS, CONFIG)), {})] * 3


@pytest.mark.parametrize("bad, code", (
    (instruction(0), Error.OPCODE),
    (instruction(255), Error.OPCODE),
    (instruction(Opcode.WEIGHTS, {"count": 0}), Error.OPERAND),
    (instruction(Opcode.CONV, {"main": {}}), Error.OPERAND),
))
@pytest.mark.parametrize("before", (0, 3))
def test_bad_instruction(bad, code, before):
    """The fault names the instruction; those before it are given out, none after it."""
    machine = Machine([*WORK[:before], (bad, {}), *WORK, (instruction(Opcode.END), {})])
    assert machine.run() == (code, before)
    assert [index for _, index, *_ in machine.taken] == list(range(before))[:len(machine.taken)]


def test_fault_stays_until_reset_and_nothing_runs():
    """After a fault a start does nothing; a reset makes the next program run."""
    reset = Signal()
    dut = Dispatch(CONFIG)
    memory = dict(enumerate(vectors([instruction(0), instruction(Opcode.END)])))
    m = Module()
    m.submodules.dut = ResetInserter(reset)(dut)

    async def bench(ctx):
        ctx.set(dut.engines_idle, 1)

        async def start(program):
            ctx.set(dut.program, program)
            ctx.set(dut.start, 1)
            await ticked(ctx, dut.fault)
            ctx.set(dut.start, 0)
            finished = 0
            for _ in range(100):
                finished += await ticked(ctx, dut.finished)
            return finished, ctx.get(dut.fault)

        assert await start(0) == (0, 1)
        assert await start(8) == (0, 1)
        ctx.set(reset, 1)
        await ticked(ctx, dut.fault)
        ctx.set(reset, 0)
        assert await start(8) == (1, 0)

    simulate(m, bench, background=(read_server(dut.client, lambda a: memory.get(a, 0)),))
