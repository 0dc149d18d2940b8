"""The host's end of the link: requests that are asked again until their answer has come whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hw.link import MAX_WORDS, WORD, Space, Status
from sw.errors import Failure

from .frames import LONGEST, FrameFinder, Request, decode_response, encode_request

__all__ = ["ATTEMPTS", "Link", "LinkError", "Statistics", "Transport"]

ATTEMPTS = 10
"""Times that a request is sent before it is given up."""
SHORTEST = 16
"""Words of the requests that a bad line gets."""
CLEAN = 16
"""Requests without a fault after which they may be longer again."""
SEQUENCES = 256
CHATTER = 4 * LONGEST
"""Bytes without an answer among them after which a request is sent again all the same."""


class LinkError(Failure):
    """The chip does not answer, or answers that it could not do what was asked; one line."""


class Transport(Protocol):
    """A line of bytes to a chip and back, that may lose some."""

    name: str
    """Of the line, for messages."""

    @property
    def now(self) -> float:
        """Seconds, from any start."""

    def send(self, data: bytes) -> None:
        """Returns when all are on their way."""

    def receive(self) -> bytes:
        """What has come, at least one byte; empty if the line was silent for so long that nothing
        is to be expected any more."""

    def sleep(self, seconds: float) -> None: ...

    def close(self) -> None: ...


@dataclass
class Statistics:
    """What went over the link. `dropped` are frames with a wrong check sum, `stale` answers to
    another request than the last one."""

    requests: int = 0
    retries: int = 0
    dropped: int = 0
    stale: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class Link:
    """Reads and writes of the chip's `hw.link.Space`s over a transport, exact over a bad line.

    Requests of many words become shorter on a line on which they have to be asked again.
    The first write has sequence number 0: the chip must not take it for one of a session before
    that had the same number. So it alone may be done twice, and must be one that does no harm then.
    """

    def __init__(self, transport: Transport, attempts: int = ATTEMPTS) -> None:
        self.transport, self.attempts = transport, attempts
        self.statistics = Statistics()
        self._finder = FrameFinder()
        self._sequence = 0  # of the last request
        self._written: int | None = None  # of the last write
        self._words = MAX_WORDS  # of a request, at most
        self._clean = 0  # requests since the last one that was asked again

    def close(self) -> None:
        self.transport.close()

    def read(self, space: Space, address: int, count: int,
             progress: Callable[[int], None] = lambda done: None) -> bytes:
        """`count` bytes, a multiple of the space's unit. `progress` is told the bytes so far.

        Raises `LinkError`.
        """
        data = bytearray()
        while len(data) < count:
            size = min(count - len(data), self._words * WORD)
            data += self._ask(space, address + len(data), size // WORD)
            progress(len(data))
        return bytes(data)

    def write(self, space: Space, address: int, data: bytes,
              progress: Callable[[int], None] = lambda done: None) -> None:
        """The same for a write."""
        done = 0
        while done < len(data):
            part = data[done:done + self._words * WORD]
            self._ask(space, address + done, len(part) // WORD, part)
            done += len(part)
            progress(done)

    def read_word(self, space: Space, address: int) -> int:
        return int.from_bytes(self.read(space, address, WORD), "little")

    def write_word(self, space: Space, address: int, value: int) -> None:
        self.write(space, address, value.to_bytes(WORD, "little"))

    def _ask(self, space: Space, address: int, words: int, data: bytes = b"") -> bytes:
        request = Request(self._next(bool(data)), space, address, words, data, bool(data))
        frame = encode_request(request)
        size = 0 if request.write else words * WORD
        statistics = self.statistics
        statistics.requests += 1
        dropped = self._finder.dropped
        for attempt in range(self.attempts):
            statistics.retries += attempt > 0
            statistics.bytes_sent += len(frame)
            self.transport.send(frame)
            response = self._answer(request.sequence, size)
            if response is not None:
                break
        else:
            raise LinkError(self._silence(request, self._finder.dropped - dropped))
        if response.status != Status.OKAY:
            raise LinkError(f"{self.transport.name}: {_what(request)} was answered with "
                            f"{response.status.name}")
        self._adapt(clean=not attempt)
        return response.data

    def _adapt(self, clean: bool) -> None:
        self._clean = self._clean + 1 if clean else 0
        if not clean:
            self._words = max(self._words // 2, SHORTEST)
        elif self._clean == CLEAN:
            self._words, self._clean = min(self._words * 2, MAX_WORDS), 0

    def _next(self, write: bool) -> int:
        """The sequence number of the next request: never that of the one before, nor for a write
        that of the last write, which the chip would take for the same."""
        if write and self._written is None:
            self._written = 0
            return 0
        self._sequence = self._sequence % (SEQUENCES - 1) + 1
        if write:
            if self._sequence == self._written:
                self._sequence = self._sequence % (SEQUENCES - 1) + 1
            self._written = self._sequence
        return self._sequence

    def _answer(self, sequence: int, size: int):
        """The response, or None if the line falls silent or tells other things without end."""
        heard = 0
        while heard < CHATTER:
            data = self.transport.receive()
            if not data:
                return None
            heard += len(data)
            self.statistics.bytes_received += len(data)
            found = None
            for body in self._finder.feed(data):
                response = decode_response(body)
                if response is not None and response.sequence == sequence and len(
                        response.data) == (0 if response.status == Status.BAD_REQUEST else size):
                    found = response
                else:
                    self.statistics.stale += 1
            self.statistics.dropped = self._finder.dropped
            if found:
                return found
        return None

    def _silence(self, request: Request, dropped: int) -> str:
        heard = f"{dropped} broken frames" if dropped else "nothing"
        return (f"{self.transport.name}: no answer to {_what(request)} in {self.attempts} "
                f"attempts; {heard} came back; is the board on and configured, and the rate of "
                "the line right?")


def _what(request: Request) -> str:
    return (f"a {'write' if request.write else 'read'} of {request.words} words at "
            f"{request.space.name}:{request.address:#x}")
