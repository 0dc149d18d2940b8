"""The activation memory against a dictionary, with all lanes and writers at work."""

import random

import pytest

from hw.act_memory import CHUNK, LOAD, READS, WRITERS, ActMemory
from hw.config import Config

from .streams import bits, put, send, simulate


def rtl_run(config, cycles):
    """Read data two cycles after every cycle of ``cycles``, and the source of the fault, if
    any, in every cycle.

    A cycle is ({lane: address}, {source: (address, vector)}); writes must be accepted at once.
    """
    dut = ActMemory(config)
    seen, faults = [], []

    async def bench(ctx):
        for reads, writes in [*cycles, ({}, {}), ({}, {})]:
            ctx.set(dut.read_enable, sum(1 << lane for lane in reads))
            for lane, address in reads.items():
                ctx.set(dut.read_address[lane], address)
            for number, writer in enumerate([*dut.writers, dut.load]):
                ctx.set(writer.valid, number in writes)
                if number in writes:
                    put(ctx, writer.payload, writes[number][0] | writes[number][1] << 16)
            for number in set(writes) - {LOAD}:
                assert ctx.get(dut.writers[number].ready)
            seen.append([bits(ctx.get(dut.read_data[i])) for i in range(config.pixels)])
            faults.append(ctx.get(dut.fault_source) if ctx.get(dut.fault) else None)
            await ctx.tick()

    simulate(dut, bench)
    return seen[2:], faults


@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_reads_what_was_written(pixels):
    config = Config(pixels=pixels, act_vectors=1024)
    rng = random.Random(pixels)
    memory, cycles, expected = {}, [], []
    recent = [None, None]
    for _ in range(600):
        address = rng.randrange(64)
        reads = {}
        for lane, bank in enumerate(rng.sample(range(pixels), pixels)):
            wanted = rng.randrange(64 // pixels) * pixels + bank
            if wanted in memory and wanted not in recent and rng.random() < 0.9:
                reads[lane] = wanted
        expected.append({lane: memory[wanted] for lane, wanted in reads.items()})
        writes = {}
        if rng.random() < 0.9:
            writes = {rng.randrange(LOAD + 1): (address, rng.getrandbits(128))}
            # A read sees it two cycles later.
            (_, memory[address]), = writes.values()
        recent = [recent[1], address if writes else None]
        cycles.append((reads, writes))

    seen, faults = rtl_run(config, cycles)
    assert sum(map(len, expected)) > 300 * pixels
    for data, wanted in zip(seen, expected, strict=True):
        assert {lane: data[lane] for lane in wanted} == wanted
    assert set(faults) == {None}


def test_newest_visible_write():
    """A read two cycles after a write sees it, the earliest that is promised."""
    writes = [({}, {0: (5, 111)}), ({}, {}), ({0: 5}, {0: (5, 222)}), ({}, {}), ({0: 5}, {})]
    seen, _ = rtl_run(Config(act_vectors=256), writes)
    assert [seen[2], seen[4]] == [[111], [222]]


def test_all_rows_are_distinct():
    config = Config(pixels=2, act_vectors=512)
    cycles = [({}, {0: (a, a + 1)}) for a in range(512)] + [({}, {})]
    cycles += [({0: a ^ 1, 1: a}, {}) for a in range(512)]
    seen, _ = rtl_run(config, cycles)
    assert seen[513:] == [[(a ^ 1) + 1, a + 1] for a in range(512)]


def test_priority_of_writers():
    """Loads go at once, then the lowest writer, the highest gets the cycles left over."""
    dut = ActMemory(Config(act_vectors=256))
    rng = random.Random(3)
    sources = [*dut.writers, dut.load]
    sent = [[rng.randrange(256) | (100 * w + i) << 16 for i in range(40)] for w in range(LOAD + 1)]
    order = []

    async def watch(ctx):
        flags = [f for w in dut.writers for f in (w.valid, w.ready)]
        while True:
            _, _, loads, spare, *now = await ctx.tick().sample(dut.load.valid, dut.spare, *flags)
            valid = [w for w in range(WRITERS) if now[2 * w]]
            taken = [w for w in range(WRITERS) if now[2 * w] and now[2 * w + 1]]
            assert taken == ([] if loads else valid[:1])
            assert spare == (not valid)
            order.extend([LOAD] if loads else taken)

    def writer(number, rate):
        async def bench(ctx):
            await send(ctx, sources[number], sent[number], random.Random(number), rate)
        return bench

    simulate(dut, writer(0, 1.0), writer(1, 1.0), writer(LOAD, 0.3), background=[watch])
    assert [w for w in order if w != LOAD][:40] == [0] * 40
    assert order.count(1) == order.count(LOAD) == 40


def test_blocks():
    """A memory of more than a block keeps each row in its own."""
    config = Config(act_vectors=2 * CHUNK + 256)
    places = [block + row for row in (0, 255) for block in range(0, 2 * CHUNK + 1, CHUNK)]
    cycles = [({}, {0: (a, a + 1)}) for a in places] + [({}, {})] + [({0: a}, {}) for a in places]
    seen, _ = rtl_run(config, cycles)
    assert [data[0] for data in seen[len(places) + 1:]] == [a + 1 for a in places]


@pytest.mark.parametrize("pixels", [1, 4])
def test_faults(pixels):
    """Out-of-range accesses fault a cycle later (a write, registered, after two) and write
    nothing."""
    config = Config(pixels=pixels, act_vectors=1024)
    cycles = [
        ({}, {0: (1023, 7)}), ({}, {}), ({}, {}),
        ({0: 1024}, {}), ({0: 1023}, {}), ({pixels - 1: 65535}, {}), ({}, {}),
        ({}, {1: (1024, 9)}), ({}, {LOAD: (1023 + 1024, 9)}), ({}, {}), ({}, {}),
        ({0: 1023}, {}), ({0: 0}, {}),
    ]
    seen, faults = rtl_run(config, cycles)
    assert {n: fault for n, fault in enumerate(faults) if fault is not None} == {
        4: READS, 6: READS, 9: 1, 10: LOAD}
    assert (seen[4][0], seen[11][0], seen[12][0]) == (7, 7, 0)
