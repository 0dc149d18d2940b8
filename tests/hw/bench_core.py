"""cocotb bench of the core: a memory and a register manager that are not ours, a small network.

The network has what the instruction set offers: a gathered first layer in bands, two FIREs, one
with pooling and one with a bypass, a LOAD, results in external and on-chip memory, sums of a map.
"""

import functools

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from hw import csr
from hw.config import VECTOR
from hw.isa import INSTRUCTION_BYTES, Error, Opcode
from hw.profile import EVENTS, UNITS, UnitState
from sim.golden import graph as golden
from sw.assembler import assemble, disassemble
from sw.compiler import compile_graph
from sw.importer import import_proto
from tests.models import ModelBuilder

from .bench_axi import PAGE, Ram
from .test_core import CONFIG

BASE = 4 * PAGE
GUARD = 0xA5
DEADLINE = 60_000
"""Cycles of a run that nothing slows down."""
WATCHDOG = 1500


@functools.cache
def network():
    """The program of the network, its graph, and two float images."""
    builder = ModelBuilder((3, 21, 21), seed=3)
    x = builder.conv(builder.input(), 16, strides=(2, 2), quant=builder.low())
    pooled = builder.max_pool(builder.fire(x, 16, 32))
    x = builder.add(pooled, builder.fire(pooled, 16, 32))
    x = builder.average(builder.conv(x, 20, 1, quant=builder.low()), is_float=True)
    graph = import_proto(builder.model(pooled, x))
    program = compile_graph(graph, CONFIG)
    opcodes = [opcode for opcode, *_ in disassemble(program.code)]
    for opcode in Opcode:
        assert opcode in opcodes, f"the network has no {opcode.name}"
    return program, graph, [builder.image() for _ in range(2)]


def find(opcode: Opcode, which: int = 0) -> int:
    """The index of an instruction; ``which`` counts those of the same opcode."""
    program, *_ = network()
    return [i for i, (each, *_) in enumerate(disassemble(program.code)) if each == opcode][which]


