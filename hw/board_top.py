"""The top level of a board: the core, a way to its registers, memory, and lights."""

from amaranth.hdl import Elaboratable, Module
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
        spi, led = platform.request("csr_spi", 0), platform.request("led", 0)
        m.d.comb += [
            bridge.cs.eq(spi.cs.i),
            bridge.clk.eq(spi.clk.i),
            bridge.copi.eq(spi.copi.i),
            spi.cipo.o.eq(bridge.cipo),
            led.o.eq(core.interrupt),
        ]
        return m
