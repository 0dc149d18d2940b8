"""AXI4 to LiteDRAM's native port, against a memory that moves words long after their commands."""

import random
from collections import deque

import pytest

from hw.axi_native import READS, AxiNative
from hw.config import VECTOR

from .streams import go, simulate, ticked

ADDRESS_BITS = 6
WORDS = 1 << ADDRESS_BITS
READ_LATENCY, WRITE_LATENCY = 9, 3


class Dram:
    """The memory behind the native port: takes commands at random, moves words in their order."""

    def __init__(self, rng=None, rate=1.0, words=()):
        self.rng, self.rate = rng, rate
        self.words = list(words) or [0] * WORDS
        self.commands = []  # (cycle, write, address) of each

    def bench(self, native):
        async def run(ctx):
            # what happens in how many cycles: None, or (write, address)
            pipe = deque([None] * READ_LATENCY)
            cycle = 0
            while True:
                ctx.set(native.cmd_ready, go(self.rng, self.rate))
                read = pipe[0] if pipe[0] and not pipe[0][0] else None
                write = pipe[WRITE_LATENCY]
                write = write if write and write[0] else None
                ctx.set(native.rdata_valid, read is not None)
                ctx.set(native.rdata_data, self.words[read[1]] if read else 0xBAD)
                ctx.set(native.wdata_ready, write is not None)
                valid, ready, we, address, data, strobes, rdata_ready = await ticked(
                    ctx, native.cmd_valid, native.cmd_ready, native.cmd_we, native.cmd_addr,
                    native.wdata_data, native.wdata_we, native.rdata_ready)
                assert rdata_ready
                if write:
                    for lane in range(VECTOR):
                        if strobes >> lane & 1:
                            mask = 0xFF << 8 * lane
                            self.words[write[1]] = self.words[write[1]] & ~mask | data & mask
                pipe.popleft()
                pipe.append((we, address) if valid and ready else None)
                if valid and ready:
                    self.commands.append((cycle, we, address))
                cycle += 1
        return run


async def send(ctx, bus, channel, bursts, rng, rate):
    """Addresses of bursts (word, beats) on AR or AW."""
    valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
    for word, beats in bursts:
        while not go(rng, rate):
            await ctx.tick()
        ctx.set(getattr(bus, f"{channel}addr"), word * VECTOR)
        ctx.set(getattr(bus, f"{channel}len"), beats - 1)
        ctx.set(valid, 1)
        while not await ticked(ctx, valid & ready):
            pass
        ctx.set(valid, 0)


async def send_data(ctx, bus, bursts):
    """Words (data, strobes) of bursts on W, without a pause."""
    for burst in bursts:
        for number, (data, strobes) in enumerate(burst):
            ctx.set(bus.wvalid, 1)
            ctx.set(bus.wdata, data)
            ctx.set(bus.wstrb, strobes)
            ctx.set(bus.wlast, number == len(burst) - 1)
            while not await ticked(ctx, bus.wvalid & bus.wready):
                pass
    ctx.set(bus.wvalid, 0)


async def responses(ctx, bus, count, rng=None, rate=1.0):
    found = []
    while len(found) < count:
        ctx.set(bus.bready, go(rng, rate))
        taken, response = await ticked(ctx, bus.bvalid & bus.bready, bus.bresp)
        if taken:
            found.append(response)
    ctx.set(bus.bready, 0)
    return found


async def read_data(ctx, bus, bursts):
    """Words of each burst; checks RLAST."""
    ctx.set(bus.rready, 1)
    found = []
    for _, beats in bursts:
        words = []
        while len(words) < beats:
            valid, data, last, response = await ticked(
                ctx, bus.rvalid, bus.rdata, bus.rlast, bus.rresp)
            if valid:
                words.append(data)
                assert last == (len(words) == beats) and response == 0
        found.append(words)
    return found


def random_bursts(rng, count, first, last):
    """(word, beats) that stay from `first` to before `last`."""
    bursts = []
    for _ in range(count):
        beats = rng.choice((1, 1, 2, 7, 16))
        bursts.append((rng.randrange(first, last - beats + 1), beats))
    return bursts


def words(rng, beats):
    return [(rng.getrandbits(128), rng.choice((0xFFFF, rng.getrandbits(16)))) for _ in range(beats)]


def written(before, bursts, contents):
    """Memory after the writes."""
    after = list(before)
    for (word, _), content in zip(bursts, contents, strict=True):
        for place, (data, strobes) in enumerate(content, word):
            for lane in range(VECTOR):
                if strobes >> lane & 1:
                    mask = 0xFF << 8 * lane
                    after[place] = after[place] & ~mask | data & mask
    return after


