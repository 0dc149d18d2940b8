"""The read arbiter: beats to the right client, fairness, window and response faults, halt."""

import random

import pytest

from hw.config import Config
from hw.isa import Error
from hw.read_arbiter import OUTSTANDING, ReadArbiter
from tests.hw.streams import axi_read_server, bits, go, put, simulate, ticked

BASE = 0x4000_0000
WINDOW = 5000


def vector(byte_address: int) -> int:
    return byte_address * 0x1_0000_0001_0001


def client(port, bursts, received, rng=None, rate=1.0):
    """A testbench that sends the bursts (address, beats) and collects all it gets."""
    async def bench(ctx):
        expected = sum(beats for _, beats in bursts)
        left = list(bursts)
        while left or len(received) < expected:
            if left and (ctx.get(port.request.valid) or go(rng, rate)):
                address, beats = left[0]
                put(ctx, port.request.p, {"address": address, "beats_minus_1": beats - 1})
                ctx.set(port.request.valid, 1)
            ready, valid, data = await ticked(
                ctx, port.request.ready, port.data.valid, port.data.payload)
            if ready and ctx.get(port.request.valid):
                left.pop(0)
                ctx.set(port.request.valid, 0)
            if valid:
                received.append(bits(data))
    return bench


def watch_faults(dut, faults):
    async def bench(ctx):
        while True:
            fault, code, number = await ticked(
                ctx, dut.fault, dut.fault_code, dut.fault_client)
            if fault:
                faults.append((Error(code), number))
    return bench


async def set_window(dut, ctx):
    ctx.set(dut.window_base, BASE)
    ctx.set(dut.window_vectors, WINDOW)


def vectors(bursts):
    return [vector(BASE + 16 * (a + i)) for a, n in bursts for i in range(n)]


def random_bursts(rng, count):
    bursts = []
    for _ in range(count):
        address = rng.randrange(WINDOW - 256)
        bursts.append((address, rng.randint(1, min(20, 256 - address % 256))))
    return bursts


@pytest.mark.parametrize("rate", (1.0, 0.5, 0.2))
@pytest.mark.parametrize("clients", (1, 3, 6))
def test_beats_reach_their_client(clients, rate):
    """Whatever the stalls, every client gets the beats of its bursts, in its order."""
    dut = ReadArbiter(Config(), clients)
    rngs = [random.Random(100 * clients + i) for i in range(clients + 1)]
    bursts = [random_bursts(rng, 15) for rng in rngs[:clients]]
    received, faults, log = [[] for _ in bursts], [], []

    async def setup(ctx):
        await set_window(dut, ctx)
        await ticked(ctx, dut.idle)

    benches = [client(*each, rate) for each in zip(
        dut.clients, bursts, received, rngs, strict=False)]
    simulate(dut, setup, *benches, background=(
        axi_read_server(dut.axi, vector, rngs[-1], rate, 5, log), watch_faults(dut, faults)))
    assert received == [vectors(each) for each in bursts]
    assert not faults
    assert sorted(log) == sorted((BASE + 16 * a, n) for each in bursts for a, n in each)


