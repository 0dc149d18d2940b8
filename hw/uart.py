"""A serial line: bytes to bits and back, 8N1, at any rate from a bit in two cycles on."""

from fractions import Fraction

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter"]

FRACTION_BITS = 8
"""Bits of the fraction of a cycle, which is then wrong by 0.02 cycles at most over a byte."""
STOP = 9
"""Number of the stop bit; the start bit is 0."""


class _BitClock(wiring.Component):
    """A ``tick`` every ``divisor`` cycles on average: whole cycles, and one more for each carry of
    the fractions. ``restart`` sets the next tick ``first`` cycles ahead, which may have a fraction
    too."""

    def __init__(self, divisor, first):
        if not 2 <= divisor < 1 << 16:
            raise ValueError(f"UART: a bit takes {float(divisor):g} cycles, supported: 2 to 65535")
        (self.whole, self.fraction), (self.first, self.first_fraction) = (
            divmod(round(Fraction(cycles) * (1 << FRACTION_BITS)), 1 << FRACTION_BITS)
            for cycles in (divisor, first))
        super().__init__({"restart": In(1), "tick": Out(1)})

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(self.whole + 1))  # cycles to the one of the tick
        fraction = Signal(FRACTION_BITS)
        total = Signal(FRACTION_BITS + 1)
        m.d.comb += [self.tick.eq(left == 0), total.eq(fraction + self.fraction)]
        m.d.sync += left.eq(left - 1)
        with m.If(self.tick):
            m.d.sync += [left.eq(Mux(total[-1], self.whole, self.whole - 1)), fraction.eq(total)]
        with m.If(self.restart):
            m.d.sync += [left.eq(self.first - 1), fraction.eq(self.first_fraction)]
        return m


class UartReceiver(wiring.Component):
    """Bits of a line to bytes: a start bit, eight data bits from the lowest, a stop bit.

    Each bit is sampled in the middle of its ``divisor`` cycles, a number from 2 to 65,535. A byte
    without its stop bit is lost and ``error`` is high for a cycle; then the line must be high
    before the next start bit counts, as it must after reset. A start bit that is not low in its
    middle is no start bit. ``bytes`` are never refused; a byte is there in the cycle after the
    middle of its stop bit, which is two cycles behind ``rx``. Raises ValueError.
    """

    def __init__(self, divisor: float | Fraction):
        self.clock = _BitClock(divisor, Fraction(divisor) / 2)
        super().__init__({
            "rx": In(1, init=1),
            "bytes": Out(stream.Signature(8, always_ready=True)),
            "error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.clock = clock = self.clock
        line = Signal()
        m.submodules.synchroniser = FFSynchronizer(self.rx, line)
        number = Signal(range(STOP + 1))
        m.d.sync += [self.bytes.valid.eq(0), self.error.eq(0)]
        with m.FSM(init="broken"):
            with m.State("broken"):
                with m.If(line):
                    m.next = "idle"
            with m.State("idle"):
                m.d.comb += clock.restart.eq(1)
                m.d.sync += number.eq(0)
                with m.If(~line):
                    m.next = "bits"
            with m.State("bits"):
                with m.If(clock.tick):
                    m.d.sync += number.eq(number + 1)
                    with m.If((number == 0) & line):
                        m.next = "idle"
                    with m.If(number == STOP):
                        m.d.sync += [self.bytes.valid.eq(line), self.error.eq(~line)]
                        m.next = "idle"
                        with m.If(~line):
                            m.next = "broken"
                    with m.Else():
                        m.d.sync += self.bytes.payload.eq(Cat(self.bytes.payload[1:], line))
        return m


class UartTransmitter(wiring.Component):
    """Bytes to bits of a line, the reverse of ``UartReceiver``: ten times ``divisor`` cycles a byte
    without a gap. ``tx`` is a register; the start bit is there in the cycle after a byte is taken.
    """

    def __init__(self, divisor: float | Fraction):
        self.clock = _BitClock(divisor, divisor)
        super().__init__({"bytes": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.clock = clock = self.clock
        rest = Signal(STOP)  # bits behind the one on the line; the stop bit tells when it is empty
        busy = Signal()
        m.d.comb += [
            self.bytes.ready.eq(~busy | (clock.tick & (rest == 0))),
            clock.restart.eq(~busy),
        ]
        with m.If(busy & clock.tick):
            m.d.sync += rest.eq(rest >> 1)
            with m.If(rest == 0):
                m.d.sync += busy.eq(0)
            with m.Else():
                m.d.sync += self.tx.eq(rest[0])
        with m.If(self.bytes.valid & self.bytes.ready):
            m.d.sync += [busy.eq(1), self.tx.eq(0), rest.eq(Cat(self.bytes.payload, Const(1, 1)))]
        return m