@pytest.mark.parametrize(("memory_rate", "rate"), [(1.0, 1.0), (0.6, 1.0), (1.0, 0.3), (0.5, 0.1)])
def test_reads_and_writes_at_once(memory_rate, rate):
    """Both directions run freely in halves of the memory; then everything is read back."""
    rng = random.Random(f"{memory_rate} {rate}")
    start = [rng.getrandbits(128) for _ in range(WORDS)]
    dram, dut = Dram(rng, memory_rate, start), AxiNative(ADDRESS_BITS)
    reads = random_bursts(rng, 60, WORDS // 2, WORDS)
    writes = random_bursts(rng, 60, 0, WORDS // 2)
    contents = [words(rng, beats) for _, beats in writes]
    done = []

    async def reader(ctx):
        found = await read_data(ctx, dut.axi, reads)
        assert found == [start[word:word + beats] for word, beats in reads]
        done.append("reads")

    async def acknowledged(ctx):
        assert await responses(ctx, dut.axi, len(writes), rng, max(rate, 0.2)) == [0] * len(writes)
        assert dram.words == written(start, writes, contents)
        done.append("writes")

    async def ar(ctx):
        await send(ctx, dut.axi, "ar", reads, rng, rate)

    async def aw(ctx):
        await send(ctx, dut.axi, "aw", writes, rng, rate)

    async def w(ctx):
        await send_data(ctx, dut.axi, contents)

    simulate(dut, reader, acknowledged, ar, aw, w, background=[dram.bench(dut.native)])
    assert sorted(done) == ["reads", "writes"]


def test_a_read_sees_the_write_before_it():
    """AR goes up when AW has been taken, long before the words move."""
    rng = random.Random(2)
    dram, dut = Dram(), AxiNative(ADDRESS_BITS)
    content = [(rng.getrandbits(128), 0xFFFF) for _ in range(16)]

    async def bench(ctx):
        await send(ctx, dut.axi, "aw", [(8, 16)], None, 1.0)
        await send(ctx, dut.axi, "ar", [(8, 16)], None, 1.0)

    async def reader(ctx):
        assert await read_data(ctx, dut.axi, [(8, 16)]) == [[data for data, _ in content]]

    async def w(ctx):
        await send_data(ctx, dut.axi, [content])

    simulate(dut, bench, reader, w, background=[dram.bench(dut.native)])


def test_a_command_every_cycle():
    """Bursts that wait follow one another without a gap, the first after two cycles."""
    dram, dut = Dram(), AxiNative(ADDRESS_BITS)
    bursts = [(0, 16), (16, 8), (40, 16)]

    async def ar(ctx):
        await send(ctx, dut.axi, "ar", bursts, None, 1.0)

    async def reader(ctx):
        await read_data(ctx, dut.axi, bursts)

    simulate(dut, ar, reader, background=[dram.bench(dut.native)])
    assert dram.commands == [(cycle, 0, address) for cycle, address in enumerate(
        (*range(24), *range(40, 56)), 2)]


@pytest.mark.parametrize("turn", [1, 4])
def test_directions_take_turns(turn):
    """With both always waiting, `turn` bursts go one way, then as many the other way."""
    dram, dut = Dram(), AxiNative(ADDRESS_BITS, turn)
    bursts = [(0, 4)] * 24

    async def ar(ctx):
        await send(ctx, dut.axi, "ar", bursts, None, 1.0)

    async def aw(ctx):
        await send(ctx, dut.axi, "aw", bursts, None, 1.0)

    async def w(ctx):
        await send_data(ctx, dut.axi, [[(0, 0xFFFF)] * 4] * len(bursts))

    async def reader(ctx):
        await read_data(ctx, dut.axi, bursts)

    async def b(ctx):
        await responses(ctx, dut.axi, len(bursts))

    simulate(dut, ar, aw, w, reader, b, background=[dram.bench(dut.native)])
    runs = []  # bursts in a row
    for _, write, _ in dram.commands[::4]:
        if runs and runs[-1][0] == write:
            runs[-1][1] += 1
        else:
            runs.append([write, 1])
    assert [length for _, length in runs[:4]] == [turn] * 4


def test_no_more_reads_than_it_can_count():
    """The memory holds back its data by never taking a command: AR stops."""
    dut = AxiNative(ADDRESS_BITS)
    taken = 0

    async def bench(ctx):
        nonlocal taken
        ctx.set(dut.axi.arvalid, 1)
        ctx.set(dut.native.cmd_ready, 1)
        for _ in range(100):
            taken += await ticked(ctx, dut.axi.arready)

    simulate(dut, bench)
    assert taken == READS


def test_a_late_word_is_an_error():
    """The memory takes a word that is not there: nothing is written any more, all answers are
    SLVERR."""
    rng = random.Random(3)
    start = [rng.getrandbits(128) for _ in range(WORDS)]
    dram, dut = Dram(words=start), AxiNative(ADDRESS_BITS)

    async def aw(ctx):
        await send(ctx, dut.axi, "aw", [(4, 2), (10, 1)], None, 1.0)

    async def w(ctx):
        await ctx.tick().repeat(15)
        assert dram.words == start
        # words that come now take the places of these, and would be written there
        await send(ctx, dut.axi, "aw", [(20, 3)], None, 1.0)
        await send_data(ctx, dut.axi, [[(1, 0xFFFF), (2, 0xFFFF)], [(3, 0xFFFF)]])

    async def b(ctx):
        assert await responses(ctx, dut.axi, 2) == [2, 2]
        await ctx.tick().repeat(20)
        assert dram.words == start

    simulate(dut, aw, w, b, background=[dram.bench(dut.native)])
