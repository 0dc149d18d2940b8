"""Registers of the core: their map, which every tool reads, and their AXI4-Lite port.

A register is a 32-bit word at a multiple of 4. Reserved bits read as 0 and ignore writes.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import Config
from .interfaces import AxiLite
from .isa import EXTERNAL_ADDRESS, Error
from .profile import EVENTS, STATES, Profile, UnitState, profiled

ID = 0x52434946
"""The letters FICR, little-endian."""
VERSION = 0x0001_0001
"""Version of the registers and instructions: major in the high half, minor in the low."""

OKAY, SLVERR = 0, 2


@dataclass(frozen=True)
class Field:
    """Bits ``low .. low + width - 1`` of a register."""

    name: str
    low: int
    width: int
    description: str


@dataclass(frozen=True)
class Register:
    """A word of the map. ``access``: ``ro``, ``rw``, or ``wo`` (reads as 0)."""

    name: str
    offset: int
    access: str
    description: str
    fields: tuple[Field, ...] = ()
    reset: int = 0

    def __post_init__(self):
        if not self.fields:
            object.__setattr__(self, "fields", (Field("value", 0, 32, self.description),))

    @property
    def mask(self) -> int:
        """The bits that belong to a field."""
        return sum(((1 << field.width) - 1) << field.low for field in self.fields)


REGISTERS = (
    Register("ID", 0x00, "ro", "FICR, little-endian"),
    Register("VERSION", 0x04, "ro", "version of registers and instructions", (
        Field("minor", 0, 16, "compatible additions"),
        Field("major", 16, 16, "incompatible changes"),
    )),
    Register("CONFIG", 0x08, "ro", "digest of the configuration; a program carries the same"),
    Register("SHAPE", 0x0C, "ro", "shape of the array", (
        Field("co_lanes", 0, 8, "output channels at once"),
        Field("pixels", 8, 8, "pixels at once"),
        Field("lanes", 16, 16, "multipliers"),
    )),
    Register("CONTROL", 0x10, "wo", "commands", (
        Field("start", 0, 1, "1 starts the program; ignored while one runs"),
        Field("soft_reset", 1, 1, "1 ends a run and resets the core; start may be set with it"),
    )),
    Register("STATUS", 0x14, "ro", "state of the run", (
        Field("busy", 0, 1, "starting, running, draining or resetting"),
        Field("done", 1, 1, "the last run reached END"),
        Field("error", 2, 1, "the last run or reset failed"),
        Field("error_code", 8, 8, "hw.isa.Error"),
    )),
    Register("ERROR_INSTRUCTION", 0x18, "ro", "where the run failed", (
        Field("index", 0, 16, "instruction in the program, from 0"),
    )),
    Register("PROGRAM", 0x1C, "rw", "first instruction", (
        Field("address", 0, EXTERNAL_ADDRESS, "vectors from the start of the window"),
    )),
    Register("WINDOW_BASE", 0x20, "rw", "start of the memory window", (
        Field("page", 12, 20, "bits 31..12 of the byte address, which is a multiple of 4096"),
    )),
    Register("WINDOW_VECTORS", 0x24, "rw", "length of the memory window", (
        Field("vectors", 0, EXTERNAL_ADDRESS, "vectors of 16 bytes"),
    )),
    Register("WATCHDOG", 0x28, "rw", "cycles without progress that end a run; 0 is never",
             reset=1 << 20),
    Register("INTERRUPT", 0x2C, "rw", "interrupt output", (
        Field("enable", 0, 1, "the output is high while enabled and (done or error)"),
    )),
    Register("PROFILE_UNIT", 0x30, "rw", "the unit that the registers UNIT_... tell of", (
        Field("unit", 0, 4, "place in hw.profile.UNITS; 0 is the array"),
    )),
    Register("PROFILE_UNITS", 0x34, "ro", "units with counters: all of hw.profile.UNITS, or the "
             "array alone"),
    Register("CYCLES", 0x40, "ro", "cycles of the run, start to done"),
    Register("BUSY", 0x44, "ro", "of these, a step of the array"),
    Register("WAIT_INPUT", 0x48, "ro", "of these, the array waits for a LOAD or GATHER"),
    Register("WAIT_WEIGHTS", 0x4C, "ro", "of these, for weights"),
    Register("WAIT_OUTPUT", 0x50, "ro", "of these, for the results to leave"),
    Register("WAIT_ORDER", 0x54, "ro", "of these, for a pass before"),
    Register("IDLE", 0x58, "ro", "of these, without a compute instruction"),
    Register("READ_BEATS", 0x5C, "ro", "vectors read"),
    Register("WRITE_BEATS", 0x60, "ro", "vectors written"),
    Register("DRAIN", 0x64, "ro", "of these, after the last step of the last instruction"),
    *(Register(f"UNIT_{state.name}", 0x80 + 4 * state.value, "ro",
               f"cycles of the chosen unit in state {state.name}; 0 of a unit without counters")
      for state in UnitState),
)
"""The map. Counters start at 0 with every start and stop with the run."""

OFFSETS = {register.name: register.offset for register in REGISTERS}
ARRAY_COUNTERS = tuple(state for state in UnitState if state.name in OFFSETS)
"""States of the array with a register of their own; it never waits for external memory itself."""


class CsrBank(wiring.Component):
    """The registers behind an AXI4-Lite port.

    Address and data of a write may come in any order; byte strobes count. An access to an address
    that is not in the map, and a write to a read-only register, answer SLVERR and do nothing; the
    two low address bits are ignored. One write and one read are under way at a time. Latency: two
    cycles from the later of AW and W to B, one from AR to R, four for a counter.

    Members
    -------
    bus : AXI4-Lite subordinate
    start, soft_reset : one cycle for each command, with B
    program, window_base, window_vectors, watchdog : the registers' values, ``window_base`` in bytes
    interrupt : level
    busy, done, error, error_code, error_index : shown in the status registers
    clear, running, states, read_beat, write_beat : to the counters, see ``Profile``
    """

    def __init__(self, config: Config):
        self.config = config
        self.units = profiled(config)
        """Names of the units with counters."""
        super().__init__({
            "bus": In(AxiLite()),
            "start": Out(1),
            "soft_reset": Out(1),
            "program": Out(EXTERNAL_ADDRESS),
            "window_base": Out(32),
            "window_vectors": Out(EXTERNAL_ADDRESS),
            "watchdog": Out(32),
            "interrupt": Out(1),
            "busy": In(1),
            "done": In(1),
            "error": In(1),
            "error_code": In(Error),
            "error_index": In(16),
            "clear": In(1),
            "running": In(1),
            "states": In(data.ArrayLayout(UnitState, len(self.units))),
            "read_beat": In(1),
            "write_beat": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.profile = profile = Profile(len(self.units))
        m.d.comb += [
            profile.clear.eq(self.clear),
            profile.running.eq(self.running),
            profile.states.eq(self.states),
            profile.read_beat.eq(self.read_beat),
            profile.write_beat.eq(self.write_beat),
        ]

        stored = {
            register.name: Signal(32, init=register.reset, name=register.name.lower())
            for register in REGISTERS if register.access == "rw"
        }
        shape = config.co_lanes | config.pixels << 8 | config.lanes << 16
        views = {
            "ID": Const(ID, 32),
            "VERSION": Const(VERSION, 32),
            "CONFIG": Const(config.digest, 32),
            "SHAPE": Const(shape, 32),
            "STATUS": Cat(self.busy, self.done, self.error, Const(0, 5), self.error_code),
            "ERROR_INSTRUCTION": self.error_index,
            "PROFILE_UNITS": Const(len(self.units), 32),
            **stored,
        }
        m.d.comb += [
            self.program.eq(stored["PROGRAM"]),
            self.window_base.eq(stored["WINDOW_BASE"]),
            self.window_vectors.eq(stored["WINDOW_VECTORS"]),
            self.watchdog.eq(stored["WATCHDOG"]),
            self.interrupt.eq(stored["INTERRUPT"][0] & (self.done | self.error)),
        ]
        self._write(m, stored)
        self._read(m, views, profile, stored["PROFILE_UNIT"])
        return m

    def _write(self, m, stored):
        bus = self.bus
        address, address_held = Signal(bus.awaddr.shape()), Signal()
        word, strobes, word_held = Signal(32), Signal(4), Signal()
        commit = Signal()
        m.d.comb += [
            bus.awready.eq(~address_held),
            bus.wready.eq(~word_held),
            commit.eq(address_held & word_held & (~bus.bvalid | bus.bready)),
        ]
        with m.If(commit):
            m.d.sync += [address_held.eq(0), word_held.eq(0)]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address.eq(bus.awaddr), address_held.eq(1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [word.eq(bus.wdata), strobes.eq(bus.wstrb), word_held.eq(1)]

        m.d.sync += [self.start.eq(0), self.soft_reset.eq(0)]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(commit):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(SLVERR)]
            with m.Switch(address[2:]):
                for register in REGISTERS:
                    if register.access == "ro":
                        continue
                    with m.Case(register.offset // 4):
                        m.d.sync += bus.bresp.eq(OKAY)
                        if register.name == "CONTROL":
                            m.d.sync += [
                                self.start.eq(word[0] & strobes[0]),
                                self.soft_reset.eq(word[1] & strobes[0]),
                            ]
                        else:
                            target = stored[register.name]
                            for byte, strobe in enumerate(strobes):
                                mine = slice(8 * byte, 8 * byte + 8)
                                with m.If(strobe):
                                    m.d.sync += target[mine].eq((word & register.mask)[mine])

    def _read(self, m, views, profile, unit):
        bus = self.bus
        counting = Signal()
        m.d.comb += bus.arready.eq((~bus.rvalid | bus.rready) & ~counting)
        m.d.sync += profile.read.eq(0)
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0), bus.rresp.eq(SLVERR)]
            with m.Switch(bus.araddr[2:]):
                for register in REGISTERS:
                    with m.Case(register.offset // 4):
                        m.d.sync += bus.rresp.eq(OKAY)
                        if register.name in views:
                            m.d.sync += bus.rdata.eq(views[register.name])
                        elif register.access == "ro":
                            address, there = self._counter(register.name, unit)
                            with m.If(there):
                                m.d.sync += [
                                    profile.address.eq(address), profile.read.eq(1),
                                    counting.eq(1), bus.rvalid.eq(0),
                                ]
        with m.If(profile.valid):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(profile.value), counting.eq(0)]

    def _counter(self, name, unit):
        """Where the profile keeps a counter, and whether it does."""
        units = len(self.units)
        if name in EVENTS:
            return units * STATES + EVENTS.index(name), Const(1)
        state = UnitState[name.removeprefix("UNIT_")].value
        if name.startswith("UNIT_"):
            return Cat(Const(state, ceil_log2(STATES)), unit), unit < units
        return state, Const(1)
