"""LiteDRAM's controller: generated from its package, wrapped as components of Amaranth.

The controller has LiteDRAM's native port for data and a Wishbone port for its registers. No CPU is
inside: whoever owns the Wishbone port starts the memory with the steps of `Generated.start_up`.
"""

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from amaranth.hdl import Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi_native import AxiNative
from .cache import locked
from .config import VECTOR
from .errors import UserError
from .interfaces import Axi4
from .width_converter import WidthConverter

__all__ = ["Dram", "Generated", "Litedram", "LitedramError", "Wishbone", "Write", "generate"]

GENERATOR = Path(__file__).with_name("litedram_generator.py")
MODULE = "litedram_core"
PORT = "user_port_native_0"
PACKAGES = ("litedram", "litex", "liteeth", "litescope", "yaml")
MEMORIES = {"A7DDRPHY": "DDR3", "GENSDRPHY": "SDR"}
"""Kind of memory by PHY."""
SELECT_CONTROLLER = 1
"""Value of the register `sdram_dfii_control` that hands the memory over to the controller."""


class LitedramError(UserError):
    """The packages are missing or the generator failed."""


@dataclass(frozen=True)
class Dram:
    """A memory of 16 bits and its controller.

    `module` and `phy` are LiteDRAM's names; the PHY says which kind of memory it is. With DDR3
    (`A7DDRPHY`) the core's clock `clock_hz` is a quarter of the memory's, so that one cycle moves
    the 8 words of a burst: `byte_lanes` must be 2, for 16 bytes. An SDR SDRAM (`GENSDRPHY`) has the
    core's clock, and a vector takes 8 cycles; `device` is the Lattice part that it is connected to.
    `input_hz` is the clock pin's frequency, `speed_grade` the device's. `read_time` and
    `write_time` are the cycles after which the controller turns round for the other direction.
    Each of the `banks` that are used, of the 8 that DDR3 has, costs LUTs and gives an eighth of the
    memory; at least 4, for the bank's address is also that of a mode register at start-up. An SDR
    SDRAM has 4 and one mode register; the choice among banks is the longest way in its controller.
    A deeper `command_buffer` gains nothing with one port, for banks change only when it is empty,
    and costs LUTs; so does `auto_precharge`, which closes a row with the last access to it.
    """

    module: str = "MT41K128M16"
    phy: str = "A7DDRPHY"
    byte_lanes: int = 2
    clock_hz: float = 100e6
    input_hz: float = 100e6
    speed_grade: int = -1
    banks: int = 4
    command_buffer: int = 1
    auto_precharge: bool = False
    read_time: int = 32
    write_time: int = 16
    device: str | None = None

    def __post_init__(self):
        if self.phy not in MEMORIES:
            raise ValueError(f"memory: phy is {self.phy}, supported: {' or '.join(MEMORIES)}")
        if 8 * self.byte_lanes != VECTOR:
            raise ValueError(f"memory: byte_lanes is {self.byte_lanes}, supported: {VECTOR // 8}")
        banks = (4, 8) if self.kind == "DDR3" else (2, 4)
        if self.banks not in banks:
            raise ValueError(f"memory: banks is {self.banks}, supported: {banks[0]} or {banks[1]}")
        if not 1 <= self.command_buffer <= 64:
            raise ValueError(f"memory: command_buffer is {self.command_buffer}, supported: 1 to 64")

    @property
    def kind(self) -> str:
        """`DDR3` or `SDR`."""
        return MEMORIES[self.phy]

    def settings(self) -> dict:
        """What LiteDRAM's generator reads."""
        ddr3 = {
            "speedgrade": self.speed_grade,
            "rtt_nom": "60ohm", "rtt_wr": "60ohm", "ron": "34ohm",
            "iodelay_clk_freq": 200e6, "cmd_latency": 0,
        }
        return {
            "name": MODULE, "cpu": None, "memtype": self.kind,
            "sdram_module": self.module, "banks": self.banks,
            "sdram_module_nb": self.byte_lanes, "sdram_rank_nb": 1,
            "sdram_phy": self.phy,
            "input_clk_freq": self.input_hz, "sys_clk_freq": self.clock_hz,
            **(ddr3 if self.kind == "DDR3" else {"device": self.device}),
            "cmd_buffer_depth": self.command_buffer,
            "with_auto_precharge": self.auto_precharge,
            "read_time": self.read_time, "write_time": self.write_time,
            "user_ports": {"native_0": {"type": "native"}},
        }


class Write(NamedTuple):
    """A write to the controller's registers at byte address `address`; then `cycles` of rest."""

    address: int
    value: int
    cycles: int = 0


