"""The chip's end of the host link: requests of ``hw.link`` to accesses of three buses."""

from amaranth.hdl import Module, Mux, Signal
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
    sent : Out(stream(8)), bytes to the line, one in three cycles at most
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
            "received": In(stream.Signature(8, always_ready=True)),
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
        write, read = buffer.write_port(granularity=8), buffer.read_port()
        connect(m, flipped(self.received), decoder.line)
        connect(m, encoder.line, flipped(self.sent))
        for name in ("bus", "control", "memory"):
            connect(m, getattr(access, name), flipped(getattr(self, name)))
        item, into = decoder.items.payload, encoder.items.payload

        # The request's header stays while it is at work. `place` is the byte of the data that
        # comes, is at work or goes out: negative in a header, and beyond the data in the CRC.
        header = Signal(8 * HEADER)
        sequence, kind, base, words = header[:8], header[8:16], header[16:48], header[48:]
        space, writes = kind[:2], kind[7]
        place = Signal(range(-HEADER, 2 * WORD * MAX_WORDS), init=-HEADER)
        word, byte = place[2:], place[:2]
        next_byte, next_word = Signal(), Signal()
        with m.If(next_byte | next_word):
            m.d.sync += place.eq(place + Mux(next_word, WORD, 1))
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
        with m.If(comes):
            m.d.sync += [begun.eq(1), broken.eq(broken | item.broken | ~idle)]
        with m.If(ends):
            m.d.sync += [begun.eq(0), broken.eq(0)]
            with m.If(begun | item.broken):
                m.d.sync += [self.fault.eq(~sound), dropped.eq(dropped + ~sound)]

        # What is known of a sound request.
        bad, again = Signal(), Signal()
        last_write, last_failed = Signal.like(sequence), Signal()
        m.d.comb += [
            bad.eq((kind & ~(WRITE | 0b11)).any() | (words == 0) | (words > MAX_WORDS)
                   | base[:2].any()
                   | ((space == Space.MEMORY) & (base[2:4].any() | words[:2].any()))
                   | ((space == Space.LINK) & writes)),
            again.eq(writes & (sequence == last_write) & (sequence != 0)),
        ]

        status = Signal(Status)
        answer_words = Mux(writes | (status == Status.BAD_REQUEST), 0, words)
        m.d.comb += [
            read.addr.eq(word),
            write.addr.eq(word),
            access.ready.eq(self.ready),
            access.request.space.eq(space),
            access.request.write.eq(writes),
            access.request.address.eq(base + place[:10]),
            access.request.data.eq(read.data),
        ]
        with m.FSM():
            with m.State("receive"):
                m.d.comb += [
                    idle.eq(1),
                    write.data.eq(item.byte.replicate(WORD)),
                    crc.data.eq(item.byte),
                    crc.valid.eq(comes),
                    crc.start.eq(ends),
                    data_words.eq(Mux(writes, words, 0)),
                ]
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
                m.d.sync += [place.eq(0), status.eq(Status.OKAY)]
                m.next = "next"
                with m.If(bad):
                    m.d.sync += status.eq(Status.BAD_REQUEST)
                    m.next = "open"
                with m.Elif(again):
                    m.d.sync += status.eq(Mux(last_failed, Status.BUS_ERROR, Status.OKAY))
                    m.next = "open"
            with m.State("next"):
                m.d.comb += data_words.eq(words)
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
            with m.State("open"):
                m.d.comb += [encoder.items.valid.eq(1), into.end.eq(1), crc.start.eq(1)]
                m.d.sync += place.eq(-RESPONSE_HEADER)
                with m.If(encoder.items.ready):
                    m.next = "fetch"
            with m.State("fetch"):
                m.next = "pick"
            with m.State("pick"):
                m.d.comb += data_words.eq(answer_words)
                with m.If(in_crc):
                    m.d.sync += into.byte.eq(crc.crc.word_select(byte, 8))
                with m.Elif(place >= 0):
                    m.d.sync += into.byte.eq(read.data.word_select(byte, 8))
                with m.Else():
                    m.d.sync += into.byte.eq(Mux(byte[0], status, sequence))
                m.next = "byte"
            with m.State("byte"):
                m.d.comb += [
                    data_words.eq(answer_words),
                    encoder.items.valid.eq(1),
                    crc.data.eq(into.byte),
                ]
                with m.If(encoder.items.ready):
                    m.d.comb += [next_byte.eq(1), crc.valid.eq(~in_crc)]
                    m.next = "fetch"
                    with m.If(in_crc & (byte == CRC - 1)):
                        m.next = "close"
            with m.State("close"):
                m.d.comb += [encoder.items.valid.eq(1), into.end.eq(1), crc.start.eq(1)]
                m.d.sync += place.eq(-HEADER)
                with m.If(encoder.items.ready):
                    m.next = "receive"
        return m
