"""The serial line: bits drawn by hand for the receiver, bits measured of the transmitter."""

import random
from fractions import Fraction

import pytest
from amaranth.hdl import Module

from hw.uart import UartReceiver, UartTransmitter

from .streams import receive, send, simulate, ticked

RATES = [2, 2.25, 2.625, 3, 4, 7.5, Fraction(80_000_000, 3_000_000), 50]
"""Cycles of a bit."""


def levels(byte: int, stop: int = 1) -> list[int]:
    return [0, *(byte >> place & 1 for place in range(8)), stop]


async def draw(ctx, rx, bits, divisor, start=0.0) -> float:
    """Puts bits on the line for ``divisor`` cycles each, on average; returns the time of the end
    that is still to come, as a fraction of a cycle."""
    time = start
    for bit in bits:
        ctx.set(rx, bit)
        time += divisor
        while time >= 1:
            await ctx.tick()
            time -= 1
    return time


def received(dut, bench, before=8):
    """What a receiver makes of a line: bytes, and the number of errors."""
    found, errors = [], 0

    async def watch(ctx):
        nonlocal errors
        while True:
            valid, byte, error = await ticked(
                ctx, dut.bytes.valid, dut.bytes.payload, dut.error)
            errors += error
            if valid:
                found.append(byte)

    async def line(ctx):
        ctx.set(dut.rx, bool(before))
        if before:
            await ctx.tick().repeat(before)
        await bench(ctx)
        await ctx.tick().repeat(400)

    simulate(dut, line, background=[watch], deadline=100_000)
    return found, errors


@pytest.mark.parametrize("divisor", RATES)
@pytest.mark.parametrize("drift", [0, 0.03, -0.03])
def test_receiver(divisor, drift):
    """The sender's clock may be off by 3 %, unless a bit has too few cycles; bytes begin at any
    fraction of a cycle."""
    drift *= divisor > 7
    rng = random.Random(f"{divisor} {drift}")
    data = [0, 0xFF, 0x55, *rng.randbytes(17)]
    dut = UartReceiver(divisor)

    async def bench(ctx):
        time = 0
        for byte in data:
            time = await draw(ctx, dut.rx, levels(byte), float(divisor) * (1 + drift), time)
            if rng.random() < 0.3:
                await ctx.tick().repeat(rng.randrange(1, 40))

    assert received(dut, bench) == (data, 0)


@pytest.mark.parametrize("divisor", RATES)
def test_transmitter(divisor):
    """Bits are where their numbers say, rounded to a cycle, and bytes follow without a gap."""
    data = [0xA5, 0, 0xFF, 0xC0]
    dut = UartTransmitter(divisor)
    line = []

    async def watch(ctx):
        while True:
            line.append(await ticked(ctx, dut.tx))

    async def bench(ctx):
        await ctx.tick().repeat(5)
        await send(ctx, dut.bytes, data)
        await ctx.tick().repeat(int(12 * divisor))

    simulate(dut, bench, background=[watch])
    start = line.index(0)
    assert line[:start] == [1] * start and start == 6
    for number, bit in enumerate(sum((levels(byte) for byte in data), [])):
        middle = start + (number + 0.5) * float(divisor)
        for place in {int(middle - 0.2 * divisor + 0.5), int(middle + 0.2 * divisor - 0.5)}:
            assert line[place] == bit, f"bit {number}"
    assert all(line[start + int(10 * len(data) * divisor):])


@pytest.mark.parametrize("divisor", RATES)
@pytest.mark.parametrize("rate", [1.0, 0.02])
def test_there_and_back(divisor, rate):
    rng = random.Random(f"{divisor} {rate}")
    data = list(rng.randbytes(12))
    m = Module()
    m.submodules.transmitter = transmitter = UartTransmitter(divisor)
    m.submodules.receiver = receiver = UartReceiver(divisor)
    m.d.comb += receiver.rx.eq(transmitter.tx)

    async def give(ctx):
        await ctx.tick().repeat(8)
        await send(ctx, transmitter.bytes, data, rng, rate)

    async def take(ctx):
        assert await receive(ctx, receiver.bytes, len(data)) == data

    simulate(m, give, take)


def test_no_stop_bit():
    """The byte is lost, and so is everything until the line has been high."""
    dut = UartReceiver(8)

    async def bench(ctx):
        await draw(ctx, dut.rx, levels(0x81), 8)
        await draw(ctx, dut.rx, levels(0x42, stop=0), 8)
        await draw(ctx, dut.rx, [0] * 25, 8)
        await draw(ctx, dut.rx, [1, *levels(0x3C)], 8)

    assert received(dut, bench) == ([0x81, 0x3C], 1)


def test_a_glitch_is_no_start_bit():
    dut = UartReceiver(16)

    async def bench(ctx):
        for width in (1, 4, 7):
            await draw(ctx, dut.rx, [0, 1], width)
            await draw(ctx, dut.rx, [1], 40)
        await draw(ctx, dut.rx, levels(0x99), 16)

    assert received(dut, bench) == ([0x99], 0)


def test_a_line_that_is_low_from_the_start():
    dut = UartReceiver(4)

    async def bench(ctx):
        await draw(ctx, dut.rx, [0] * 30 + [1, *levels(7)], 4)

    assert received(dut, bench, before=0) == ([7], 0)


@pytest.mark.parametrize("component", [UartReceiver, UartTransmitter])
@pytest.mark.parametrize("divisor", [1.9, 0, 65_536])
def test_bad_rates(component, divisor):
    with pytest.raises(ValueError, match="supported: 2 to 65535"):
        component(divisor)
