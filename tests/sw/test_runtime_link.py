"""Frames, and the host's end of the link against a model of the chip's."""

import random

import pytest

from hw.link import END, ESC, MAX_WORDS, WORD, LinkRegister, Space, Status
from sim.faults import FaultyTransport
from sw.runtime.frames import (
    FrameFinder,
    Request,
    Response,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from sw.runtime.link import ATTEMPTS, Link, LinkError
from tests.link_cases import Shadow, Tally, run_case
from tests.link_model import LinkModel, Words


def frames(data: bytes, step: int = 1) -> list[bytes]:
    finder = FrameFinder()
    return [body for i in range(0, len(data), step) for body in finder.feed(data[i:i + step])]


# Frames

def test_a_frame_by_hand():
    """Read of a word of the link's ID: header, CRC-32 of `05 00 00 00 00 00 01 00`."""
    frame = encode_request(Request(5, Space.LINK, 0, 1))
    assert frame == bytes.fromhex("c0 05 00 00000000 0100 4ce0d934 c0")


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_frames_come_back(step):
    choose = random.Random(1)
    requests, responses = [], []
    for _ in range(50):
        write = choose.random() < 0.5
        words = choose.choice((1, 3, MAX_WORDS))
        data = bytes(choose.choice((END, ESC, 0xDC, 0xDD, choose.randrange(256)))
                     for _ in range(words * WORD))
        requests.append(Request(choose.randrange(256), choose.choice(list(Space)),
                                choose.getrandbits(32), words, data if write else b"", write))
        responses.append(Response(choose.randrange(256), choose.choice(list(Status)), data))
    line = b"".join(map(encode_request, requests))
    assert [decode_request(body) for body in frames(line, step)] == requests
    line = b"".join(map(encode_response, responses))
    assert [decode_response(body) for body in frames(line, step)] == responses


def test_every_change_of_a_byte_is_found():
    """As is every byte that is lost, and every one that is doubled."""
    frame = encode_request(Request(7, Space.MEMORY, 0xC0DB00C0, 4, bytes(range(0xD0, 0xE0)), True))
    body, = frames(frame)
    broken = [frame[:i] + bytes([frame[i] ^ 1 << bit]) + frame[i + 1:]
              for i in range(1, len(frame) - 1) for bit in range(8)]
    broken += [frame[:i] + frame[i + 1:] for i in range(1, len(frame) - 1)]
    broken += [frame[:i] + frame[i:i + 1] + frame[i:] for i in range(1, len(frame) - 1)]
    for line in broken:
        finder = FrameFinder()
        assert finder.feed(line + frame) == [body], line.hex()
        assert finder.dropped >= 1


def test_noise_between_frames():
    finder = FrameFinder()
    frame = encode_response(Response(1, Status.OKAY))
    line = b"\x00\x55" + frame + bytes([END]) * 3 + frame + bytes([ESC]) + frame + b"ab" + frame
    # an escape or noise at the end spoils only what it is part of
    assert len(finder.feed(line)) == 4
    assert finder.dropped == 3


def test_frames_that_are_too_long_do_not_grow():
    finder = FrameFinder()
    assert finder.feed(bytes(100_000)) == [] and len(finder._frame) < 2000
    assert finder.feed(bytes([END])) == [] and finder.dropped == 1


def test_what_is_no_request_or_response():
    assert decode_request(b"1234567") is None
    assert decode_request(bytes([1, 0x44, 0, 0, 0, 0, 1, 0])) is None
    assert decode_request(bytes([1, 0x83, 0, 0, 0, 0, 1, 0])) is None  # a write without data
    assert decode_response(b"1") is None
    assert decode_response(bytes([1, 9])) is None


# Link

def test_long_transfers_are_cut():
    model = LinkModel()
    link = Link(model)
    data = random.Random(2).randbytes(2 * MAX_WORDS * WORD + 64)
    told = []
    link.write(Space.MEMORY, 256, data, told.append)
    assert link.read(Space.MEMORY, 256, len(data), told.append) == data
    assert [(each.address, each.words) for each in model.requests[:3]] \
        == [(256, 256), (256 + 1024, 256), (256 + 2048, 16)]
    assert told == 2 * [1024, 2048, 2112]
    assert link.statistics.requests == 6 and link.statistics.retries == 0


def test_sequence_numbers():
    """The first write has 0, later requests 1 to 255 in turn; a write never that of the write
    before, though 254 reads may lie between them."""
    model = LinkModel()
    link = Link(model)
    for number in range(300):
        link.write_word(Space.CORE, 0, 0)
        for _ in range(254 if number < 3 else number % 5):
            link.read_word(Space.CORE, 0)
    assert link.read_word(Space.CORE, 0) == 300  # it counts writes: none was taken for another
    numbers = [request.sequence for request in model.requests]
    assert numbers[0] == 0 and 0 not in numbers[1:] and max(numbers) == 255
    assert all(a != b for a, b in zip(numbers, numbers[1:], strict=False))


def test_a_new_session_is_not_taken_for_the_one_before():
    model = LinkModel()
    for _ in range(5):
        link = Link(model)
        link.write_word(Space.CORE, 4, 0)
        link.write_word(Space.CORE, 0, 0)
    assert link.read_word(Space.CORE, 0) == 5


def test_errors_are_named():
    link = Link(LinkModel())
    with pytest.raises(LinkError, match="^model: a read of 1 words at CORE:0x100 was answered with "
                                        "BUS_ERROR$"):
        link.read_word(Space.CORE, 0x100)
    with pytest.raises(LinkError, match="a write of 1 words at LINK:0x0 .* BAD_REQUEST"):
        link.write_word(Space.LINK, LinkRegister.ID, 1)
    with pytest.raises(LinkError, match="a read of 2 words at MEMORY:0x0 .* BAD_REQUEST"):
        link.read(Space.MEMORY, 0, 8)


def test_silence_is_reported():
    model = LinkModel()
    link = Link(model)
    model.deaf = True
    with pytest.raises(LinkError, match=f"model: no answer to a read of 1 words at LINK:0x0 in "
                                        f"{ATTEMPTS} attempts; nothing came back; is the board on"):
        link.read_word(Space.LINK, LinkRegister.ID)
    assert link.statistics.retries == ATTEMPTS - 1
    model.deaf = False
    assert link.read(Space.LINK, LinkRegister.ID, WORD) == b"FLK1"


def test_chatter_is_reported():
    """A line that never falls silent does not hold the host."""
    class Chatter(LinkModel):
        def receive(self):
            return bytes([END, 1, 2, 3, 4, 5, 6, 7])

    with pytest.raises(LinkError, match="[0-9]{3,} broken frames came back"):
        Link(Chatter()).read_word(Space.CORE, 0)


def test_answers_to_other_requests_are_passed_over():
    class Late(LinkModel):
        """Answers every request twice, the second time with the answer to the next one."""
        before = b""

        def receive(self):
            data = super().receive()
            answer, self.before = self.before + data, data
            return answer

    link = Link(Late(memory=Words(1 << 10)))
    link.write_word(Space.CORE, 4, 3)
    for value in range(20):
        link.write_word(Space.CORE, 8, value)
        assert link.read_word(Space.CORE, 8) == value
        assert link.read_word(Space.CORE, 4) == 3
    assert link.statistics.stale == 60 and link.statistics.retries == 0


def test_a_bad_line_gets_shorter_requests():
    """A byte in 500 is hit: a request of 256 words hardly ever comes through."""
    longest = []
    for seed in range(10):
        model = LinkModel()
        faulty = FaultyTransport(model, 0.002, seed)
        link = Link(faulty, attempts=40)
        link.write_word(Space.CORE, 4, 0)
        data = random.Random(seed).randbytes(1 << 15)
        link.write(Space.MEMORY, 0, data)
        assert link.read(Space.MEMORY, 0, len(data)) == data
        words = [request.words for request in model.requests]
        assert min(words[1:]) >= 16
        longest.append(max(words[len(words) // 2:]))
        # on a good line they grow again
        faulty.rate = 0
        link.read(Space.MEMORY, 0, len(data))
        assert max(request.words for request in model.requests[-20:]) == MAX_WORDS
    assert sum(longest) / len(longest) < 200


def test_faults_against_the_model():
    """1,000 seeded cases; the same run against the hardware in tests/sim/test_link.py."""
    model, shadow, tally = LinkModel(), Shadow(), Tally()
    for seed in range(1000):
        run_case(model, shadow, seed, tally)
    assert tally.cases == 1000 <= tally.faults
    assert tally.recovered > 500 and tally.reported > 50
