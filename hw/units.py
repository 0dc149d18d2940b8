"""The units of a core by name, and what each takes and how fast it is, synthesised alone."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from .accumulator import Accumulator
from .act_memory import ActMemory
from .array import Array
from .axi_share import AxiShare
from .bridge import LinkBridge
from .config import Config
from .core import CLIENTS, PassFork
from .csr import CsrBank
from .dispatch import Dispatch
from .engine import RESULT_DEPTH, Engine
from .finish import Finisher
from .fire_sequencer import FireSequencer
from .gather import Gather
from .loader import Loader
from .parts import Series7
from .pool import MaxPool
from .ports import ports_of
from .read_arbiter import ReadArbiter
from .requantise import Requantiser
from .residual import ResidualReader
from .resources import synthesise
from .stepper import Stepper
from .store import Store
from .supervisor import Supervisor
from .tile_loader import TileLoader
from .timing import AIM, Arrival, latest_arrival
from .walker import TileWalker
from .weight_ring import WeightRing


def units(config: Config) -> dict[str, Callable[[], wiring.Component]]:
    """Constructors of all units of a core, and of what the host needs beside it; a name with a dot
    is a part of the unit before it."""
    return {
        "csr": lambda: CsrBank(config),
        "supervisor": lambda: Supervisor(4),
        "dispatch": lambda: Dispatch(config),
        "read_arbiter": lambda: ReadArbiter(config, len(CLIENTS)),
        "act_memory": lambda: ActMemory(config),
        "weight_ring": lambda: WeightRing(config),
        "loader": lambda: Loader(config),
        "gather": lambda: Gather(config),
        "fire_sequencer": lambda: FireSequencer(),
        "pass_fork": lambda: PassFork(config, _commands(config)),
        "engine.walker": lambda: TileWalker(config),
        "engine.tile_loader": lambda: TileLoader(config),
        "engine.stepper": lambda: Stepper(config, RESULT_DEPTH),
        "engine.array": lambda: Array(config),
        "engine.accumulator": lambda: Accumulator(config, RESULT_DEPTH),
        "finisher": lambda: Finisher(config),
        "finisher.requantiser": lambda: Requantiser(config),
        "pool": lambda: MaxPool(config),
        "store": lambda: Store(config),
        "residual": lambda: ResidualReader(config),
        "link bridge": lambda: LinkBridge(1 << 28),
        "axi share": lambda: AxiShare(),
    }


def _commands(config: Config) -> dict:
    """Layouts of the commands of the units that a pass goes to."""
    consumers = {"engine": Engine, "finisher": Finisher, "pool": MaxPool, "store": Store,
                 "residual": ResidualReader}
    return {name: unit(config).command.payload.shape() for name, unit in consumers.items()}


def measure(unit: wiring.Component, folder: Path,
            progress=lambda what, fraction: None) -> tuple[dict[str, int], Arrival]:
    """Resources of a unit (see ``resources.count``) and its slowest path on Artix-7.

    All ports are taken to be registers. Works in a scratch folder inside ``folder``. Raises
    SynthesisError.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".firecore-") as scratch:
        source, netlist = (Path(scratch) / name for name in ("unit.il", "unit.json"))
        source.write_text(rtlil.convert(unit, ports=ports_of(unit), name="unit", emit_src=False,
                                        platform=Series7()))
        used = synthesise(source, "unit", progress, netlist, pads=False)
        return used, latest_arrival(netlist, "unit", registered_ports=True)


def measure_all(config: Config, folder: Path,
                progress=lambda what, fraction: None) -> dict[str, dict]:
    """Every unit of a core by name: its resources and the fields of its ``Arrival``."""
    every = units(config)
    rows = {}
    for i, (name, unit) in enumerate(every.items()):
        used, arrival = measure(unit(), folder, lambda what, part, i=i, name=name: progress(
            f"{name}: {what}", (i + part) / len(every)))
        rows[name] = used | arrival.as_dict()
    return rows


def unit_table(rows: dict[str, dict]) -> str:
    """The result of ``measure_all``, one line a unit; ``*`` marks paths above the aim."""
    lines = [f"{'unit':<22}{'LUT':>7}{'FF':>7}{'DSP':>5}{'BRAM':>6}{'ps':>7}  slowest path"]
    for name, row in rows.items():
        lines.append(
            f"{name:<22}{row['lut']:>7,}{row['ff']:>7,}{row['dsp']:>5}{row['bram36']:>6}"
            f"{row['ps']:>7,}{'*' if row['ps'] > AIM else ' '} {row['start']} to {row['end']}")
    return "\n".join(lines)
