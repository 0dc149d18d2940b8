"""The top level of a board: the core, a way to its registers, memory, and lights."""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io
from amaranth.lib.wiring import connect

from .axi_ram import AxiRam
from .config import Config
from .core import Core
from .spi_bridge import SpiBridge

NOTE = ("memory: the core's AXI4 port ends in a block RAM of 8 KiB and its registers at the SPI "
        "pins, so that nothing is optimised away; a DRAM controller and host link are not part of "
        "this top level yet")


class BoardTop(Elaboratable):
    """Core with its registers at the board's ``csr_spi`` pins and its memory port at an ``AxiRam``.

    LED 0 lights while the interrupt is set. Needs the platform's resources ``csr_spi`` and ``led``.
    """

    def __init__(self, config: Config):
        self.config = config

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = Core(self.config)
        m.submodules.bridge = bridge = SpiBridge()
        m.submodules.ram = ram = AxiRam()
        connect(m, bridge.bus, core.csr)
        connect(m, core.axi, ram.bus)
        spi = platform.request("csr_spi", 0, dir="-")
        led = platform.request("led", 0, dir="-")
        for pin, wire in ((spi.cs, bridge.cs), (spi.clk, bridge.clk), (spi.copi, bridge.copi)):
            m.submodules += (buffer := io.Buffer("i", pin))
            m.d.comb += wire.eq(buffer.i)
        m.submodules.cipo = cipo = io.Buffer("o", spi.cipo)
        m.submodules.led = light = io.Buffer("o", led)
        m.d.comb += [cipo.o.eq(bridge.cipo), cipo.oe.eq(bridge.cs), light.o.eq(core.interrupt)]
        return m
