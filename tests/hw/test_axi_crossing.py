"""Clock crossings: bursts to a memory that waits for nobody, registers, clocks of any ratio."""

import random
from collections import deque

import pytest
from amaranth.sim import Simulator

from hw.axi_crossing import AxiCrossing, AxiLiteCrossing
from hw.config import VECTOR

WORDS = 256
LATENCY = 20
PERIODS = {"equal": (10.0, 10.0), "slow core": (10.0, 4.1), "fast core": (10.0, 17.3),
           "close": (10.0, 9.9)}
"""Of the core's clock and of the memory's."""


def simulate(dut, periods, *benches, background=()):
    """Runs benches, all of which are done at the end; the clocks are not in phase."""
    done = []

    def to_its_end(bench):
        async def run(ctx):
            await bench(ctx)
            done.append(bench)
        return run

    async def watch(ctx):
        for _ in range(20_000):
            await ctx.tick("core")
        raise AssertionError("the bench did not end in 20,000 cycles")

    sim = Simulator(dut)
    for domain, period in zip(("core", "sync"), periods, strict=True):
        sim.add_clock(period * 1e-9, phase=period * (0.3e-9 if domain == "sync" else 0.5e-9),
                      domain=domain)
    for bench in benches:
        sim.add_testbench(to_its_end(bench))
    for bench in (*background, watch):
        sim.add_testbench(bench, background=True)
    sim.run()
    assert len(done) == len(benches)


class Memory:
    """Takes addresses at random and moves words at full rate, as LiteDRAM's controller does: a
    word that is not there, or not taken, is an error."""

    def __init__(self, rng, rate, words):
        self.rng, self.rate, self.words = rng, rate, list(words)
        self.moved = 0
        """Words that were read."""

    def reader(self, bus):
        async def run(ctx):
            coming, cycle = deque(), 0
            while True:
                ready = self.rng.random() < self.rate
                ctx.set(bus.arready, ready)
                word = coming.popleft() if coming and coming[0][0] <= cycle else None
                ctx.set(bus.rvalid, word is not None)
                if word:
                    ctx.set(bus.rdata, self.words[word[1]])
                    ctx.set(bus.rlast, word[2])
                    ctx.set(bus.rresp, word[1] == WORDS - 1)
                    self.moved += 1
                _, _, valid, taken, address, beats, size, burst = await ctx.tick("sync").sample(
                    bus.arvalid, bus.rready, bus.araddr, bus.arlen, bus.arsize, bus.arburst)
                assert taken and (size, burst) == (4, 1)
                if valid and ready:
                    first = address // VECTOR
                    for place in range(first, first + beats + 1):
                        coming.append((cycle + LATENCY, place, place == first + beats))
                cycle += 1
        return run

    def writer(self, bus):
        async def run(ctx):
            owed = deque()
            while True:
                ready = self.rng.random() < self.rate
                ctx.set(bus.awready, ready)
                take = bool(owed) and self.rng.random() < 0.7
                ctx.set(bus.wready, take)
                _, _, valid, address, beats, there, word, strobes, last = await ctx.tick(
                    "sync").sample(bus.awvalid, bus.awaddr, bus.awlen, bus.wvalid, bus.wdata,
                                   bus.wstrb, bus.wlast)
                if valid or owed:
                    assert there
                if valid and ready:
                    first = address // VECTOR
                    owed += [(place, place == first + beats)
                             for place in range(first, first + beats + 1)]
                if take:
                    place, is_last = owed.popleft()
                    assert last == is_last
                    for lane in range(VECTOR):
                        if strobes >> lane & 1:
                            mask = 0xFF << 8 * lane
                            self.words[place] = self.words[place] & ~mask | word & mask
                    if is_last:
                        ctx.set(bus.bvalid, 1)
                        ctx.set(bus.bresp, place == WORDS - 1)
                        ctx.set(bus.wready, 0)
                        ctx.set(bus.awready, 0)
                        while not (await ctx.tick("sync").sample(bus.bready))[-1]:
                            pass
                        ctx.set(bus.bvalid, 0)
        return run


