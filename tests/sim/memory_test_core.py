"""A small design with the ports of the core: copies vectors by single bursts, for harness tests.

Registers: 0x00 identity, 0x04 source, 0x08 target (byte addresses), 0x0C vectors a burst,
0x10 bursts, 0x14 start (write) and status (read: bit 0 done, bits 2..1 worst response, bit 3 busy),
0x18 fault to commit: 1 drop ARVALID early, 2 never set WLAST.
Each copied vector with 1 added to every byte goes to both probes; `layer` counts bursts.
"""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.interfaces import Axi4, AxiLite, Bytes, OutputProbe, ResultProbe
from hw.profile import UNITS

IDENTITY = 0xC0FFEE00


class CopyCore(wiring.Component):
    axi: Out(Axi4())
    csr: In(AxiLite())
    interrupt: Out(1)
    probe: Out(wiring.Signature({
        "result": Out(ResultProbe), "output": Out(OutputProbe), "layer": Out(16),
        "running": Out(1), "begin": Out(len(UNITS)), "end": Out(len(UNITS)),
        "states": Out(data.ArrayLayout(3, len(UNITS))),
    }))

    def elaborate(self, platform):
        m = Module()
        source, target, length, bursts, fault = registers = [
            Signal(32, name=name) for name in ("source", "target", "length", "bursts", "fault")]
        done, start = Signal(), Signal()
        worst = Signal(2)
        busy = Signal()
        axi, csr = self.axi, self.csr

        m.d.comb += [csr.awready.eq(csr.awvalid & csr.wvalid & ~csr.bvalid),
                     csr.wready.eq(csr.awready), csr.arready.eq(~csr.rvalid)]
        with m.If(csr.awready):
            m.d.sync += csr.bvalid.eq(1)
            with m.If(csr.awaddr == 0x14):
                m.d.comb += start.eq(1)
            with m.Switch(csr.awaddr):
                for address, register in zip((4, 8, 12, 16, 24), registers, strict=True):
                    with m.Case(address):
                        m.d.sync += register.eq(csr.wdata)
            m.d.sync += csr.bresp.eq(Mux(csr.awaddr > 0x18, 2, 0))
        with m.Elif(csr.bready):
            m.d.sync += csr.bvalid.eq(0)
        with m.If(csr.arvalid & csr.arready):
            words = Array([IDENTITY, source, target, length, bursts,
                           done | worst << 1 | busy << 3, fault])
            m.d.sync += [csr.rvalid.eq(1), csr.rdata.eq(words[csr.araddr >> 2]),
                         csr.rresp.eq(Mux(csr.araddr > 0x18, 2, 0))]
        with m.Elif(csr.rready):
            m.d.sync += csr.rvalid.eq(0)

        m.submodules.buffer = buffer = memory.Memory(shape=Bytes, depth=256, init=[])
        write, read = buffer.write_port(), buffer.read_port(domain="comb")
        index, burst = Signal(9), Signal(16)
        offset = Signal(32)
        m.d.comb += [
            axi.araddr.eq(source + offset), axi.awaddr.eq(target + offset),
            axi.arlen.eq(length - 1), axi.awlen.eq(length - 1),
            axi.arsize.eq(4), axi.awsize.eq(4), axi.arburst.eq(1), axi.awburst.eq(1),
            axi.wstrb.eq(0xFFFF), axi.wdata.eq(read.data), read.addr.eq(index),
            axi.wlast.eq((index == length - 1) & (fault != 2)),
            write.addr.eq(index), write.en.eq(axi.rvalid & axi.rready),
            write.data.as_value().eq(axi.rdata),
            self.probe.layer.eq(burst), self.interrupt.eq(done),
        ]
        copied = axi.wvalid & axi.wready
        plus = [byte + 1 for byte in read.data]
        for probe in (self.probe.result, self.probe.output):
            m.d.comb += [probe.valid.eq(copied), probe.branch.eq(index[0])]
            m.d.comb += [out.eq(byte) for out, byte in zip(probe.data, plus, strict=True)]
        m.d.comb += self.probe.result.stage.eq(index[1:3])

        with m.FSM() as fsm:
            with m.State("IDLE"), m.If(start):
                m.d.sync += [done.eq(0), worst.eq(0), burst.eq(0), offset.eq(0), index.eq(0)]
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += [axi.arvalid.eq(1), self.probe.states[0].eq(1)]
                with m.If(axi.arready | (fault == 1)):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [axi.rready.eq(1), self.probe.states[0].eq(2)]
                with m.If(axi.rvalid):
                    m.d.sync += index.eq(Mux(axi.rlast, 0, index + 1))
                    with m.If(axi.rresp > worst):
                        m.d.sync += worst.eq(axi.rresp)
                    with m.If(axi.rlast):
                        m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [axi.awvalid.eq(1), self.probe.states[0].eq(3)]
                with m.If(axi.awready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += [axi.wvalid.eq(1), self.probe.states[0].eq(4)]
                with m.If(axi.wready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == length - 1):
                        m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += [axi.bready.eq(1), self.probe.states[0].eq(5)]
                with m.If(axi.bvalid):
                    m.d.sync += [index.eq(0), burst.eq(burst + 1), offset.eq(offset + length * 16)]
                    with m.If(axi.bresp > worst):
                        m.d.sync += worst.eq(axi.bresp)
                    with m.If(burst + 1 == bursts):
                        m.d.sync += done.eq(1)
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "READ"
        m.d.comb += [busy.eq(~fsm.ongoing("IDLE")), self.probe.running.eq(busy)]
        return m
