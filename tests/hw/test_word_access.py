"""Words on three buses, and how many cycles they take; test_bridge.py has what goes wrong."""

import random

import pytest

from hw.link import LINK_ID, WORD, LinkRegister, Space
from hw.word_access import WordAccess

from .bench_bridge import BROKEN, MEMORY_BYTES, Buses
from .streams import simulate, ticked


async def access(ctx, dut, space, address, data=None):
    """(failed, value, cycles) of a read, or of a write of ``data``, which come a cycle late."""
    request = dut.request
    ctx.set(request.space, space)
    ctx.set(request.write, data is not None)
    ctx.set(request.address, address)
    ctx.set(request.data, 0x0BAD0BAD)
    ctx.set(dut.valid, 1)
    cycles, answered = 0, False
    while not answered:
        answered, failed, value = await ticked(ctx, dut.answered, dut.failed, dut.value)
        ctx.set(request.data, data or 0)
        cycles += 1
    ctx.set(dut.valid, 0)
    await ctx.tick()
    return failed, value, cycles


def word_of(memory: bytearray, address: int) -> int:
    return int.from_bytes(memory[address:address + WORD], "little")


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_registers(rate):
    rng = random.Random(f"{rate}")
    dut, buses = WordAccess(MEMORY_BYTES), Buses(rng, rate)

    async def bench(ctx):
        ctx.set(dut.dropped, 0x1234)
        for register, value in ((LinkRegister.ID, LINK_ID), (LinkRegister.DROPPED, 0x1234),
                                (LinkRegister.READY, 0)):
            assert await access(ctx, dut, Space.LINK, register) == (0, value, 2)
        assert (await access(ctx, dut, Space.LINK, 12))[0]
        for _ in range(30):
            space = rng.choice((Space.CORE, Space.CONTROLLER))
            address = WORD * rng.randrange(64)
            data = rng.choice((None, rng.getrandbits(32)))
            failed, value, _ = await access(ctx, dut, space, address, data)
            assert failed == (address == BROKEN)
            if data is None and not failed:
                assert value == word_of(buses.spaces[space], address)
            assert buses.log.pop() == (space, data is not None, address, data)
        assert buses.log == []

    simulate(dut, bench, background=buses.benches(dut))


def test_vectors():
    """Four words are one burst of one beat; only the first of a read, and the last of a write,
    takes more than two cycles."""
    rng = random.Random(2)
    dut, buses = WordAccess(MEMORY_BYTES), Buses(rng)
    before = bytes(buses.spaces[Space.MEMORY])

    async def bench(ctx):
        ctx.set(dut.ready, 1)
        for address in (0, MEMORY_BYTES - 16, 0x120):
            words = [rng.getrandbits(32) for _ in range(4)]
            vector = sum(word << 32 * place for place, word in enumerate(words))
            reads = [await access(ctx, dut, Space.MEMORY, address + WORD * place)
                     for place in range(4)]
            assert [value for _, value, _ in reads] == [
                word_of(before, address + WORD * place) for place in range(4)]
            writes = [await access(ctx, dut, Space.MEMORY, address + WORD * place, word)
                      for place, word in enumerate(words)]
            assert not any(failed for failed, _, _ in reads + writes)
            assert [cycles == 2 for _, _, cycles in reads] == [False, True, True, True]
            assert [cycles == 2 for _, _, cycles in writes] == [True, True, True, False]
            assert buses.log == [(Space.MEMORY, False, address, None),
                                 (Space.MEMORY, True, address, vector)]
            buses.log.clear()

    simulate(dut, bench, background=buses.benches(dut))


def test_memory_that_becomes_ready():
    """Amid a vector: what is written of it is the vector, though its first words have failed."""
    dut, buses = WordAccess(MEMORY_BYTES), Buses(random.Random(3))

    async def bench(ctx):
        failed = []
        for place in range(4):
            ctx.set(dut.ready, place > 1)
            failed.append((await access(ctx, dut, Space.MEMORY, WORD * place, 0x11 << place))[0])
        assert failed == [1, 1, 0, 0]
        vector = sum(0x11 << place << 32 * place for place in range(4))
        assert buses.log == [(Space.MEMORY, True, 0, vector)]

    simulate(dut, bench, background=buses.benches(dut))


@pytest.mark.parametrize("space", Space)
@pytest.mark.parametrize("data", [None, 5])
def test_beyond_32_bits(space, data):
    """Fails without an access."""
    dut, buses = WordAccess(1 << 32), Buses(random.Random(4))

    async def bench(ctx):
        ctx.set(dut.ready, 1)
        assert (await access(ctx, dut, space, 1 << 32, data))[::2] == (1, 2)
        assert buses.log == []

    simulate(dut, bench, background=buses.benches(dut))
