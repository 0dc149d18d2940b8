"""Frames of the host link, as `hw.link` defines them, made and found in a run of bytes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from hw.link import (
    CRC,
    END,
    ESC,
    ESC_END,
    ESC_ESC,
    HEADER,
    MAX_WORDS,
    RESPONSE_HEADER,
    WORD,
    WRITE,
    Space,
    Status,
)

__all__ = ["FrameFinder", "Request", "Response", "decode_request", "decode_response",
           "encode_request", "encode_response"]

LONGEST = HEADER + MAX_WORDS * WORD + CRC
"""Bytes of the longest frame, without escapes."""
_HEADER = struct.Struct("<BBIH")


@dataclass(frozen=True)
class Request:
    """`data` are the words of a write; a read has none."""

    sequence: int
    space: Space
    address: int
    words: int
    data: bytes = b""
    write: bool = False


@dataclass(frozen=True)
class Response:
    sequence: int
    status: Status
    data: bytes = b""


def encode_request(request: Request) -> bytes:
    kind = request.space | WRITE * request.write
    return _frame(_HEADER.pack(request.sequence, kind, request.address, request.words)
                  + request.data)


def encode_response(response: Response) -> bytes:
    return _frame(bytes([response.sequence, response.status]) + response.data)


def decode_request(body: bytes) -> Request | None:
    """Of a frame that `FrameFinder` gave; None if it is not whole or of no known space."""
    if len(body) < HEADER:
        return None
    sequence, kind, address, words = _HEADER.unpack_from(body)
    write = bool(kind & WRITE)
    data = body[HEADER:]
    if kind & ~WRITE not in Space.__members__.values() or len(data) != words * WORD * write:
        return None
    return Request(sequence, Space(kind & ~WRITE), address, words, data, write)


def decode_response(body: bytes) -> Response | None:
    """Of a frame that `FrameFinder` gave; None if it is too short or of no known status."""
    if len(body) < RESPONSE_HEADER or body[1] not in Status.__members__.values():
        return None
    return Response(body[0], Status(body[1]), body[RESPONSE_HEADER:])


def _frame(body: bytes) -> bytes:
    body += zlib.crc32(body).to_bytes(CRC, "little")
    body = body.replace(bytes([ESC]), bytes([ESC, ESC_ESC]))
    return bytes([END]) + body.replace(bytes([END]), bytes([ESC, ESC_END])) + bytes([END])


class FrameFinder:
    """Takes bytes as they come and gives the frames whose check sum is right.

    `dropped` counts the others. What comes before the first END is one of those.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._frame = bytearray()
        self._escaped = False
        self._broken = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that end in `data`, without their check sums."""
        found = []
        for byte in data:
            if byte == END:
                body = self._end()
                if body is not None:
                    found.append(body)
            elif self._escaped:
                self._escaped = False
                self._broken |= byte not in (ESC_END, ESC_ESC)
                self._frame.append(END if byte == ESC_END else ESC)
            elif byte == ESC:
                self._escaped = True
            elif len(self._frame) < LONGEST:
                self._frame.append(byte)
            else:
                self._broken = True
        return found

    def _end(self) -> bytes | None:
        frame, broken = bytes(self._frame), self._broken or self._escaped
        self._frame.clear()
        self._escaped = self._broken = False
        body, check = frame[:-CRC], frame[-CRC:]
        if broken or (frame and (not body or zlib.crc32(body).to_bytes(CRC, "little") != check)):
            self.dropped += 1
            return None
        return body or None
