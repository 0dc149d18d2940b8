"""Frames on a line of bytes: SLIP (RFC 1055), as ``hw.link`` uses it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .link import END, ESC, ESC_END, ESC_ESC

__all__ = ["Decoded", "Item", "SlipDecoder", "SlipEncoder"]


class Item(data.Struct):
    """A byte of a frame, or its end, for which ``byte`` means nothing."""

    byte: 8
    end: 1


class Decoded(data.Struct):
    """An ``Item``, and whether its escape is wrong: the frame is to be dropped."""

    byte: 8
    end: 1
    broken: 1


class SlipDecoder(wiring.Component):
    """Bytes of the line to items, a cycle later; an ``ESC`` alone gives none.

    Frames begin and end with ``END``, so between two of them there is an empty one.
    """

    line: In(stream.Signature(8, always_ready=True))
    items: Out(stream.Signature(Decoded, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        byte, item = self.line.payload, self.items.payload
        escaped = Signal()
        m.d.sync += [
            self.items.valid.eq(self.line.valid & (escaped | (byte != ESC))),
            item.byte.eq(byte),
            item.end.eq(byte == END),
            item.broken.eq(escaped),
        ]
        with m.If(escaped):
            for second, value in ((ESC_END, END), (ESC_ESC, ESC)):
                with m.If(byte == second):
                    m.d.sync += [item.byte.eq(value), item.broken.eq(0)]
        with m.If(self.line.valid):
            m.d.sync += escaped.eq(~escaped & (byte == ESC))
        return m


class SlipEncoder(wiring.Component):
    """Items to bytes of the line, in the same cycle; two bytes for an item that needs an escape."""

    items: In(stream.Signature(Item))
    line: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        item, byte = self.items.payload, self.line.payload
        special, second = Signal(), Signal()
        m.d.comb += [
            special.eq(~item.end & ((item.byte == END) | (item.byte == ESC))),
            self.line.valid.eq(self.items.valid),
            self.items.ready.eq(self.line.ready & (second | ~special)),
        ]
        with m.If(item.end):
            m.d.comb += byte.eq(END)
        with m.Elif(second):
            m.d.comb += byte.eq(ESC_END)
            with m.If(item.byte == ESC):
                m.d.comb += byte.eq(ESC_ESC)
        with m.Elif(special):
            m.d.comb += byte.eq(ESC)
        with m.Else():
            m.d.comb += byte.eq(item.byte)
        with m.If(self.line.valid & self.line.ready):
            m.d.sync += second.eq(special & ~second)
        return m