async def give(ctx, bus, channel, items, rng, rate, domain="core"):
    """Offers fields (name to value) on a channel, one set after the other."""
    valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
    for item in items:
        while rng.random() >= rate:
            await ctx.tick(domain)
        for name, value in item.items():
            ctx.set(getattr(bus, channel + name), value)
        ctx.set(valid, 1)
        while not (await ctx.tick(domain).sample(ready))[-1]:
            pass
        ctx.set(valid, 0)


async def take(ctx, bus, channel, names, count, rng, rate, domain="core"):
    """Takes ``count`` transfers of a channel; gives the values of its fields."""
    valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
    found = []
    while len(found) < count:
        willing = rng.random() < rate
        ctx.set(ready, willing)
        _, _, there, *values = await ctx.tick(domain).sample(
            valid, *(getattr(bus, channel + name) for name in names))
        if there and willing:
            found.append(tuple(values))
    ctx.set(ready, 0)
    return found


def random_bursts(rng, count, first, last):
    bursts = []
    for _ in range(count):
        beats = rng.choice((1, 1, 2, 7, 16, 16))
        bursts.append((rng.randrange(first, last - beats + 1), beats))
    return bursts


@pytest.mark.parametrize("rate", [1.0, 0.3])
@pytest.mark.parametrize("periods", PERIODS.values(), ids=PERIODS)
def test_bursts_both_ways(periods, rate):
    """Reads in the upper half of the memory, writes in the lower half; the memory never waits,
    and what is read and written, with last marks and errors, is right."""
    rng = random.Random(f"{periods} {rate}")
    start = [rng.getrandbits(128) for _ in range(WORDS)]
    memory, dut = Memory(rng, 0.8, start), AxiCrossing()
    bus = dut.manager
    reads = [*random_bursts(rng, 60, WORDS // 2, WORDS), (WORDS - 4, 4)]
    writes = [*random_bursts(rng, 60, 0, WORDS // 2), (WORDS // 2 - 16, 16)]
    contents = [[(rng.getrandbits(128), rng.choice((0xFFFF, rng.getrandbits(16))))
                 for _ in range(beats)] for _, beats in writes]
    after = list(start)
    for (word, _), content in zip(writes, contents, strict=True):
        for place, (value, strobes) in enumerate(content, word):
            mask = sum(0xFF << 8 * lane for lane in range(VECTOR) if strobes >> lane & 1)
            after[place] = after[place] & ~mask | value & mask

    async def ar(ctx):
        await give(ctx, bus, "ar", [{"addr": word * VECTOR, "len": beats - 1}
                                    for word, beats in reads], rng, rate)

    async def aw(ctx):
        await give(ctx, bus, "aw", [{"addr": word * VECTOR, "len": beats - 1}
                                    for word, beats in writes], rng, rate)

    async def w(ctx):
        await give(ctx, bus, "w", [
            {"data": value, "strb": strobes, "last": place == len(content) - 1}
            for content in contents for place, (value, strobes) in enumerate(content)], rng, rate)

    async def r(ctx):
        found = await take(ctx, bus, "r", ("data", "last", "resp"),
                           sum(beats for _, beats in reads), rng, rate)
        assert found == [(start[place], place == word + beats - 1, place == WORDS - 1)
                         for word, beats in reads for place in range(word, word + beats)]

    async def b(ctx):
        assert await take(ctx, bus, "b", ("resp",), len(writes), rng, rate) \
            == [(0,)] * len(writes)
        assert memory.words == after

    simulate(dut, periods, ar, aw, w, r, b,
             background=[memory.reader(dut.memory), memory.writer(dut.memory)])


@pytest.mark.parametrize("periods", PERIODS.values(), ids=PERIODS)
def test_full_rate(periods):
    """Bursts of 16 that wait for nothing: a word in nearly every cycle of the slower clock."""
    rng = random.Random(4)
    memory, dut = Memory(rng, 1.0, range(WORDS)), AxiCrossing()
    bursts, cycles = 40, 0

    async def ar(ctx):
        await give(ctx, dut.manager, "ar", [{"addr": 0, "len": 15}] * bursts, rng, 1)

    async def r(ctx):
        nonlocal cycles
        ctx.set(dut.manager.rready, 1)
        words = 0
        while words < 16 * bursts:
            words += (await ctx.tick("core").sample(dut.manager.rvalid))[-1]
            cycles += words > 0

    simulate(dut, periods, ar, r, background=[memory.reader(dut.memory)])
    assert cycles * periods[0] <= 1.03 * 16 * bursts * max(periods)


def test_latency():
    """Of an address, from the edge that takes it to VALID at the memory; of a word read back."""
    dut, rng = AxiCrossing(), random.Random(6)
    at = {}

    async def ar(ctx):
        await give(ctx, dut.manager, "ar", [{"addr": 0, "len": 0}], rng, 1)

    async def memory(ctx):
        ctx.set(dut.memory.arready, 1)
        at["address"] = 0
        while not ctx.get(dut.memory.arvalid):
            await ctx.tick("sync")
            at["address"] += 1
        ctx.set(dut.memory.rvalid, 1)
        await ctx.tick("sync")
        ctx.set(dut.memory.rvalid, 0)
        at["word"] = 0
        while not ctx.get(dut.manager.rvalid):
            await ctx.tick("core")
            at["word"] += 1

    simulate(dut, PERIODS["equal"], ar, memory)
    # one cycle of the first clock passes before the address, or the word, is taken
    assert at["address"] in (4, 5) and at["word"] in (2, 3)


def test_a_burst_waits_for_room():
    """A core that takes no word: no more is asked for than ``reads``, and nothing is lost."""
    rng = random.Random(5)
    memory, dut = Memory(rng, 1.0, range(WORDS)), AxiCrossing(reads=32, writes=16)

    async def ar(ctx):
        await give(ctx, dut.manager, "ar", [{"addr": 16 * VECTOR * n, "len": 15}
                                            for n in range(8)], rng, 1)

    async def r(ctx):
        await ctx.tick("core").repeat(200)
        assert memory.moved == 32
        found = await take(ctx, dut.manager, "r", ("data",), 128, rng, 0.5)
        assert found == [(place,) for place in range(128)]

    simulate(dut, PERIODS["equal"], ar, r, background=[memory.reader(dut.memory)])


@pytest.mark.parametrize("periods", PERIODS.values(), ids=PERIODS)
def test_registers(periods):
    """The host's clock is the memory's: 40 writes and reads, answered out of one register file."""
    rng = random.Random(f"{periods}")
    dut = AxiLiteCrossing()
    bus, far = dut.manager, dut.registers
    file = [0] * 64
    values = [(rng.randrange(64), rng.getrandbits(32)) for _ in range(40)]

    async def registers(ctx):
        """A write, then a read of the same word; addresses of 60 and above are errors."""
        for _ in values:
            [(address, protection)] = await take(ctx, far, "aw", ("addr", "prot"), 1, rng, 0.5)
            [(value, strobes)] = await take(ctx, far, "w", ("data", "strb"), 1, rng, 0.5)
            assert (strobes, protection) == (0b1111, 2)
            file[address // 4] = value
            await give(ctx, far, "b", [{"resp": 2 * (address >= 240)}], rng, 0.5)
            [(address,)] = await take(ctx, far, "ar", ("addr",), 1, rng, 0.5)
            await give(ctx, far, "r", [{"data": file[address // 4], "resp": 2 * (address >= 240)}],
                       rng, 0.5)

    async def host(ctx):
        for word, value in values:
            answer = 2 * (word >= 60)
            await give(ctx, bus, "aw", [{"addr": 4 * word, "prot": 2}], rng, 1, "sync")
            await give(ctx, bus, "w", [{"data": value, "strb": 0b1111}], rng, 1, "sync")
            assert await take(ctx, bus, "b", ("resp",), 1, rng, 0.5, "sync") == [(answer,)]
            await give(ctx, bus, "ar", [{"addr": 4 * word}], rng, 1, "sync")
            assert await take(ctx, bus, "r", ("data", "resp"), 1, rng, 0.5, "sync") \
                == [(value, answer)]

    simulate(dut, periods, registers, host)


def test_depths_hold_the_longest_burst():
    with pytest.raises(ValueError, match="reads is 64, supported: .* longest burst on, 128"):
        AxiCrossing(longest=128)
    with pytest.raises(ValueError, match="writes is 24"):
        AxiCrossing(writes=24)
    assert AxiCrossing(longest=128, reads=256, writes=128).reads == 256
