"""The system on chip below the pins: the same on every board, and in simulation of the chip."""

from collections.abc import Mapping
from fractions import Fraction

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect

from .axi_share import AxiShare
from .axi_slice import AxiSlice
from .bridge import LinkBridge
from .clocked_core import ClockedCore
from .config import Config
from .core import Core
from .litedram import Generated, Litedram
from .uart import UartReceiver, UartTransmitter

__all__ = ["Leds", "Soc"]


class Leds(data.Struct):
    """Lights, high for on; the lowest bit is LED 0."""

    running: 1
    """A program runs."""
    interrupt: 1
    """The core's interrupt: enabled, and the last run is done or has failed."""
    ready: 1
    """The clocks are locked and the memory has been started."""
    fault: 1
    """The last frame of the host was dropped."""


class Soc(wiring.Component):
    """Core, DRAM controller, and the host link on a serial line to both and to the memory.

    All in domain ``sync``, at the clock of the controller's port; with ``clocked_core`` the core is
    in the domain ``core``, at a clock of its own (``hw.axi_crossing``). A host starts the memory
    through the link, loads and starts programs; ``hw.link`` has the frames, ``sw.runtime`` the
    host's side.

    Members
    -------
    rx : In(1), any clock; tx : Out(1)
    leds : Out(Leds)
    """

    def __init__(self, config: Config, generated: Generated, dram_ports: Mapping,
                 bit_cycles: float | Fraction, clocked_core: bool = False):
        """``dram_ports``: ports of the controller's Verilog as for ``amaranth.hdl.Instance``,
        except its buses and ``init_done``; ``bit_cycles``: cycles of a bit of the serial line.
        Raises ValueError."""
        self.config, self.generated, self.dram_ports = config, generated, dict(dram_ports)
        self.clocked_core = clocked_core
        self.receiver, self.transmitter = UartReceiver(bit_cycles), UartTransmitter(bit_cycles)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(Leds)})

    def elaborate(self, platform):
        m = Module()
        ready = Signal()
        if self.clocked_core:
            core = ClockedCore(self.config)
            running = core.running
        else:
            core = Core(self.config)
            running = core.probe.running
        m.submodules.core = core
        m.submodules.dram = dram = Litedram(
            self.generated, {**self.dram_ports, "o_init_done": ready})
        m.submodules.receiver = receiver = self.receiver
        m.submodules.transmitter = transmitter = self.transmitter
        m.submodules.bridge = bridge = LinkBridge(self.generated.size)
        m.submodules.share = share = AxiShare()
        connect(m, receiver.bytes, bridge.received)
        connect(m, bridge.sent, transmitter.bytes)
        connect(m, bridge.bus, core.csr)
        connect(m, bridge.control, dram.control)
        memory = core.axi
        if self.config.vendor == "ecp5":
            m.submodules.slice = slice = AxiSlice()
            connect(m, memory, slice.manager)
            memory = slice.memory
        connect(m, memory, share.core)
        connect(m, bridge.memory, share.guest)
        connect(m, share.axi, dram.axi)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            bridge.lost.eq(receiver.error),
            self.tx.eq(transmitter.tx),
            bridge.ready.eq(ready),
            self.leds.running.eq(running),
            self.leds.interrupt.eq(core.interrupt),
            self.leds.ready.eq(ready),
            self.leds.fault.eq(bridge.fault),
        ]
        return m