class Bench:
    """A core after reset with the network in memory."""

    def __init__(self, dut, seed: int):
        self.dut, self.rng = dut, np.random.default_rng(seed)
        self.program, self.graph, self.images = network()
        self.size = self.program.memory_vectors * VECTOR
        end = BASE + -(-self.size // PAGE) * PAGE
        self.ram = Ram(dut, end + PAGE)
        self.csr = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "csr_"), dut.clk, dut.rst)
        for half in (self.csr.write_if, self.csr.read_if):
            half.log.setLevel("WARNING")

    @property
    def window(self) -> np.ndarray:
        return self.ram.contents[BASE:BASE + self.size].reshape(-1, VECTOR)

    async def start(self, pause: int = 0):
        dut = self.dut
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        dut.rst.value = 1
        for _ in range(3):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        cocotb.start_soon(self.ram.watch())
        self.ram.pause(self.rng, pause)
        self.ram.contents[:] = GUARD
        self.fill(0)
        for name, value in (("WINDOW_BASE", BASE), ("WINDOW_VECTORS", self.program.memory_vectors),
                            ("PROGRAM", self.program.code_address), ("WATCHDOG", WATCHDOG),
                            ("INTERRUPT", 1)):
            await self.write(name, value)
        return self

    def fill(self, image: int, patches: dict | None = None):
        """Memory as before a run; ``patches``: index of an instruction to its bytes."""
        self.window[:] = self.program.memory_image()
        place = self.program.input
        packed = self.program.pack_input(golden.input_integers(self.graph, self.images[image]))
        self.window[place.address:place.address + place.vectors] = packed
        code = self.window[self.program.code_address:].reshape(-1)
        for index, instruction in (patches or {}).items():
            code[index * INSTRUCTION_BYTES:][:INSTRUCTION_BYTES] = np.frombuffer(
                instruction, np.uint8)

    def patched(self, index: int, **fields) -> dict:
        """The patch that sets fields of an instruction; ``main__walk__planes=0`` goes deep,
        ``header__loads`` into the header."""
        opcode, header, operand = list(disassemble(self.program.code))[index]
        parts = {"header": header, **operand}
        for path, value in fields.items():
            *way, name = path.split("__")
            inner = parts
            for step in way:
                inner = inner[step]
            assert name in inner, path
            inner[name] = value
        return {index: assemble(opcode, parts.pop("header"), parts)}

    async def write(self, name: str, value: int):
        response = await with_timeout(
            self.csr.write_dword(csr.OFFSETS[name], value), 1000, "ns")
        assert response is None or not response.resp

    async def read(self, name: str) -> int:
        return await with_timeout(self.csr.read_dword(csr.OFFSETS[name]), 1000, "ns")

    async def cycles(self, count: int):
        for _ in range(count):
            await RisingEdge(self.dut.clk)

    async def run(self, deadline: int = DEADLINE) -> tuple[Error, int]:
        """Starts the program and waits for its end: error and instruction."""
        await self.write("CONTROL", 1)
        return await self.end(deadline)

    async def end(self, deadline: int = DEADLINE) -> tuple[Error, int]:
        for _ in range(deadline):
            await RisingEdge(self.dut.clk)
            await ReadOnly()
            if self.dut.interrupt.value:
                break
        else:
            raise AssertionError(f"the core did not finish in {deadline} cycles")
        await RisingEdge(self.dut.clk)
        status = await self.rest()
        assert (self.ram.contents[:BASE] == GUARD).all()
        assert (self.ram.contents[BASE + self.size:] == GUARD).all()
        assert bool(status >> 1 & 1) != bool(status >> 2 & 1), "either done or error"
        error = Error(status >> 8 & 0xFF)
        assert (error != Error.NONE) == bool(status >> 2 & 1)
        return error, await self.read("ERROR_INSTRUCTION")

    async def rest(self) -> int:
        """Waits until the core is not busy; the status."""
        for _ in range(400):
            status = await self.read("STATUS")
            if not status & 1:
                return status
            await self.cycles(20)
        raise AssertionError("the core stays busy")

    async def soft_reset(self):
        await self.write("CONTROL", 2)
        assert await self.rest() == 0, "status after a soft reset"

    def check_result(self, image: int):
        """The outputs are those of the golden model."""
        expected = golden.run(self.graph, self.images[image])
        for output in self.program.outputs:
            found = self.program.unpack_output(
                output, self.window[output.address:output.address + output.vectors])
            np.testing.assert_array_equal(found, expected[output.tensor], output.tensor)
            assert len(np.unique(found)) > 8

    async def good_run(self, image: int = 0):
        """The program as it should be gives what it should."""
        self.fill(image)
        assert await self.run() == (Error.NONE, 0)
        self.check_result(image)


@cocotb.test()
async def network_equals_golden_model(dut):
    """Two images one after the other; then the counters fit the run."""
    bench = await Bench(dut, 1).start()
    assert await bench.read("CONFIG") == CONFIG.digest
    await bench.good_run(0)
    bench.ram.reads.clear()
    bench.ram.writes.clear()
    await bench.good_run(1)
    counters = {name: await bench.read(name) for name in
                (*EVENTS, *(state.name for state in csr.ARRAY_COUNTERS))}
    assert counters["READ_BEATS"] == sum(beats for _, beats in bench.ram.reads)
    assert counters["WRITE_BEATS"] == sum(beats for _, beats in bench.ram.writes) == sum(
        output.vectors for output in bench.program.outputs)
    assert counters["BUSY"] == bench.program.ideal_cycles
    assert sum(counters[state.name] for state in csr.ARRAY_COUNTERS) == counters["CYCLES"]
    for unit in range(len(UNITS)):
        await bench.write("PROFILE_UNIT", unit)
        states = {state: await bench.read(f"UNIT_{state.name}") for state in UnitState}
        assert sum(states.values()) == counters["CYCLES"]
    dut._log.info("counters %s, estimate %d", counters, bench.program.estimate)


