"""The register bank: every register of the map over AXI4-Lite, in any order of the channels."""

import dataclasses
import random

import pytest

from hw.config import Config
from hw.csr import ARRAY_COUNTERS, ID, OFFSETS, OKAY, REGISTERS, SLVERR, CsrBank
from hw.isa import Error
from hw.profile import EVENTS, STATES, UNITS, UnitState
from tests.hw.streams import go, simulate, ticked

CONFIG = Config(co_lanes=8, pixels=2)


class Host:
    """An AXI4-Lite manager whose channels stall at random."""

    def __init__(self, bus, rng=None, rate=1.0):
        self.bus, self.rng, self.rate = bus, rng, rate

    async def write(self, ctx, offset, value, strobes=15) -> int:
        """Write a word; gives BRESP."""
        bus = self.bus
        ctx.set(bus.awaddr, offset)
        ctx.set(bus.wdata, value)
        ctx.set(bus.wstrb, strobes)
        sent = {"aw": False, "w": False}
        while True:
            for channel, done in sent.items():
                valid = getattr(bus, f"{channel}valid")
                if not done and not ctx.get(valid):
                    ctx.set(valid, go(self.rng, self.rate))
            ctx.set(bus.bready, go(self.rng, self.rate))
            aw, w, b, response = await ticked(
                ctx, bus.awvalid & bus.awready, bus.wvalid & bus.wready,
                bus.bvalid & bus.bready, bus.bresp)
            for channel, passed in (("aw", aw), ("w", w)):
                if passed:
                    sent[channel] = True
                    ctx.set(getattr(bus, f"{channel}valid"), 0)
            if b:
                assert all(sent.values()), "response before the write"
                ctx.set(bus.bready, 0)
                return response

    async def read(self, ctx, offset) -> tuple[int, int]:
        """Read a word; gives (data, RRESP)."""
        bus = self.bus
        while not go(self.rng, self.rate):
            await ticked(ctx, bus.rvalid)
        ctx.set(bus.araddr, offset)
        ctx.set(bus.arvalid, 1)
        while not await ticked(ctx, bus.arready):
            pass
        ctx.set(bus.arvalid, 0)
        while True:
            ctx.set(bus.rready, go(self.rng, self.rate))
            done, word, response = await ticked(
                ctx, bus.rvalid & bus.rready, bus.rdata, bus.rresp)
            if done:
                ctx.set(bus.rready, 0)
                return word, response


def run(bench, seed=0, rate=1.0, background=(), config=CONFIG):
    dut = CsrBank(config)
    host = Host(dut.bus, random.Random(seed), rate)

    async def main(ctx):
        await bench(ctx, dut, host)

    simulate(dut, main, background=[make(dut) for make in background])


def test_map_is_sound():
    """Names and offsets are unique, words aligned and inside the port, fields apart."""
    assert len(OFFSETS) == len(REGISTERS) == len(set(OFFSETS.values()))
    for register in REGISTERS:
        assert register.offset % 4 == 0 and register.offset < 256
        assert register.access in ("ro", "rw", "wo")
        used = [bit for f in register.fields for bit in range(f.low, f.low + f.width)]
        assert len(used) == len(set(used)) and max(used) < 32
        assert register.mask == sum(1 << bit for bit in used)


@pytest.mark.parametrize("rate", (1.0, 0.4))
def test_identity(rate):
    async def bench(ctx, dut, host):
        for name, value in {
            "ID": ID, "VERSION": 0x10001, "CONFIG": CONFIG.digest,
            "SHAPE": 8 | 2 << 8 | 256 << 16, "WATCHDOG": 1 << 20, "CONTROL": 0, "CYCLES": 0,
        }.items():
            assert await host.read(ctx, OFFSETS[name]) == (value, OKAY), name
        assert ID.to_bytes(4, "little") == b"FICR"
    run(bench, rate=rate)


