"""LiteDRAM's controller: what is generated, and what is refused."""

import dataclasses
import re

import pytest
from amaranth.back import rtlil

from hw import litedram
from hw.litedram import MODULE, Dram, Litedram, LitedramError, generate

VARIANTS = [False, True]
SDR = Dram(module="MT48LC16M16", phy="GENSDRPHY", clock_hz=80e6, input_hz=25e6,
           device="LFE5U-85F-6BG381C")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    pytest.importorskip("litedram", reason="LiteDRAM is not installed")
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("simulation", VARIANTS, ids=["real", "simulation"])
def test_verilog(cache, simulation):
    """The memory of the Arty: 14 + 3 + 10 address bits of 16-bit words are 256 MB, half of it with
    4 of its 8 banks."""
    half = generate(Dram(), cache, simulation=simulation)
    assert half.size == 128 << 20 and half.address_width == 23 and half.row_vectors == 128
    assert (" [1:0] ddram_ba" in half.verilog) == (not simulation)
    made = generate(Dram(banks=8), cache, simulation=simulation)
    assert made.size == 256 << 20 and made.address_width == 24 and made.row_vectors == 128
    assert f"module {MODULE} (" in made.verilog
    assert ("IDELAYE2" in made.verilog) == (not simulation)
    assert ("[127:0] mem[0:2097151]" in made.verilog) == simulation
    assert ("set_false_path" in made.constraints) == (not simulation)
    lines = made.verilog.splitlines()
    assert not any(line == after and line.startswith("assign")
                   for line, after in zip(lines, lines[1:], strict=False))


@pytest.mark.parametrize("simulation", VARIANTS, ids=["real", "simulation"])
def test_sdr(cache, simulation):
    """The memory of the ULX3S: 13 + 2 + 9 address bits of 16-bit words are 32 MB."""
    made = generate(SDR, cache, simulation=simulation)
    assert made.size == 32 << 20 and made.row_vectors == 64 and made.port_bits == 16
    half = generate(dataclasses.replace(SDR, banks=2), cache, simulation=simulation)
    assert half.size == 16 << 20 and ("sdram_ba" in half.verilog) == (not simulation)
    assert "[15:0] user_port_native_0_rdata_data" in made.verilog
    assert ("[15:0] mem[0:4194303]" in made.verilog) == simulation
    assert made.constraints == ""
    pins = re.findall(r"(input|output|inout) +wire +(?:\[\d+:0\])? +sdram_(\w+)", made.verilog)
    outputs = ("a", "ba", "cas_n", "cke", "cs_n", "dm", "ras_n", "we_n")
    expected = {"dq": "inout", **dict.fromkeys(outputs, "output")}
    assert {name: way for way, name in pins} == ({} if simulation else expected)


def test_registers_at_the_pins_of_sdr(cache):
    """Each data pin has one in each direction and one for its output enable; all others one."""
    verilog = generate(SDR, cache, simulation=False).verilog
    assert len(re.findall(r"^OFS1P3BX", verilog, re.MULTILINE)) == 2 * 16 + 13 + 2 + 3 + 1 + 1 + 2
    assert len(re.findall(r"^IFS1P3BX", verilog, re.MULTILINE)) == 16
    assert len(re.findall(r"^TRELLIS_IO", verilog, re.MULTILINE)) == 16


def test_sdr_start_up(cache):
    """CAS latency 2 in the mode register, bits 6..4, bursts of 1; read data are waited for three
    cycles at the pins, and both variants of the controller wait as long."""
    made = generate(SDR, cache, simulation=False)
    names = {address: name for name, address in made.registers.items()}
    steps = list(made.start_up())
    commands = [(steps[i - 2].value, step.value) for i, step in enumerate(steps)
                if names[step.address] == "sdram_dfii_pi0_command"]
    assert commands == [(1 << 10, 11), (0x120, 15), (1 << 10, 11), (0, 13), (0, 13), (0x20, 15)]
    assert steps[2].cycles / SDR.clock_hz >= 200e-6
    for simulation in VARIANTS:
        text = generate(SDR, cache, simulation=simulation).verilog
        stages = set(re.findall(r"new_master_rdata_valid(\d)", text))
        assert stages == set("01234")  # one at the command's pins, CAS latency, one late, input