@cocotb.test()
async def network_with_a_slow_memory(dut):
    bench = await Bench(dut, 2).start(pause=60)
    await bench.good_run(1)


def errors(bench):
    """(name, patches, error, instruction or range of instructions)."""
    end, act = bench.program.memory_vectors, CONFIG.act_vectors
    weights, load, gather = find(Opcode.WEIGHTS, -1), find(Opcode.LOAD), find(Opcode.GATHER)
    conv, fire, bypass = find(Opcode.CONV), find(Opcode.FIRE), find(Opcode.FIRE, 1)
    patched = bench.patched
    unknown = (0x55).to_bytes(1, "little") + bytes(INSTRUCTION_BYTES - 1)
    return [
        ("unknown opcode", {load: unknown}, Error.OPCODE, load),
        ("opcode 0", {0: bytes(INSTRUCTION_BYTES)}, Error.OPCODE, 0),
        ("no planes", patched(fire, main__walk__planes=0), Error.OPERAND, fire),
        ("too many steps", patched(conv, main__walk__steps=100), Error.OPERAND, conv),
        ("empty load", patched(load, count=0), Error.OPERAND, load),
        ("load behind the window", patched(load, address=end - 1), Error.WINDOW, load),
        ("load far away", patched(load, address=(1 << 28) - 1), Error.WINDOW, load),
        ("weights behind the window", patched(weights, address=end - 3), Error.WINDOW, weights),
        ("image behind the window", patched(gather, address=end - 3), Error.WINDOW, gather),
        ("bypass behind the window", patched(bypass, main__residual__address_b=end - 4),
         Error.WINDOW, bypass),
        ("store behind the window", patched(fire, main__target__address_b=end - 2),
         Error.WINDOW, fire),
        ("store at the last address", patched(fire, main__target__address_a=(1 << 28) - 1),
         Error.WINDOW, fire),
        ("load behind the activations", patched(load, target=act - 1), Error.ACT_RANGE, load),
        ("gather behind the activations", patched(gather, target=act + 7), Error.ACT_RANGE, gather),
        ("read behind the activations", patched(conv, main__source__address=act - 2),
         Error.ACT_RANGE, conv),
        ("store behind the activations", patched(conv, main__target__address_b=act - 5),
         Error.ACT_RANGE, conv),
        ("squeeze behind the activations", patched(bypass, squeeze__target=0xFFF0),
         Error.ACT_RANGE, bypass),
    ]


@cocotb.test()
async def faults_of_instructions(dut):
    """Each stops the run with its code and instruction; a good run follows at once."""
    bench = await Bench(dut, 3).start(pause=20)
    for name, patches, error, index in errors(bench):
        bench.fill(0, patches)
        found = await bench.run()
        assert found == (error, index), f"{name}: {found}"
    await bench.good_run()


@cocotb.test()
async def program_outside_the_window(dut):
    bench = await Bench(dut, 4).start()
    await bench.write("PROGRAM", bench.program.memory_vectors - 4)
    assert await bench.run() == (Error.WINDOW, 0)
    await bench.write("PROGRAM", bench.program.code_address)
    await bench.good_run()


