"""Bytes to items and back, against the host's own frames."""

import random

import pytest
from amaranth.hdl import Module

from hw.link import CRC, END, ESC, ESC_END, ESC_ESC
from hw.slip import SlipDecoder, SlipEncoder
from sw.runtime.frames import Response, encode_response

from .streams import receive, send, simulate


def decoded(data: bytes, gaps=lambda: 0) -> list[tuple[int | None, bool]]:
    """Items of the decoder: the byte, or None for an end; and whether it is broken."""
    dut, found = SlipDecoder(), []

    async def bench(ctx):
        for byte in data:
            for _ in range(gaps()):
                await ctx.tick()
                assert not ctx.get(dut.items.valid)
            ctx.set(dut.line.payload, byte)
            ctx.set(dut.line.valid, 1)
            await ctx.tick()
            ctx.set(dut.line.valid, 0)
            if ctx.get(dut.items.valid):
                item = ctx.get(dut.items.payload)
                found.append((None if item.end else item.byte, bool(item.broken)))

    simulate(dut, bench)
    return found


@pytest.mark.parametrize(("data", "items"), [
    ([], []),
    ([1, 2], [(1, False), (2, False)]),
    ([END, END], [(None, False), (None, False)]),
    ([ESC, ESC_END, ESC, ESC_ESC], [(END, False), (ESC, False)]),
    ([ESC_END, ESC_ESC], [(ESC_END, False), (ESC_ESC, False)]),
    ([ESC, 1, 2], [(1, True), (2, False)]),
    ([ESC, ESC, ESC_END], [(ESC, True), (ESC_END, False)]),
    ([ESC, END, 5], [(None, True), (5, False)]),
], ids=str)
def test_decoder(data, items):
    rng = random.Random(len(data))
    assert decoded(bytes(data)) == items
    assert decoded(bytes(data), lambda: rng.randrange(3)) == items


@pytest.mark.parametrize("rate", [1.0, 0.4])
def test_encoder(rate):
    """The same bytes as the host's encoder gives for the same frame."""
    rng = random.Random(f"{rate}")
    for _ in range(8):
        body = bytes(rng.choice((END, ESC, ESC_END, 7)) for _ in range(rng.randrange(1, 20)))
        line = encode_response(Response(body[0], rng.choice((0, 1)), body[1:]))
        frame = [byte for byte, _ in decoded(line)[1:-1]]
        assert bytes(frame[2:-CRC]) == body[1:]
        dut = SlipEncoder()
        items = [{"byte": byte or 0, "end": byte is None} for byte in (None, *frame, None)]

        async def give(ctx, dut=dut, items=items):
            await send(ctx, dut.items, items, rng, rate)

        async def take(ctx, dut=dut, line=line):
            assert bytes(await receive(ctx, dut.line, len(line), rng, rate)) == line

        simulate(dut, give, take)


def test_a_byte_a_cycle():
    """Both together, in one cycle from line to line where nothing is escaped."""
    m = Module()
    m.submodules.encoder, m.submodules.decoder = encoder, decoder = SlipEncoder(), SlipDecoder()
    m.d.comb += [
        decoder.line.payload.eq(encoder.line.payload),
        decoder.line.valid.eq(encoder.line.valid),
        encoder.line.ready.eq(1),
    ]
    data = random.Random(3).randbytes(100)
    cycles = 0

    async def count(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1

    async def give(ctx):
        await send(ctx, encoder.items, [{"byte": byte, "end": 0} for byte in data])

    async def take(ctx):
        items = await receive(ctx, decoder.items, len(data))
        assert bytes(item.byte for item in items) == data

    simulate(m, give, take, background=[count])
    escaped = sum(byte in (END, ESC) for byte in data)
    assert cycles in (len(data) + escaped, len(data) + escaped + 1)
