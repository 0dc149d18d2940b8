"""The chip's end of the link alone, with memories of a few words in place of core and DRAM."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from hw.bridge import LinkBridge
from hw.uart import UartReceiver, UartTransmitter
from tests.link_cases import COUNTER, MEMORY

REGISTERS = 64
"""Words of the core's registers."""


class LinkChip(wiring.Component):
    """`rx` and `tx` as `hw.soc.Soc`. Memory answers in the next cycle, registers in the one after
    that; the register `COUNTER` counts writes."""

    rx: In(1, init=1)
    tx: Out(1, init=1)
    leds: Out(4)

    def __init__(self, bit_cycles: int):
        self.bit_cycles = bit_cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.bit_cycles)
        m.submodules.transmitter = transmitter = UartTransmitter(self.bit_cycles)
        m.submodules.bridge = bridge = LinkBridge(MEMORY)
        connect(m, receiver.bytes, bridge.received)
        connect(m, bridge.sent, transmitter.bytes)
        m.d.comb += [receiver.rx.eq(self.rx), bridge.lost.eq(receiver.error),
                     self.tx.eq(transmitter.tx), bridge.ready.eq(1),
                     self.leds.eq(bridge.fault)]
        self._registers(m, bridge.bus)
        self._memory(m, bridge.memory)
        return m

    def _registers(self, m, bus):
        m.submodules.registers = registers = Memory(shape=32, depth=REGISTERS, init=[])
        write, read = registers.write_port(), registers.read_port()
        counter = Signal(32)
        counts = Signal()
        m.d.comb += [
            counts.eq(bus.awaddr == COUNTER),
            bus.awready.eq(bus.awvalid & bus.wvalid & ~bus.bvalid),
            bus.wready.eq(bus.awready),
            write.addr.eq(bus.awaddr[2:]), write.data.eq(Mux(counts, counter + 1, bus.wdata)),
            write.en.eq(bus.awready),
            read.addr.eq(bus.araddr[2:]), bus.rdata.eq(read.data),
            bus.arready.eq(~bus.rvalid),
        ]
        m.d.sync += [
            counter.eq(counter + (bus.awready & counts)),
            bus.bvalid.eq(bus.awready | (bus.bvalid & ~bus.bready)),
            bus.rvalid.eq((bus.arvalid & bus.arready) | (bus.rvalid & ~bus.rready)),
        ]

    def _memory(self, m, axi):
        m.submodules.memory = memory = Memory(shape=128, depth=MEMORY // 16, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            axi.awready.eq(axi.awvalid & axi.wvalid), axi.wready.eq(axi.awready),
            write.addr.eq(axi.awaddr[4:]), write.data.eq(axi.wdata), write.en.eq(axi.awready),
            axi.arready.eq(1), read.addr.eq(axi.araddr[4:]),
            axi.rdata.eq(read.data), axi.rlast.eq(1),
        ]
        m.d.sync += [axi.bvalid.eq(axi.awready), axi.rvalid.eq(axi.arvalid)]
