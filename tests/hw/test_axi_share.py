"""One AXI4 port for two: in front of LiteDRAM's native port, where its rules are checked."""

import random

import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import connect

from hw.axi_native import AxiNative
from hw.axi_share import AxiShare

from .streams import go, simulate, ticked
from .test_axi_native import (
    ADDRESS_BITS,
    WORDS,
    Dram,
    random_bursts,
    read_data,
    responses,
    send,
    send_data,
    words,
    written,
)


def chain():
    """The share before the bridge to the native port."""
    m = Module()
    m.submodules.share = share = AxiShare()
    m.submodules.native = native = AxiNative(ADDRESS_BITS)
    connect(m, share.axi, native.axi)
    return m, share, native


def watch(axi, seen):
    """Nothing valid is taken back or changed, and W comes only behind its AW; counts bursts."""
    async def run(ctx):
        shown, ahead = {}, 0
        while True:
            sampled = await ticked(ctx, *(
                Cat(getattr(axi, f"{channel}valid"), getattr(axi, f"{channel}ready"), *(
                    getattr(axi, name) for name in names))
                for channel, names in (("ar", ("araddr", "arlen")), ("aw", ("awaddr", "awlen")),
                                       ("w", ("wlast", "wdata")))))
            for channel, value in zip(("ar", "aw", "w"), sampled, strict=True):
                valid, ready, payload = value & 1, value >> 1 & 1, value >> 2
                if channel in shown:
                    assert valid and payload == shown[channel], f"{channel} changed"
                shown.pop(channel, None)
                if valid and channel == "w":
                    assert ahead > 0
                if valid and ready:
                    seen[channel] = seen.get(channel, 0) + 1
                elif valid:
                    shown[channel] = payload
            write, data = sampled[1], sampled[2]
            ahead += (write & 3 == 3) - (data & 7 == 7)
    return run


async def visit(ctx, guest, rng, count, rate, after):
    """The guest's accesses, one after another: each word is written and read."""
    ctx.set(Cat(guest.rready, guest.bready), 3)
    for place in range(count):
        word = WORDS - 1 - place % 8
        value = rng.getrandbits(128)
        while not go(rng, rate):
            await ctx.tick()
        ctx.set(guest.awaddr, 16 * word)
        ctx.set(guest.wdata, value)
        ctx.set(guest.wstrb, 0xFFFF)
        ctx.set(guest.wlast, 1)
        ctx.set(Cat(guest.awvalid, guest.wvalid), 3)
        pending = {"aw": guest.awvalid, "w": guest.wvalid}
        while True:
            aw, w, b = await ticked(ctx, guest.awvalid & guest.awready,
                                    guest.wvalid & guest.wready, guest.bvalid)
            for name, passed in (("aw", aw), ("w", w)):
                if passed:
                    ctx.set(pending.pop(name), 0)
            if b:
                assert not pending
                break
        ctx.set(guest.araddr, 16 * word)
        ctx.set(guest.arvalid, 1)
        while not await ticked(ctx, guest.arvalid & guest.arready):
            pass
        ctx.set(guest.arvalid, 0)
        valid = False
        while not valid:
            valid, data, last = await ticked(ctx, guest.rvalid, guest.rdata, guest.rlast)
        assert data == value and last
        after[word] = value


@pytest.mark.parametrize(("memory_rate", "rate", "guest_rate"), [
    (1.0, 1.0, 1.0), (1.0, 1.0, 0.02), (0.6, 0.3, 0.1), (0.5, 0.1, 0.5), (1.0, 0.02, 1.0)])
def test_both_at_work(memory_rate, rate, guest_rate):
    """The core reads one part and writes another without end, and a guest comes by."""
    rng = random.Random(f"{memory_rate} {rate} {guest_rate}")
    start = [rng.getrandbits(128) for _ in range(WORDS)]
    dram = Dram(rng, memory_rate, start)
    m, share, native = chain()
    reads = random_bursts(rng, 60, 28, WORDS - 8)
    writes = random_bursts(rng, 60, 0, 28)
    contents = [words(rng, beats) for _, beats in writes]
    after, seen = written(start, writes, contents), {}
    visits, done = 12, []

    async def reader(ctx):
        assert await read_data(ctx, share.core, reads) == [
            start[word:word + beats] for word, beats in reads]
        done.append("reads")

    async def acknowledged(ctx):
        assert await responses(ctx, share.core, len(writes), rng, 0.5) == [0] * len(writes)
        done.append("writes")

    async def ar(ctx):
        await send(ctx, share.core, "ar", reads, rng, rate)

    async def aw(ctx):
        await send(ctx, share.core, "aw", writes, rng, rate)

    async def w(ctx):
        await send_data(ctx, share.core, contents)

    async def guest(ctx):
        await visit(ctx, share.guest, rng, visits, guest_rate, after)
        done.append("guest")

    simulate(m, reader, acknowledged, ar, aw, w, guest,
             background=[dram.bench(native.native), watch(share.axi, seen)])
    assert sorted(done) == ["guest", "reads", "writes"]
    assert dram.words == after
    assert seen == {"ar": len(reads) + visits, "aw": len(writes) + visits,
                    "w": sum(map(len, contents)) + visits}


def commands(dut, axi, native):
    """(cycle, write, address) of every command of the memory for the same bursts."""
    rng, dram = random.Random(1), Dram()
    reads, writes = random_bursts(rng, 40, 28, WORDS), random_bursts(rng, 40, 0, 28)
    contents = [words(rng, beats) for _, beats in writes]

    async def reader(ctx):
        await read_data(ctx, axi, reads)

    async def ar(ctx):
        await send(ctx, axi, "ar", reads, random.Random(2), 0.3)

    async def aw(ctx):
        await send(ctx, axi, "aw", writes, random.Random(3), 0.1)

    async def w(ctx):
        await send_data(ctx, axi, contents)

    async def b(ctx):
        assert await responses(ctx, axi, len(writes)) == [0] * len(writes)

    simulate(dut, reader, ar, aw, w, b, background=[dram.bench(native.native)])
    assert len(dram.commands) == sum(beats for _, beats in reads + writes)
    return dram.commands


def test_the_core_alone_loses_nothing():
    """The commands of the memory come in the same cycles with and without the share."""
    native = AxiNative(ADDRESS_BITS)
    m, share, shared = chain()
    assert commands(m, share.core, shared) == commands(native, native.axi, native)


def test_a_guest_that_gives_up():
    """It may take back its address while it waits; the core goes on."""
    dram = Dram()
    m, share, native = chain()
    bursts = [(0, 16)] * 12
    seen = {}

    async def ar(ctx):
        await send(ctx, share.core, "ar", bursts, None, 1.0)

    async def reader(ctx):
        await read_data(ctx, share.core, bursts)

    async def guest(ctx):
        await ctx.tick().repeat(20)
        ctx.set(share.guest.arvalid, 1)
        await ctx.tick().repeat(10)
        assert not ctx.get(share.guest.arready)
        ctx.set(share.guest.arvalid, 0)

    simulate(m, ar, reader, guest,
             background=[dram.bench(native.native), watch(share.axi, seen)])
    assert seen == {"ar": len(bursts)}