@cocotb.test()
async def error_responses(dut):
    """SLVERR for one vector of a read or write."""
    bench = await Bench(dut, 5).start(pause=20)
    # The bypass gets a place that nothing else reads: behind the program.
    spare = len(bench.program.code) // VECTOR + 32
    patches = bench.patched(find(Opcode.FIRE, 1), main__residual__address_b=spare)
    code = list(disassemble(bench.program.code))

    def field(opcode, name, which=0):
        index = find(opcode, which)
        return index, functools.reduce(lambda inner, key: inner[key], name, code[index][2])

    for kind, (index, address) in (
            ("reads", field(Opcode.WEIGHTS, ["address"], -1)),
            ("reads", field(Opcode.LOAD, ["address"])),
            ("reads", field(Opcode.GATHER, ["address"])),
            ("reads", (find(Opcode.FIRE, 1), spare)),
            ("writes", field(Opcode.FIRE, ["main", "target", "address_b"])),
            ("writes", field(Opcode.CONV, ["main", "target", "address_b"], -1))):
        bench.fill(0, patches)
        first = BASE + address * VECTOR
        broken = range(first, first + VECTOR)
        setattr(bench.ram.storage, f"broken_{kind}", broken)
        found = await bench.run()
        error = Error.READ if kind == "reads" else Error.WRITE
        setattr(bench.ram.storage, f"broken_{kind}", range(0))
        assert found == (error, index), (kind, index, address, found)
    await bench.good_run()

    # The program is fetched up to three instructions ahead of the one at hand.
    index = find(Opcode.FIRE)
    first = BASE + index * INSTRUCTION_BYTES
    bench.ram.storage.broken_reads = range(first, first + VECTOR)
    error, found = await bench.run()
    bench.ram.storage.broken_reads = range(0)
    assert error == Error.READ and index - 3 <= found <= index
    await bench.good_run(1)


@cocotb.test()
async def watchdog(dut):
    """A dependency that never comes, in every queue; 0 turns the watchdog off."""
    bench = await Bench(dut, 6).start()
    last_compute = {index: max((i for i in range(index) if list(disassemble(
        bench.program.code))[i][0] in (Opcode.CONV, Opcode.FIRE)), default=0)
        for index in (find(Opcode.FIRE, 1), find(Opcode.GATHER), find(Opcode.LOAD))}
    for index, at_work in last_compute.items():
        bench.fill(0, bench.patched(index, header__loads=60000))
        assert await bench.run() == (Error.TIMEOUT, at_work), index
    await bench.good_run()

    await bench.write("WATCHDOG", 0)
    bench.fill(0, bench.patched(find(Opcode.LOAD), header__writes=60000))
    await bench.write("CONTROL", 1)
    await bench.cycles(4 * WATCHDOG + bench.program.estimate)
    assert await bench.read("STATUS") == 1, "still waiting"
    await bench.soft_reset()
    await bench.write("WATCHDOG", WATCHDOG)
    await bench.good_run(1)


@cocotb.test()
async def soft_reset_at_any_time(dut):
    """In the middle of a run, with bursts under way: the bus is drained, the next run is right."""
    bench = await Bench(dut, 7).start(pause=30)
    for run in range(12):
        bench.fill(run % 2)
        await bench.write("CONTROL", 1)
        await bench.cycles(int(bench.rng.integers(1, bench.program.estimate)))
        assert await bench.read("STATUS") & 1
        if run % 4 == 3:
            # Reset and start in one write.
            await bench.write("CONTROL", 3)
            assert await bench.end() == (Error.NONE, 0)
            bench.check_result(run % 2)
        else:
            await bench.soft_reset()
            reads, writes = len(bench.ram.reads), len(bench.ram.writes)
            await bench.cycles(50)
            assert (len(bench.ram.reads), len(bench.ram.writes)) == (reads, writes)
    await bench.good_run()


@cocotb.test()
async def memory_that_does_not_answer(dut):
    """Without any answer the watchdog ends the run; when memory answers again so does the core."""
    bench = await Bench(dut, 8).start()
    await bench.write("CONTROL", 1)
    await bench.cycles(1000)
    channel = bench.ram.model.read_if.r_channel
    channel.pause = True
    error, _ = await bench.end(bench.program.estimate + 2 * WATCHDOG)
    assert error == Error.TIMEOUT
    channel.pause = False
    await bench.good_run()


