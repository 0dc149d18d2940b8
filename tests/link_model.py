"""A model of the chip's end of the link (`hw.link`), as a transport of `sw.runtime`."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hw.link import LINK_ID, MAX_WORDS, WORD, LinkRegister, Space, Status
from sw.runtime.frames import FrameFinder, Request, Response, decode_request, encode_response

VECTOR_WORDS = 4


class BusFault(Exception):
    """A register model answers an access with an error."""


@dataclass
class Words:
    """Plain words of a space by byte address, below `size`."""

    size: int
    words: dict[int, int] = field(default_factory=dict)

    def read(self, address: int) -> int:
        if address >= self.size:
            raise BusFault
        return self.words.get(address, 0)

    def write(self, address: int, value: int) -> None:
        if address >= self.size:
            raise BusFault
        self.words[address] = value


@dataclass
class Counting(Words):
    """The same, and at address 0 a register that counts the writes to it."""

    def write(self, address: int, value: int) -> None:
        super().write(address, self.read(0) + 1 if address == 0 else value)


class LinkModel:
    """Answers requests at once. `spaces` are objects with `read(address)` and
    `write(address, value)`. `deaf`: bytes that are taken without an answer."""

    def __init__(self, core=None, controller=None, memory=None,
                 ready: Callable[[], bool] = lambda: True) -> None:
        self.name = "model"
        self.now = 0.0
        self.closed = False
        self.deaf = False
        self.requests: list[Request] = []
        self._finder = FrameFinder()
        self._out = bytearray()
        self._last: tuple[int, Status] | None = None
        self._ready = ready
        self.spaces = {Space.CORE: core or Counting(256), Space.CONTROLLER: controller or Words(0),
                       Space.MEMORY: memory or Words(1 << 16)}

    def send(self, data: bytes) -> None:
        if self.deaf:
            return
        for body in self._finder.feed(data):
            request = decode_request(body)
            if request is None:
                continue
            self.requests.append(request)
            self._out += encode_response(self._respond(request))

    def receive(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        if not data:
            self.now += 0.1
        return data

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def close(self) -> None:
        self.closed = True

    def _respond(self, request: Request) -> Response:
        unit = WORD * (VECTOR_WORDS if request.space == Space.MEMORY else 1)
        if (not 1 <= request.words <= MAX_WORDS or request.address % unit
                or request.words * WORD % unit or request.write and request.space == Space.LINK):
            return Response(request.sequence, Status.BAD_REQUEST)
        if request.write and self._last and request.sequence == self._last[0] != 0:
            return Response(*self._last)
        data, status = bytearray(), Status.OKAY
        for number in range(request.words):
            address = request.address + number * WORD
            word = request.data[number * WORD:][:WORD]
            try:
                if request.write:
                    self.spaces[request.space].write(address, int.from_bytes(word, "little"))
                else:
                    data += self._read(request.space, address).to_bytes(WORD, "little")
            except BusFault:
                status = Status.BUS_ERROR
                data += bytes(0 if request.write else WORD)
        if request.write:
            self._last = request.sequence, status
        return Response(request.sequence, status, bytes(data))

    def _read(self, space: Space, address: int) -> int:
        if space != Space.LINK:
            return self.spaces[space].read(address)
        return {LinkRegister.ID: LINK_ID, LinkRegister.DROPPED: self._finder.dropped,
                LinkRegister.READY: int(self._ready())}[LinkRegister(address)]
