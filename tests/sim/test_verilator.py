"""The harness and its memory model, on a small design that copies memory."""

import numpy as np
import pytest

from sim import verilator
from sim.harness import DEFAULT_MEMORY, BusError, Harness, Memory
from sw.errors import UserError
from tests.sim.memory_test_core import IDENTITY, CopyCore

SIZE = 1 << 16
SOURCE, TARGET, LENGTH, BURSTS, START, FAULT = 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18
READ_DATA, RESPONSE = 2, 5  # states of the copier
DROP_ARVALID, NO_WLAST = 1, 2


@pytest.fixture(scope="module")
def library():
    return verilator.build(CopyCore)


def copy(library, memory=DEFAULT_MEMORY, source=0, target=SIZE // 2, length=16, bursts=8, fault=0,
         errors=None, limit=100_000):
    """Runs the copier; returns (harness, status, cycles)."""
    harness = Harness(library, SIZE, memory)
    harness.memory[:] = np.random.default_rng(1).integers(0, 256, SIZE)
    if errors:
        harness.inject_errors(*errors)
    for register, value in ((SOURCE, source), (TARGET, target), (LENGTH, length),
                            (BURSTS, bursts), (FAULT, fault)):
        harness.csr_write(register, value)
    harness.clear()
    harness.csr_write(START, 1)
    cycles = harness.run(limit)
    return harness, harness.csr_read(START), cycles


@pytest.mark.parametrize("memory", [
    Memory(), Memory(latency=1, width=32), Memory(latency=100, width=2), Memory(stalls=20, seed=5),
    Memory(latency=7, width=12, stalls=80, max_reads=1, max_writes=1)])
