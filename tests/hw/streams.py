"""Helpers for benches in the Amaranth simulator: drive streams with seeded random stalls.

All helpers take a ``random.Random`` and a ``rate`` in (0, 1], the chance a cycle that a side offers
a transfer or takes one; without a generator there are no stalls. Payloads may be given as an
``int`` (the bits) or as whatever ``ctx.set`` takes; they come back as ``ctx.get`` gives them.

Benches that may be cut off (background ones) wait with ``ticked``: an ``async for`` or ``until``
that is dropped half-way makes the simulator complain.
"""

from collections import deque

from amaranth.hdl import Value
from amaranth.lib import data
from amaranth.sim import Simulator

DEADLINE = 20_000


def simulate(dut, *testbenches, background=(), deadline: int = DEADLINE, vcd: str | None = None):
    """Run the testbenches to their end; AssertionError after ``deadline`` cycles (a hang)."""
    async def watch(ctx):
        for _ in range(deadline):
            await ctx.tick()
        raise AssertionError(f"the bench did not end in {deadline} cycles")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in testbenches:
        sim.add_testbench(bench)
    for bench in (*background, watch):
        sim.add_testbench(bench, background=True)
    if vcd:
        with sim.write_vcd(vcd):
            sim.run()
    else:
        sim.run()


def put(ctx, target, value):
    """Set a signal or view; an ``int`` sets the bits of a view."""
    ctx.set(Value.cast(target) if isinstance(value, int) else target, value)


def bits(value) -> int:
    """The bits of a sampled payload as an ``int``."""
    return value.as_bits() if isinstance(value, data.Const) else int(value)


async def ticked(ctx, *samples):
    """The samples of the next clock edge: one alone, or several as a tuple."""
    _, _, *values = await ctx.tick().sample(*samples)
    return values[0] if len(values) == 1 else tuple(values)


def go(rng, rate: float) -> bool:
    """Whether a side acts in this cycle."""
    return rng is None or rng.random() < rate


async def send(ctx, port, items, rng=None, rate: float = 1.0):
    """Offer every item on a stream input of the device; return after the last is taken."""
    for item in items:
        while not go(rng, rate):
            await ctx.tick()
        put(ctx, port.payload, item)
        ctx.set(port.valid, 1)
        if port.signature.always_ready:
            await ctx.tick()
        else:
            while not await ticked(ctx, port.ready):
                pass
        ctx.set(port.valid, 0)


async def receive(ctx, port, count: int, rng=None, rate: float = 1.0) -> list:
    """Take ``count`` payloads from a stream output of the device."""
    taken = []
    while len(taken) < count:
        while not port.signature.always_ready and not go(rng, rate):
            await ctx.tick()
        if not port.signature.always_ready:
            ctx.set(port.ready, 1)
        valid = False
        while not valid:
            valid, payload = await ticked(ctx, port.valid, port.payload)
        taken.append(payload)
        if not port.signature.always_ready:
            ctx.set(port.ready, 0)
    return taken


def read_server(client, memory, rng=None, rate: float = 1.0, latency: int = 3, log=None):
    """A background testbench that answers the bursts of a device's ``Out(ReadClient())``.

    ``memory(address)`` gives the vector at an external address as an ``int``; the first beat comes
    at least ``latency`` cycles after the request. Bursts go as (address, beats) to ``log``.
    """
    async def bench(ctx):
        beats, now = deque(), 0
        while True:
            ctx.set(client.request.ready, go(rng, rate))
            if beats and beats[0][0] <= now and go(rng, rate):
                put(ctx, client.data.payload, memory(beats.popleft()[1]))
                ctx.set(client.data.valid, 1)
            else:
                ctx.set(client.data.valid, 0)
            valid, ready, request = await ticked(
                ctx, client.request.valid, client.request.ready, client.request.payload)
            now += 1
            if valid and ready:
                count = request.beats_minus_1 + 1
                assert request.address % 256 + count <= 256, "burst crosses 4 KiB"
                beats.extend((now + latency - 1, request.address + i) for i in range(count))
                if log is not None:
                    log.append((request.address, count))
    return bench


def axi_read_server(axi, memory, rng=None, rate: float = 1.0, latency: int = 3, log=None,
                    response=lambda address: 0):
    """A background testbench that answers the AXI read half of a device in order.

    ``memory(address)`` gives the 16 bytes at a byte address as an ``int``, ``response(address)``
    the RRESP of that beat. Checks the rules of AXI a manager can break: a pending AR stays
    unchanged, bursts stay in a 4 KiB page. Bursts go as (byte address, beats) to ``log``.
    """
    async def bench(ctx):
        beats, now, pending = deque(), 0, None
        while True:
            ctx.set(axi.arready, go(rng, rate))
            offer = ctx.get(axi.rvalid) or (beats and beats[0][0] <= now and go(rng, rate))
            if offer:
                _, address, last = beats[0]
                put(ctx, axi.rdata, memory(address))
                ctx.set(axi.rresp, response(address))
                ctx.set(axi.rlast, last)
            ctx.set(axi.rvalid, bool(offer))
            valid, ready, address, length, taken = await ticked(
                ctx, axi.arvalid, axi.arready, axi.araddr, axi.arlen, axi.rready)
            now += 1
            if offer and taken:
                beats.popleft()
                ctx.set(axi.rvalid, 0)
            if pending is not None:
                assert (valid, address, length) == (1, *pending), "AR changed before acceptance"
            pending = (address, length) if valid and not ready else None
            if valid and ready:
                assert address % 4096 + 16 * (length + 1) <= 4096, "burst crosses 4 KiB"
                beats.extend((now + latency - 1, address + 16 * i, i == length)
                             for i in range(length + 1))
                if log is not None:
                    log.append((address, length + 1))
    return bench