@pytest.mark.parametrize("rate", (1.0, 0.6, 0.2))
def test_storage(rate):
    """Random writes with random strobes against a model; outputs follow the registers."""
    rng = random.Random(7)

    async def bench(ctx, dut, host):
        writable = [r for r in REGISTERS if r.access == "rw"]
        model = {r.name: r.reset for r in writable}
        for _ in range(60):
            register, word, strobes = rng.choice(writable), rng.getrandbits(32), rng.randrange(16)
            mask = sum(0xFF << 8 * i for i in range(4) if strobes >> i & 1) & register.mask
            model[register.name] = model[register.name] & ~mask | word & mask
            assert await host.write(ctx, register.offset, word, strobes) == OKAY
            seen = rng.choice(writable)
            assert await host.read(ctx, seen.offset) == (model[seen.name], OKAY)
        outputs = {"PROGRAM": dut.program, "WINDOW_BASE": dut.window_base,
                   "WINDOW_VECTORS": dut.window_vectors, "WATCHDOG": dut.watchdog}
        for name, output in outputs.items():
            assert ctx.get(output) == model[name]
            assert model[name] != 0
        assert model["WINDOW_BASE"] % 4096 == 0
    run(bench, rate=rate)


def test_errors():
    """Unmapped addresses and writes to read-only registers answer SLVERR and change nothing."""
    async def bench(ctx, dut, host):
        for offset in range(0, 256, 4):
            register = next((r for r in REGISTERS if r.offset == offset), None)
            _, response = await host.read(ctx, offset)
            assert response == (OKAY if register else SLVERR), offset
            if register is None or register.access == "ro":
                before = await host.read(ctx, offset)
                assert await host.write(ctx, offset, 0xFFFF_FFFF) == SLVERR, offset
                assert await host.read(ctx, offset) == before
    run(bench, rate=0.8)


def test_held_responses():
    """Writes that go on while a response waits: none is lost, each has its own."""
    async def bench(ctx, dut, host):
        bus = dut.bus
        writes = [(OFFSETS["ID"], SLVERR), (OFFSETS["WATCHDOG"], OKAY), (0xFC, SLVERR)]
        responses, sent = [], 0
        ctx.set(bus.wstrb, 15)
        for cycle in range(60):
            ctx.set(bus.awvalid, sent < len(writes))
            ctx.set(bus.wvalid, sent < len(writes))
            ctx.set(bus.awaddr, writes[min(sent, 2)][0])
            ctx.set(bus.bready, cycle % 16 == 15)
            taken, done, response = await ticked(
                ctx, bus.awvalid & bus.awready & bus.wready, bus.bvalid & bus.bready, bus.bresp)
            sent += taken
            if done:
                responses.append(response)
        assert responses == [response for _, response in writes]
    run(bench)


def test_commands():
    """Each command is one cycle long, and only byte 0 gives one."""
    counts = {"start": 0, "soft_reset": 0}

    def count(dut):
        async def bench(ctx):
            while True:
                start, reset = await ticked(ctx, dut.start, dut.soft_reset)
                counts["start"] += start
                counts["soft_reset"] += reset
        return bench

    async def bench(ctx, dut, host):
        for word, strobes, expected in (
            (1, 15, (1, 0)), (2, 15, (1, 1)), (3, 1, (2, 2)), (3, 14, (2, 2)), (0, 15, (2, 2)),
        ):
            assert await host.write(ctx, OFFSETS["CONTROL"], word, strobes) == OKAY
            await ctx.tick()
            assert tuple(counts.values()) == expected
    run(bench, rate=0.5, background=(count,))


