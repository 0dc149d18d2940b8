"""The block RAM behind AXI4 against a bytearray."""

import random

import pytest

from hw.axi_ram import AxiRam
from hw.config import VECTOR

from .streams import go, simulate, ticked

DEPTH = 64
SIZE = DEPTH * VECTOR


async def write_burst(ctx, bus, address, beats, rng=None, rate=1.0):
    """``beats``: (data, strobes) of each. Returns the cycles from the first beat to the last."""
    address_sent, sent, cycle, times = False, 0, 0, []
    ctx.set(bus.awaddr, address)
    ctx.set(bus.awlen, len(beats) - 1)
    valid = {"aw": False, "w": False}
    while not address_sent or sent < len(beats):
        # What has been offered stays offered.
        valid["aw"] = not address_sent and (valid["aw"] or go(rng, rate))
        valid["w"] = sent < len(beats) and (valid["w"] or go(rng, rate))
        ctx.set(bus.awvalid, valid["aw"])
        ctx.set(bus.wvalid, valid["w"])
        if valid["w"]:
            ctx.set(bus.wdata, beats[sent][0])
            ctx.set(bus.wstrb, beats[sent][1])
            ctx.set(bus.wlast, sent == len(beats) - 1)
        aw, w, b = await ticked(ctx, bus.awvalid & bus.awready, bus.wvalid & bus.wready,
                                bus.bvalid)
        assert not b, "a response before the last beat"
        if aw:
            address_sent, valid["aw"] = True, False
        if w:
            sent, valid["w"] = sent + 1, False
            times.append(cycle)
        cycle += 1
    ctx.set(bus.awvalid, 0)
    ctx.set(bus.wvalid, 0)
    done = False
    while not done:
        ctx.set(bus.bready, go(rng, rate))
        done, response = await ticked(ctx, bus.bvalid & bus.bready, bus.bresp)
    assert response == 0
    ctx.set(bus.bready, 0)
    return times[-1] - times[0] + 1


async def read_burst(ctx, bus, address, beats, rng=None, rate=1.0):
    """Vectors of the burst, and the cycles from the first to the last."""
    ctx.set(bus.araddr, address)
    ctx.set(bus.arlen, beats - 1)
    while not go(rng, rate):
        await ctx.tick()
    ctx.set(bus.arvalid, 1)
    while not await ticked(ctx, bus.arready):
        pass
    ctx.set(bus.arvalid, 0)
    vectors, cycle, times, held = [], 0, [], None
    while len(vectors) < beats:
        ready = go(rng, rate)
        ctx.set(bus.rready, ready)
        valid, data, last, response = await ticked(
            ctx, bus.rvalid, bus.rdata, bus.rlast, bus.rresp)
        assert held is None or (valid, data) == (1, held), "a beat changed before it was taken"
        held = data if valid and not ready else None
        if valid and ready:
            assert response == 0 and last == (len(vectors) == beats - 1)
            vectors.append(data)
            times.append(cycle)
        cycle += 1
    ctx.set(bus.rready, 0)
    return vectors, times[-1] - times[0] + 1


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_equals_bytearray(rate):
    """Random bursts with random strobes at random addresses of a space larger than the memory."""
    rng = random.Random(4)
    dut, memory = AxiRam(DEPTH), bytearray(SIZE)

    async def bench(ctx):
        for _ in range(60):
            beats = rng.choice((1, 2, 5, 16))
            address = rng.randrange(1 << 28) * VECTOR
            places = [(address + i * VECTOR) % SIZE for i in range(beats)]
            if rng.getrandbits(1):
                content = [(rng.getrandbits(128), rng.choice((0xFFFF, rng.getrandbits(16))))
                           for _ in range(beats)]
                await write_burst(ctx, dut.bus, address, content, rng, rate)
                for place, (data, strobes) in zip(places, content, strict=True):
                    for i, byte in enumerate(data.to_bytes(VECTOR, "little")):
                        if strobes >> i & 1:
                            memory[place + i] = byte
            else:
                vectors, _ = await read_burst(ctx, dut.bus, address, beats, rng, rate)
                assert vectors == [int.from_bytes(memory[place:place + VECTOR], "little")
                                   for place in places]
        assert any(memory)

    simulate(dut, bench)


def test_throughput():
    """A write takes a vector a cycle, a read gives one every second cycle."""
    dut = AxiRam(DEPTH)

    async def bench(ctx):
        beats = [(i, 0xFFFF) for i in range(10)]
        assert await write_burst(ctx, dut.bus, 0, beats) == 10
        vectors, cycles = await read_burst(ctx, dut.bus, 0, 10)
        assert vectors == list(range(10)) and cycles == 19

    simulate(dut, bench)


def test_reads_and_writes_do_not_wait_for_one_another():
    """Both channels work at once on different places."""
    rng = random.Random(5)
    dut = AxiRam(DEPTH)
    content = [(rng.getrandbits(128), 0xFFFF) for _ in range(16)]
    filled = []

    async def writer(ctx):
        await write_burst(ctx, dut.bus, 0, content)
        filled.append(True)
        for _ in range(20):
            await write_burst(ctx, dut.bus, 32 * VECTOR, content, rng, 0.7)

    async def reader(ctx):
        while not filled:
            await ctx.tick()
        for _ in range(20):
            vectors, _ = await read_burst(ctx, dut.bus, 0, 16, rng, 0.7)
            assert vectors == [data for data, _ in content]

    simulate(dut, writer, reader)
