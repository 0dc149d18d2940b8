"""The top level of a board: the core, its DRAM controller, a way to their registers, and lights."""

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io
from amaranth.lib.wiring import connect

from .config import Config
from .core import Core
from .litedram import MODULE, Generated, Litedram
from .spi_bridge import SpiBridge

NOTE = ("a host at the SPI pins reaches the registers of the core and of the DRAM controller, and "
        "starts the memory through them")


class BoardTop(Elaboratable):
    """Core on the board's DDR3 memory; its registers and the controller's at the ``csr_spi`` pins.

    The controller makes the clock of everything else from the board's. LED 0 lights while the
    interrupt is set, LED 1 when the memory has been started. Needs the platform's resources of the
    clock, ``ddr3``, ``csr_spi`` and ``led``; adds the controller's files to the platform.
    """

    def __init__(self, config: Config, generated: Generated):
        self.config, self.generated = config, generated

    def elaborate(self, platform):
        platform.add_file(f"{MODULE}.v", self.generated.verilog)
        platform.add_file(f"{MODULE}.xdc", self.generated.constraints)
        m = Module()
        m.domains.sync = ClockDomain()
        ready = Signal()
        m.submodules.core = core = Core(self.config)
        m.submodules.bridge = bridge = SpiBridge()
        ddr3 = platform.request("ddr3", 0, dir="-")
        bank_bits = self.generated.bank_bits
        if bank_bits < len(ddr3.ba):
            m.submodules.other_banks = other_banks = io.Buffer("o", ddr3.ba[bank_bits:])
            m.d.comb += other_banks.o.eq(0)
        m.submodules.dram = dram = Litedram(self.generated, {
            "i_clk": platform.request(platform.default_clk, 0, dir="-").io,
            "i_rst": 0,
            "o_user_clk": ClockSignal(),
            "o_user_rst": ResetSignal(),
            "o_init_done": ready,
            **_pins(ddr3, bank_bits),
        })
        connect(m, bridge.bus, core.csr)
        connect(m, bridge.control, dram.control)
        connect(m, core.axi, dram.axi)

        spi = platform.request("csr_spi", 0, dir="-")
        for pin, wire in ((spi.cs, bridge.cs), (spi.clk, bridge.clk), (spi.copi, bridge.copi)):
            m.submodules += (buffer := io.Buffer("i", pin))
            m.d.comb += wire.eq(buffer.i)
        m.submodules.cipo = cipo = io.Buffer("o", spi.cipo)
        m.d.comb += [cipo.o.eq(bridge.cipo), cipo.oe.eq(bridge.cs)]
        for number, light in enumerate((core.interrupt, ready)):
            m.submodules += (buffer := io.Buffer("o", platform.request("led", number, dir="-")))
            m.d.comb += buffer.o.eq(light)
        return m


def _pins(ddr3, bank_bits: int) -> dict:
    """The memory's pins, for the controller, which has its own buffers and polarities."""
    outputs = {"a": ddr3.a, "ba": ddr3.ba[:bank_bits], "ras_n": ddr3.ras, "cas_n": ddr3.cas,
               "we_n": ddr3.we, "cs_n": ddr3.cs, "dm": ddr3.dm, "cke": ddr3.clk_en,
               "odt": ddr3.odt, "reset_n": ddr3.rst}
    return {
        **{f"o_ddram_{name}": port.io for name, port in outputs.items()},
        "o_ddram_clk_p": ddr3.clk.p, "o_ddram_clk_n": ddr3.clk.n,
        "io_ddram_dq": ddr3.dq.io,
        "io_ddram_dqs_p": ddr3.dqs.p, "io_ddram_dqs_n": ddr3.dqs.n,
    }
