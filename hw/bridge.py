"""The chip's end of the host link: requests of ``hw.link`` to accesses of three buses."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from .interfaces import Axi4, AxiLite
from .link import CRC, HEADER, MAX_WORDS, RESPONSE_HEADER, WORD, WRITE, Space, Status
from .litedram import Wishbone
from .slip import SlipDecoder, SlipEncoder
from .word_access import WordAccess

__all__ = ["LinkBridge"]


class LinkBridge(wiring.Component):
    """Takes requests, does them word by word, sends responses; see ``hw.link`` for the frames.

    A request is done when the whole of it has come and is sound; the next one is heard when the
    last byte of its response has been taken. Which accesses fail, and after how long, is with
    ``hw.word_access.WordAccess``. A write to the link's own registers is BAD_REQUEST.

    Members
    -------
    received : In(stream(8)), bytes from the line, never refused
    lost : In(1), the line has lost a byte: the frame it was in is dropped
    sent : Out(stream(8)), bytes to the line, one in five cycles at most
    bus : Out(AxiLite()), registers of the core
    control : Out(Wishbone()), registers of the DRAM controller
    memory : Out(Axi4()), one burst of one beat at a time; W comes with AW, R and B are not refused
    ready : In(1), the memory may be used
    fault : Out(1), the last frame was dropped
    """

    def __init__(self, memory_bytes: int):
        """``memory_bytes``: size of the memory, a power of two from 16 on. Raises ValueError."""
        self.access = WordAccess(memory_bytes)
        super().__init__({
            "received": In(stream.Signature(8, always_ready=True)), "lost": In(1),
            "sent": Out(stream.Signature(8)),
            "bus": Out(AxiLite()), "control": Out(Wishbone()), "memory": Out(Axi4()),
            "ready": In(1),
            "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.access = access = self.access
        m.submodules.decoder = decoder = SlipDecoder()
        m.submodules.encoder = encoder = SlipEncoder()
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(8).create()
        m.submodules.buffer = buffer = Memory(shape=32, depth=MAX_WORDS, init=[])
        write, read = buffer.write_port(granularity=8), buffer.read_port(domain="comb")
        connect(m, flipped(self.received), decoder.line)
        connect(m, encoder.line, flipped(self.sent))
        for name in ("bus", "control", "memory"):
            connect(m, getattr(access, name), flipped(getattr(self, name)))
        item, into = decoder.items.payload, encoder.items.payload

        # The request's header stays while it is at work, but for the address, which is that of the
        # word. `place` is the byte of the data that comes, is at work or goes out: negative in a
        # header, and beyond the data in the CRC.
        header = Signal(8 * HEADER)
        sequence, kind, address, words = header[:8], header[8:16], header[16:48], header[48:]
        space, writes = kind[:2], kind[7]
        beyond = Signal()  # 32 bits of address
        next_address = Cat(address[2:], beyond)
        place = Signal(range(-HEADER, 2 * WORD * MAX_WORDS), init=-HEADER)
        word, byte = place[2:], place[:2]
        next_byte, next_word = Signal(), Signal()
        with m.If(next_byte | next_word):
            m.d.sync += place.eq(place + Mux(next_word, WORD, 1))
        with m.If(next_word):
            m.d.sync += next_address.eq(next_address + 1)
        data_words, in_crc = Signal(range(MAX_WORDS + 1)), Signal()
        m.d.comb += in_crc.eq(word == data_words)

        # Bytes come. The frame is whole if its last one is that of the CRC. What comes while a
        # request is at work breaks the frame it belongs to.
        idle, sound = Signal(), Signal()
        begun, broken, whole = Signal(), Signal(), Signal()
        comes, ends = Signal(), Signal()
        dropped = Signal.like(access.dropped)
        m.d.comb += [
            comes.eq(decoder.items.valid & ~item.end),
            ends.eq(decoder.items.valid & item.end),
            sound.eq(ends & idle & ~item.broken & ~broken & whole & crc.match_detected),
            access.dropped.eq(dropped),
        ]
        with m.If(comes | self.lost):
            m.d.sync += [begun.eq(1), broken.eq(broken | item.broken | ~idle | self.lost)]
        with m.If(ends):
            m.d.sync += [begun.eq(0), broken.eq(0)]
            with m.If(begun | item.broken):
                m.d.sync += [self.fault.eq(~sound), dropped.eq(dropped + ~sound)]

        # What is known of a sound request.
        bad, again = Signal(), Signal()
        last_write, last_failed = Signal.like(sequence), Signal()
        m.d.comb += [
            bad.eq((kind & ~(WRITE | 0b11)).any() | (words == 0) | (words > MAX_WORDS)
                   | address[:2].any()
                   | ((space == Space.MEMORY) & (address[2:4].any() | words[:2].any()))
                   | ((space == Space.LINK) & writes)),
            again.eq(writes & (sequence == last_write) & (sequence != 0)),
        ]

        # Block RAM is slow: from its own register, `read_data`, words go straight to another one.
        # No word is used that was read while it was written; without the attribute, which Yosys
        # heeds where it puts a register into a memory, it would add logic for that behind it.
        buffer.attrs["no_rw_check"] = 1
        read_data, fetched = Signal(32, reset_less=True), Signal(32, reset_less=True)
        m.d.sync += [read_data.eq(read.data), fetched.eq(read_data)]

        status = Signal(Status)
        answer_words = Mux(writes | (status == Status.BAD_REQUEST), 0, words)
        m.d.comb += [
            read.addr.eq(word),
            write.addr.eq(word),
            access.ready.eq(self.ready),
            access.request.space.eq(space),
            access.request.write.eq(writes),
            access.request.address.eq(Cat(address, beyond)),
            access.request.data.eq(fetched),
        ]
        with m.FSM():
            with m.State("receive"):
                m.d.comb += [
                    idle.eq(1),
                    write.data.eq(item.byte.replicate(WORD)),
                    crc.data.eq(item.byte),
                    crc.valid.eq(comes),
                    crc.start.eq(ends),
                ]
                m.d.sync += data_words.eq(Mux(writes, words, 0))
                with m.If(comes):
                    with m.If(place < 0):
                        m.d.sync += header.word_select(place[:3], 8).eq(item.byte)
                    with m.If((place >= 0) & ~place[10]):
                        m.d.comb += write.en.eq(1 << byte)
                    m.d.comb += next_byte.eq(place < WORD * (MAX_WORDS + 2))
                    m.d.sync += whole.eq(in_crc & (byte == CRC - 1))
                with m.If(ends):
                    m.d.sync += place.eq(-HEADER)
                with m.If(sound):
                    m.next = "decide"
            with m.State("decide"):
                m.d.sync += [place.eq(0), beyond.eq(0), data_words.eq(words),
                             status.eq(Status.OKAY)]
                m.next = "next"
                with m.If(bad):
                    m.d.sync += status.eq(Status.BAD_REQUEST)
                    m.next = "open"
                with m.Elif(again):
                    m.d.sync += status.eq(Mux(last_failed, Status.BUS_ERROR, Status.OKAY))
                    m.next = "open"
            with m.State("next"):
                m.next = "access"
                with m.If(in_crc):
                    m.next = "open"
                    with m.If(writes):
                        m.d.sync += [last_write.eq(sequence), last_failed.eq(status != Status.OKAY)]
            with m.State("access"):
                m.d.comb += [access.valid.eq(1), write.data.eq(access.value)]
                with m.If(access.answered):
                    m.d.comb += [next_word.eq(1), write.en.eq((~writes).replicate(WORD))]
                    with m.If(access.failed):
                        m.d.sync += status.eq(Status.BUS_ERROR)
                    m.next = "next"
            for state, first, after in (("open", -RESPONSE_HEADER, "fetch"),
                                        ("close", -HEADER, "receive")):
                with m.State(state):
                    m.d.comb += [encoder.items.valid.eq(1), into.end.eq(1), crc.start.eq(1)]
                    m.d.sync += [place.eq(first), data_words.eq(answer_words)]
                    with m.If(encoder.items.ready):
                        m.next = after
            with m.State("fetch"):
                m.next = "load"
            with m.State("load"):
                m.next = "pick"
            with m.State("pick"):
                with m.If(in_crc):
                    m.d.sync += into.byte.eq(crc.crc.word_select(byte, 8))
                with m.Elif(place >= 0):
                    m.d.sync += into.byte.eq(fetched.word_select(byte, 8))
                with m.Else():
                    m.d.sync += into.byte.eq(Mux(byte[0], status, sequence))
                m.next = "byte"
            with m.State("byte"):
                m.d.comb += encoder.items.valid.eq(1)
                with m.If(encoder.items.ready):
                    m.next = "count"
            with m.State("count"):
                m.d.comb += [crc.data.eq(into.byte), crc.valid.eq(~in_crc), next_byte.eq(1)]
                m.next = "fetch"
                with m.If(in_crc & (byte == CRC - 1)):
                    m.next = "close"
        return m
