"""The host link: frames that carry reads and writes over a line of bytes that may lose some.

Both ends read this file: `hw.bridge`, which answers on the chip, and `sw.runtime`, which asks.

A frame is a run of bytes between two ``END`` bytes in SLIP (RFC 1055): inside, ``END`` and ``ESC``
are sent as ``ESC ESC_END`` and ``ESC ESC_ESC``. Its last four bytes are the CRC-32 of those before
(``zlib.crc32``, little-endian). All numbers are little-endian.

    request   sequence, kind, address (4 bytes), words (2 bytes), data of a write, CRC
    response  sequence, status, data of a read, CRC

A frame that is not whole, or whose CRC is wrong, is dropped without an answer, and so is one that
comes while the one before is at work; the host asks again. A write with the sequence number of the
last write done is answered with that one's status and not done again, so that asking again is
always safe; sequence number 0 is always new.
"""

import enum

END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD

WORD = 4
"""Bytes of a word. Addresses count bytes and are multiples of a word, in memory of a vector."""
MAX_WORDS = 256
"""Words of the longest request: 1 to this; in memory multiples of a vector's 4 words."""
HEADER, CRC = 8, 4
"""Bytes of a request before its data, and of the check at the end of every frame."""
RESPONSE_HEADER = 2
"""Bytes of a response before its data."""


class Space(enum.IntEnum):
    """What an address is of: low bits of ``kind``."""

    LINK = 0
    """Registers of the bridge itself: `LinkRegister`."""
    CORE = 1
    """Registers of the core: `hw.csr`."""
    CONTROLLER = 2
    """Registers of the DRAM controller: `hw.litedram.Generated.registers`."""
    MEMORY = 3


WRITE = 0x80
"""Bit of ``kind`` that makes a request a write."""


class Status(enum.IntEnum):
    """Second byte of a response. The data of a read are there whatever the status is."""

    OKAY = 0
    BUS_ERROR = 1
    """A word's access was answered with an error; the others were done."""
    BAD_REQUEST = 2
    """Kind, address or number of words are not supported; nothing was done, no data follow."""


class LinkRegister(enum.IntEnum):
    """Byte addresses in `Space.LINK`, all read-only."""

    ID = 0x0
    """`LINK_ID`."""
    DROPPED = 0x4
    """Frames dropped since reset, modulo 2^16."""
    READY = 0x8
    """Bit 0: clocks are locked and the DRAM controller has been opened (its ``init_done``)."""


LINK_ID = 0x314B4C46
"""The letters FLK1, little-endian."""

BAUD = 1_000_000
"""Bits a second of the serial line on boards, 8N1."""