def test_status_and_interrupt():
    async def bench(ctx, dut, host):
        ctx.set(dut.busy, 1)
        assert await host.read(ctx, OFFSETS["STATUS"]) == (1, OKAY)
        ctx.set(dut.busy, 0)
        ctx.set(dut.error, 1)
        ctx.set(dut.error_code, Error.WINDOW)
        ctx.set(dut.error_index, 0x1234)
        assert await host.read(ctx, OFFSETS["STATUS"]) == (4 | Error.WINDOW.value << 8, OKAY)
        assert await host.read(ctx, OFFSETS["ERROR_INSTRUCTION"]) == (0x1234, OKAY)
        assert not ctx.get(dut.interrupt)
        await host.write(ctx, OFFSETS["INTERRUPT"], 1)
        assert ctx.get(dut.interrupt)
        ctx.set(dut.error, 0)
        ctx.set(dut.error_code, Error.NONE)
        await ticked(ctx, dut.busy)
        assert not ctx.get(dut.interrupt)
        ctx.set(dut.done, 1)
        await ticked(ctx, dut.busy)
        assert ctx.get(dut.interrupt)
        assert await host.read(ctx, OFFSETS["STATUS"]) == (2, OKAY)
    run(bench)


def clear(ctx, dut):
    """What comes before a run."""
    async def steps():
        ctx.set(dut.clear, 1)
        await ticked(ctx, dut.busy)
        ctx.set(dut.clear, 0)
        for _ in range(STATES):
            await ticked(ctx, dut.busy)
    return steps()


@pytest.mark.parametrize("config", (CONFIG, dataclasses.replace(CONFIG, profile=False)))
def test_counters(config):
    """Every state and beat is counted while a run lasts, from 0 again in the next run."""
    rng = random.Random(3)
    units = list(UNITS)[:None if config.profile else 1]

    async def bench(ctx, dut, host):
        assert await host.read(ctx, OFFSETS["PROFILE_UNITS"]) == (len(units), OKAY)
        for cycles in (1137, 60):
            await clear(ctx, dut)
            events = dict.fromkeys(EVENTS, 0)
            seen = {unit: dict.fromkeys(UnitState, 0) for unit in units}
            for i in range(cycles + 20):
                running = i < cycles
                read, write = rng.getrandbits(1), rng.getrandbits(1)
                ctx.set(dut.running, running)
                for number, unit in enumerate(units):
                    state = rng.choice(list(UnitState))
                    ctx.set(dut.states[number], state)
                    seen[unit][state] += running
                ctx.set(dut.read_beat, read)
                ctx.set(dut.write_beat, write)
                await ticked(ctx, dut.busy)
                if running:
                    for name, event in zip(EVENTS, (1, read, write), strict=True):
                        events[name] += event
            for name, value in events.items():
                assert await host.read(ctx, OFFSETS[name]) == (value, OKAY), name
            for state in ARRAY_COUNTERS:
                assert await host.read(ctx, OFFSETS[state.name]) == (seen["array"][state], OKAY)
            for number in range(16):
                await host.write(ctx, OFFSETS["PROFILE_UNIT"], number)
                expected = seen[units[number]] if number < len(units) else dict.fromkeys(
                    UnitState, 0)
                for state, value in expected.items():
                    offset = OFFSETS[f"UNIT_{state.name}"]
                    assert await host.read(ctx, offset) == (value, OKAY), (number, state)
    run(bench, config=config)


def test_counters_are_all_readable():
    """Those of the array that have no register of their own never count."""
    assert set(UnitState) - set(ARRAY_COUNTERS) == {UnitState.WAIT_MEMORY}
    assert {f"UNIT_{state.name}" for state in UnitState} | set(EVENTS) <= set(OFFSETS)


def test_reads_of_counters_in_a_run():
    """They may come as fast as the port takes them, between others; values never fall."""
    async def bench(ctx, dut, host):
        await clear(ctx, dut)
        ctx.set(dut.running, 1)
        ctx.set(dut.states[0], UnitState.BUSY)
        ctx.set(dut.read_beat, 1)
        await ctx.tick().repeat(2)
        before = dict.fromkeys(("CYCLES", "BUSY", "READ_BEATS"), 0)
        for _ in range(300):
            for name in before:
                value, response = await host.read(ctx, OFFSETS[name])
                assert response == OKAY and before[name] < value <= before[name] + 40
                before[name] = value
            assert await host.read(ctx, OFFSETS["ID"]) == (ID, OKAY)
            assert await host.read(ctx, OFFSETS["IDLE"]) == (0, OKAY)
        assert before["CYCLES"] > 3000
    run(bench)