@pytest.mark.parametrize("length, bursts", [(16, 8), (1, 5), (7, 3)])
def test_copies_under_any_memory(library, memory, length, bursts):
    harness, status, _ = copy(library, memory, length=length, bursts=bursts)
    size = length * bursts * 16
    assert status == 1 and not harness.failures and harness.outstanding == 0
    np.testing.assert_array_equal(harness.memory[:size], harness.memory[SIZE // 2:SIZE // 2 + size])
    untouched = np.random.default_rng(1).integers(0, 256, SIZE)
    np.testing.assert_array_equal(harness.memory[SIZE // 2 + size:], untouched[SIZE // 2 + size:])
    assert harness.beats == (length * bursts, length * bursts)


def test_probes_show_every_vector_in_order(library):
    harness, _, _ = copy(library)
    data = harness.memory[:8 * 16 * 16].reshape(-1, 16)
    for records in (harness.results, harness.outputs):
        np.testing.assert_array_equal(records["data"], data + np.uint8(1))
        np.testing.assert_array_equal(records["branch"], np.arange(128) % 2)
    np.testing.assert_array_equal(harness.results["stage"], np.arange(128) // 2 % 4)
    harness.clear()
    assert len(harness.results) == len(harness.outputs) == harness.histogram.size == 0


@pytest.mark.parametrize("latency", [1, 30, 200])
@pytest.mark.parametrize("width, between", [(16, 1), (8, 2), (4, 4), (2, 8)])
def test_latency_and_throughput_are_exact(library, latency, width, between):
    """The histogram counts the cycles in which the copier waits for each burst's beats."""
    harness, _, _ = copy(library, Memory(latency, width), bursts=1)
    assert harness.histogram[0, READ_DATA] == latency + 15 * between
    # beats of the write wait in the memory's queue, the first one for its turn behind the read
    late = int(harness.histogram[0, RESPONSE]) - latency - 15 * (between - 1)
    assert 0 <= late < between


def test_histogram_counts_every_cycle_that_shows_a_run(library):
    harness, _, cycles = copy(library)
    # the write of the start answers one cycle after it has taken effect
    assert harness.histogram.sum() == harness.unit_states[0].sum() == cycles + 1
    assert (harness.unit_states.sum(axis=1) == cycles + 1).all()


def test_stalls_are_seeded(library):
    def cycles(seed):
        return copy(library, Memory(stalls=30, seed=seed))[2]

    assert cycles(1) == cycles(1)
    assert len({cycles(seed) for seed in range(5)}) > 1
    assert cycles(1) > copy(library)[2]


def test_injected_error_answers_slverr(library):
    harness, status, _ = copy(library, errors=(512, 512))
    assert status >> 1 == 2 and not harness.failures
    harness, status, _ = copy(library, errors=(SIZE // 2 + 512, SIZE // 2 + 512))
    assert status >> 1 == 2
    start = SIZE // 2 + 512
    assert (harness.memory[start:start + 16] != harness.memory[512:528]).any()
    assert copy(library, errors=(SIZE - 16, SIZE - 1))[1] == 1


def test_address_outside_the_memory(library):
    harness, status, _ = copy(library, source=SIZE - 16 * 16, length=16, bursts=2)
    assert status >> 1 == 3
    assert "AR of 16 beats" in harness.failures[0] and "outside the memory" in harness.failures[0]


def test_burst_over_4_kib(library):
    harness, _, _ = copy(library, source=4096 - 16, length=2, bursts=1)
    failure, = harness.failures
    assert "AR of 2 beats at byte 4080" in failure and "crosses a 4 KiB" in failure
    harness, _, _ = copy(library, target=4096 - 16, length=2, bursts=1)
    assert "AW of 2 beats at byte 4080" in harness.failures[0]
    assert "aligned" in copy(library, source=8)[0].failures[0]


def test_protocol_faults_are_reported(library):
    harness, _, _ = copy(library, fault=NO_WLAST, bursts=1)
    assert "WLAST" in harness.failures[0]
    harness, _, _ = copy(library, Memory(stalls=90), fault=DROP_ARVALID, limit=1000)
    assert "ARVALID" in harness.failures[0]


def test_csr_errors(library):
    with Harness(library, 4096) as harness:
        assert harness.csr_read(0) == IDENTITY
        with pytest.raises(BusError, match="0x1c: SLVERR"):
            harness.csr_read(0x1C)
        with pytest.raises(BusError, match="SLVERR"):
            harness.csr_write(0x20, 1)
        with pytest.raises(ValueError, match="0x102"):
            harness.csr_read(0x102)
    harness.close()
    with pytest.raises(RuntimeError, match="has been closed"):
        harness.csr_read(0)


def test_two_cores_do_not_disturb_each_other(library):
    first, second = Harness(library, SIZE), Harness(library, SIZE)
    first.csr_write(SOURCE, 1)
    second.csr_write(SOURCE, 2)
    assert (first.csr_read(SOURCE), second.csr_read(SOURCE)) == (1, 2)
    first.reset()
    assert (first.csr_read(SOURCE), second.csr_read(SOURCE)) == (0, 2)


def test_memory_options_are_checked():
    with pytest.raises(UserError, match="memory width is 64, supported: 1 to 32"):
        Memory(width=64)
    with pytest.raises(UserError, match="stalls is 100"):
        Memory(stalls=100)


def test_waves(library, tmp_path):
    with Harness(library, SIZE) as harness, pytest.raises(UserError, match="cannot write waves"):
        harness.waves_open(tmp_path / "none.vcd")  # built without
    traced = verilator.build(CopyCore, waves=True)
    assert traced != library
    with Harness(traced, SIZE) as harness:
        harness.waves_open(tmp_path / "copy.vcd")
        harness.csr_write(SOURCE, 0x5A)
        harness.waves_close()
    text = (tmp_path / "copy.vcd").read_text()
    assert "axi__araddr" in text and f"b{0x5A:032b} " in text


def test_cache_and_key(library):
    steps = []
    assert verilator.build(CopyCore, progress=lambda what, fraction: steps.append(what)) == library
    assert steps == ["elaborate"]
    assert verilator.build(CopyCore, key="copier of the tests") == library

    def never():
        raise AssertionError("elaborated")

    assert verilator.build(never, key="copier of the tests") == library


def test_broken_tools_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("FIRECORE_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "/bin/false")
    with pytest.raises(UserError, match=r"^the C\+\+ compiler failed with status 1"):
        verilator.build(CopyCore)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no C.. compiler found"):
        verilator.build(CopyCore)
    assert not list(tmp_path.rglob("core.so")) and not list(tmp_path.rglob("build-*"))