@dataclass(frozen=True)
class Generated:
    """A controller as Verilog.

    `registers` are byte addresses on the Wishbone port, `constraints` timing exceptions in Tcl.
    An address that counts vectors is, from its lowest bit, the place in a row, the bank, the row.
    """

    verilog: str
    row_bits: int
    bank_bits: int
    column_bits: int
    """Of memory words; a vector is 8 of them."""
    port_bits: int
    """What the native port moves in one cycle."""
    registers: Mapping[str, int]
    sequence: Sequence[Mapping]
    constraints: str

    @property
    def row_vectors(self) -> int:
        """Vectors in one row of one bank."""
        return 1 << self.column_bits - 3

    @property
    def address_width(self) -> int:
        """Bits of an address that counts vectors."""
        return self.row_bits + self.bank_bits + self.column_bits - 3

    @property
    def size(self) -> int:
        """Bytes of the memory."""
        return VECTOR << self.address_width

    def start_up(self) -> Iterator[Write]:
        """What brings the memory from power-on to its mode of operation, in order.

        A board's PHY must be levelled afterwards, before `open_port`.
        """
        register = self.registers
        for step in self.sequence:
            yield Write(register["sdram_dfii_pi0_address"], step["address"])
            yield Write(register["sdram_dfii_pi0_baddress"], step["bank"])
            if step["kind"] == "control":
                yield Write(register["sdram_dfii_control"], step["value"], step["cycles"])
            else:
                yield Write(register["sdram_dfii_pi0_command"], step["value"])
                yield Write(register["sdram_dfii_pi0_command_issue"], 1, step["cycles"])

    def open_port(self) -> Iterator[Write]:
        """Hands the memory to the controller and opens its port."""
        yield Write(self.registers["sdram_dfii_control"], SELECT_CONTROLLER)
        yield Write(self.registers["ddrctrl_init_done"], 1)


def generate(dram: Dram, cache: Path, *, simulation: bool) -> Generated:
    """The controller with the PHY of `dram`, or in a `simulation` with a model of PHY and memory.

    Kept in the folder `cache`; made in about a second. Raises `LitedramError`.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise LitedramError("the DRAM controller needs LiteDRAM: pip install 'firecore[dram]' "
                            f"(missing: {', '.join(missing)})")
    variant = "simulation" if simulation else "real"
    text = json.dumps(dram.settings())
    versions = [f"{name} {metadata.version(name)}" for name in ("litedram", "litex", "migen")]
    digest = hashlib.sha256("\0".join(
        [text, variant, GENERATOR.read_text(), *versions]).encode()).hexdigest()[:16]
    folder = cache / "litedram"
    entry = folder / f"{digest}.json"
    with locked(folder, digest):
        if not entry.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as temporary:
                made = _run(Path(temporary), text, variant)
                made.replace(entry)
    return Generated(**json.loads(entry.read_text()))


def _run(folder: Path, text: str, variant: str) -> Path:
    (folder / "config.json").write_text(text)
    # -P: the modules beside the generator must not hide those of the standard library
    done = subprocess.run([sys.executable, "-P", str(GENERATOR), "config.json", ".", variant],
                          cwd=folder, capture_output=True, text=True)
    made = folder / "core.json"
    if done.returncode or not made.exists():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise LitedramError(f"LiteDRAM's generator failed: {lines[-1]}")
    return made


class Wishbone(wiring.Signature):
    """Wishbone port for the controller's registers, seen from the manager; ``adr`` counts words."""

    def __init__(self):
        super().__init__({
            "cyc": Out(1), "stb": Out(1), "we": Out(1), "adr": Out(30), "sel": Out(4),
            "dat_w": Out(32), "dat_r": In(32), "ack": In(1), "err": In(1),
        })


class Litedram(wiring.Component):
    """A generated controller behind AXI4 (``hw.axi_native`` has the rules for its manager).

    ``ports`` are connected to the controller as ``amaranth.hdl.Instance`` does: ``i_clk`` and, on a
    board, the memory's pins and the clock that the controller gives for everything at its ports,
    which is ``sync`` here. The Verilog comes beside the design: ``generated.verilog``.

    Members
    -------
    axi : In(Axi4()), byte addresses of the memory
    control : In(Wishbone()), the registers ``generated.registers``
    """

    def __init__(self, generated: Generated, ports: Mapping):
        self.generated, self.ports = generated, ports
        super().__init__({"axi": In(Axi4()), "control": In(Wishbone())})

    def elaborate(self, platform):
        m = Module()
        address_width, port_bits = self.generated.address_width, self.generated.port_bits
        m.submodules.bridge = bridge = AxiNative(address_width)
        wiring.connect(m, wiring.flipped(self.axi), bridge.axi)
        native = bridge.native
        if port_bits != 8 * VECTOR:
            m.submodules.converter = converter = WidthConverter(address_width, port_bits)
            wiring.connect(m, bridge.native, converter.wide)
            m.d.comb += bridge.late.eq(converter.late)
            native = converter.narrow
        ports = {"i_wb_ctrl_bte": 0, "i_wb_ctrl_cti": 0}
        for prefix, signature, port in ((PORT, native.signature, native),
                                        ("wb_ctrl", Wishbone(), self.control)):
            for name, member in signature.members.items():
                direction = "i" if member.flow is Out else "o"
                ports[f"{direction}_{prefix}_{name}"] = getattr(port, name)
        m.submodules.controller = Instance(MODULE, **ports, **self.ports)
        return m
