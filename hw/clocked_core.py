"""The core in a clock domain of its own, with ports in the domain ``sync``."""

from amaranth.hdl import DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from .axi_crossing import AxiCrossing, AxiLiteCrossing
from .config import Config
from .core import Core
from .core_clock import DOMAIN
from .interfaces import Axi4, AxiLite


class ClockedCore(wiring.Component):
    """``Core`` in the domain ``core``; see ``hw.axi_crossing`` for throughput and latency.

    Both domains are reset together. Members: ``axi`` and ``csr`` as those of ``Core``;
    ``interrupt``, and ``running`` as in its ``probe``, a few cycles later.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({"axi": Out(Axi4()), "csr": In(AxiLite()), "interrupt": Out(1),
                          "running": Out(1)})

    def elaborate(self, platform):
        m = Module()
        burst = self.config.burst
        core = Core(self.config)
        m.submodules.core = DomainRenamer(DOMAIN)(core)
        m.submodules.memory = memory = AxiCrossing(
            DOMAIN, "sync", longest=burst, reads=max(64, 4 * burst), writes=max(32, 2 * burst))
        m.submodules.registers = registers = AxiLiteCrossing("sync", DOMAIN)
        connect(m, core.axi, memory.manager)
        connect(m, memory.memory, flipped(self.axi))
        connect(m, flipped(self.csr), registers.manager)
        connect(m, registers.registers, core.csr)
        interrupt = Signal()  # without the glitches of the logic before it
        m.d[DOMAIN] += interrupt.eq(core.interrupt)
        m.submodules.interrupt = FFSynchronizer(interrupt, self.interrupt)
        m.submodules.running = FFSynchronizer(core.probe.running, self.running)
        return m