def test_settings_reach_the_controller(cache):
    """Command buffers of depth 16 are LUT RAM, of depth 1 registers."""
    def rams(dram):
        text = generate(dram, cache, simulation=False).verilog
        return len(re.findall(r"reg \[\d+:0\] storage\w*\[0:15\]", text))

    assert rams(Dram()) == 0 and rams(Dram(command_buffer=16)) == 4
    slow = generate(Dram(clock_hz=80e6), cache, simulation=False)
    assert slow.verilog != generate(Dram(), cache, simulation=False).verilog


def test_start_up(cache):
    """The mode registers of DDR3-800: CAS latency 7 in bits 6..4, write latency 5, then ZQCL."""
    made = generate(Dram(), cache, simulation=False)
    steps = list(made.start_up())
    names = {address: name for name, address in made.registers.items()}
    assert [step.value for step in steps if names[step.address] == "sdram_dfii_control"] == [12, 14]
    banks = [step.value for step in steps if names[step.address].endswith("baddress")][2:]
    addresses = [step.value for step in steps if names[step.address].endswith("pi0_address")][2:]
    assert banks == [2, 3, 1, 0, 0]  # mode registers in the order of JEDEC, ZQ calibration
    assert addresses[0] >> 3 & 7 == 0 and addresses[3] >> 4 & 7 == 3 and addresses[4] == 1 << 10
    issued = [step for step in steps if names[step.address].endswith("command_issue")]
    assert len(issued) == 5 and issued[-1].cycles >= 128
    # 200 us with reset low or high, 500 us before the clock enable counts
    assert [step.cycles for step in steps if names[step.address] == "sdram_dfii_control"] \
        == [50_000, 10_000]
    opened = [(names[step.address], step.value) for step in made.open_port()]
    assert opened == [("sdram_dfii_control", 1), ("ddrctrl_init_done", 1)]


def test_generated_once(cache, monkeypatch):
    dram = Dram(read_time=48)
    made = generate(dram, cache, simulation=True)
    monkeypatch.setattr(litedram.subprocess, "run", None)
    assert generate(dram, cache, simulation=True) == made


def test_component(cache):
    made = generate(Dram(), cache, simulation=True)
    design = rtlil.convert(Litedram(made, {"i_clk": 0}), name="top")
    assert f"cell \\{MODULE}" in design


def test_without_the_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(litedram.importlib.util, "find_spec",
                        lambda name: None if name == "litex" else object())
    with pytest.raises(LitedramError) as raised:
        generate(Dram(), tmp_path, simulation=True)
    assert str(raised.value) == ("the DRAM controller needs LiteDRAM: pip install "
                                 "'firecore[dram]' (missing: litex)")
    assert list(tmp_path.iterdir()) == []


def test_what_the_generator_refuses(cache):
    with pytest.raises(LitedramError, match="^LiteDRAM's generator failed: .*MT41NONE") as raised:
        generate(Dram(module="MT41NONE"), cache, simulation=True)
    assert "\n" not in str(raised.value)
    assert not list((cache / "litedram").glob("build-*"))


@pytest.mark.parametrize(("field", "value", "message"), [
    ("byte_lanes", 4, "byte_lanes is 4, supported: 2"),
    ("banks", 2, "banks is 2, supported: 4 or 8"),
    ("phy", "K7DDRPHY", "phy is K7DDRPHY, supported: A7DDRPHY or GENSDRPHY"),
    ("command_buffer", 0, "command_buffer is 0, supported: 1 to 64"),
])
def test_bad_values(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Dram(), **{field: value})


def test_banks_of_sdr():
    with pytest.raises(ValueError, match="banks is 8, supported: 2 or 4"):
        dataclasses.replace(SDR, banks=8)