def test_clients_take_turns():
    """With all clients asking all the time no client waits for more than one round."""
    dut = ReadArbiter(Config(), 3)
    bursts = [[(1000 * i + j, 1) for j in range(8)] for i in range(3)]
    received, log = [[], [], []], []

    async def setup(ctx):
        await set_window(dut, ctx)

    simulate(dut, setup, *map(client, dut.clients, bursts, received),
             background=(axi_read_server(dut.axi, vector, log=log),))
    order = [(address - BASE) // 16 // 1000 for address, _ in log]
    assert order == [order[i % 3] for i in range(24)]
    assert sorted(order[:3]) == [0, 1, 2]


def test_full_rate_and_outstanding():
    """Single-beat bursts pass one a cycle; at most OUTSTANDING are under way."""
    dut = ReadArbiter(Config(), 1)
    bursts = [(i, 1) for i in range(60)]
    received, taken, level = [], [], [0]

    async def setup(ctx):
        await set_window(dut, ctx)

    async def count(ctx):
        while True:
            ar, r = await ticked(ctx, dut.axi.arvalid & dut.axi.arready, dut.axi.rvalid)
            level.append(level[-1] + ar - r)
            taken.append(ar)

    simulate(dut, setup, client(dut.clients[0], bursts, received), background=(
        axi_read_server(dut.axi, vector, latency=8), count))
    assert received == vectors(bursts)
    first, last = taken.index(1), len(taken) - taken[::-1].index(1)
    # The bench offers a request every cycle.
    assert last - first == 60

    dut = ReadArbiter(Config(), 1)
    received, taken, level = [], [], [0]
    simulate(dut, setup, client(dut.clients[0], bursts, received), background=(
        axi_read_server(dut.axi, vector, latency=100), count))
    assert received == vectors(bursts)
    assert max(level) == OUTSTANDING


@pytest.mark.parametrize("address, beats", ((WINDOW - 3, 4), (WINDOW, 1), ((1 << 28) - 8, 8),
                                            ((1 << 28) - 4, 8)))
def test_window(address, beats):
    """A burst that leaves the window is dropped with a fault; the last one inside is not."""
    dut = ReadArbiter(Config(), 3)
    received, faults, log = [[], []], [], []
    good = [(WINDOW - 4, 4), (0, 2)]

    async def setup(ctx):
        await set_window(dut, ctx)

    async def bad(ctx):
        port = dut.clients[2]
        put(ctx, port.request.p, {"address": address, "beats_minus_1": beats - 1})
        ctx.set(port.request.valid, 1)
        while not await ticked(ctx, port.request.ready):
            pass
        ctx.set(port.request.valid, 0)
        for _ in range(40):
            assert not await ticked(ctx, port.data.valid)

    simulate(dut, setup, bad, client(dut.clients[0], good, received[0]),
             background=(axi_read_server(dut.axi, vector, log=log), watch_faults(dut, faults)))
    assert faults == [(Error.WINDOW, 2)]
    assert received[0] == vectors(good)
    assert sorted(log) == sorted((BASE + 16 * a, n) for a, n in good)


@pytest.mark.parametrize("response", (2, 3))
def test_error_response(response):
    """A bad RRESP faults with the client whose burst it was; all beats are delivered."""
    dut = ReadArbiter(Config(), 3)
    received, faults = [[], []], []
    bursts = [[(0, 4), (100, 4)], [(200, 8), (300, 3)]]
    bad = BASE + 16 * 205

    async def setup(ctx):
        await set_window(dut, ctx)

    simulate(dut, setup, *map(client, dut.clients, bursts, received), background=(
        axi_read_server(dut.axi, vector, response=lambda a: response if a == bad else 0),
        watch_faults(dut, faults)))
    assert faults == [(Error.READ, 1)]
    assert received == [vectors(each) for each in bursts]


@pytest.mark.parametrize("seed", range(6))
def test_halt(seed):
    """Halt stops new bursts; those under way end, idle tells when; then all goes on."""
    dut = ReadArbiter(Config(), 2)
    rng = random.Random(seed)
    bursts = [random_bursts(rng, 20) for _ in range(2)]
    received, log = [[], []], []

    async def setup(ctx):
        await set_window(dut, ctx)
        for _ in range(30 + seed):
            await ticked(ctx, dut.idle)
        ctx.set(dut.halt, 1)
        pending = ctx.get(dut.axi.arvalid)
        accepted = len(log)
        while not await ticked(ctx, dut.idle):
            pass
        assert len(log) - accepted <= 1 + pending
        total = sum(beats for _, beats in log)
        assert sum(map(len, received)) in (total, total - 1)
        for _ in range(50):
            idle, arvalid = await ticked(ctx, dut.idle, dut.axi.arvalid)
            assert idle and not arvalid
        assert sum(map(len, received)) == total
        ctx.set(dut.halt, 0)

    simulate(dut, setup, *map(client, dut.clients, bursts, received), background=(
        axi_read_server(dut.axi, vector, random.Random(seed), 0.3, 10, log),))
    assert received == [vectors(each) for each in bursts]
