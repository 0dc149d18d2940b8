"""Start-up of the memory over the link, against a model of LiteDRAM's PHY and registers."""

import random

import numpy as np
import pytest

from hw.litedram import Dram, LitedramError, generate
from sw.runtime.dram import DramError, start_memory, test_memory
from sw.runtime.levelling import BITSLIPS, DELAYS, ReadWindow, best_window, needs_levelling
from sw.runtime.link import Link
from tests.link_model import LinkModel, Words
from tests.phy_model import Phy, generated, register_map

SIZE = 1 << 16


def start(windows, memory=None):
    phy = Phy(windows)
    model = LinkModel(controller=phy, memory=memory or Words(SIZE))
    told = []
    start_memory(Link(model), generated(phy.registers), 100e6, 2,
                 lambda what, fraction: told.append((what, fraction)))
    return phy, model, told


def test_the_order_of_things():
    phy, model, told = start([(1, 6, 20), (2, 0, 12)])
    assert phy.opened and phy.modes == {2: 0x930}
    names = {address: name for name, address in register_map().items()}
    written = [names[request.address] for request in model.requests
               if request.write and request.space == 2]
    assert written[:3] == ["ddrphy_rst", "ddrphy_rst", "sdram_dfii_pi0_address"]
    assert written[-2:] == ["sdram_dfii_control", "ddrctrl_init_done"]
    assert model.now >= 10_000 / 100e6 + 2000 / 100e6  # rests in seconds of its clock
    assert told[0] == ("start the memory", 0)
    shown = [fraction for what, fraction in told if what == "level the memory's reads"]
    assert shown == sorted(shown) and len(shown) == BITSLIPS * DELAYS and shown[-1] < 1


@pytest.mark.parametrize("seed", range(6))
def test_every_chip_gets_the_middle_of_its_window(seed):
    choose = random.Random(seed)
    windows = []
    for _ in range(2):
        first = choose.randrange(DELAYS - 8)
        windows.append((choose.randrange(BITSLIPS), first, choose.randrange(first + 7, DELAYS)))
    phy, *_ = start(windows)
    assert phy.bitslips == [bitslip for bitslip, *_ in windows]
    for delay, (_, first, last) in zip(phy.delays, windows, strict=True):
        assert abs(delay - (first + last) / 2) <= 1.5


@pytest.mark.parametrize(("windows", "message"), [
    ([(1, 6, 20), (9, 0, 31)], "chip 1 of 2: no setting reads it back; needed are 4 delays"),
    ([(4, 30, 31), (4, 0, 31)], "chip 0 of 2: .*; needed are 4 delays in a row of one bitslip"),
    ([(4, 10, 12), (4, 0, 31)], "chip 0 of 2: the widest window is bitslip 4, delays 1[01] to 1"),
])
def test_windows_that_are_missing_or_narrow(windows, message):
    with pytest.raises(DramError, match=f"^the memory's read levelling failed: {message}"):
        start(windows)


def test_a_chip_that_does_not_answer_at_its_middle():
    class Shy(Phy):
        """Works while all chips are scanned, not when one is set alone."""

        def _reads_well(self, chip):
            return self.read(self.registers["ddrphy_dly_sel"]) == 3 and super()._reads_well(chip)

    phy = Shy([(0, 0, 31), (0, 0, 31)])
    with pytest.raises(DramError, match="chip 0 of 2 does not read back at the middle of its window"
                                        ", bitslip 0, delays "):
        start_memory(Link(LinkModel(controller=phy)), generated(phy.registers), 100e6, 2)
    assert not phy.opened


def test_best_window():
    works = np.zeros((BITSLIPS, DELAYS), bool)
    assert best_window(works) is None
    works[2, 31] = works[5, 3:6] = works[5, 7:12] = works[6, 0:5] = True
    assert best_window(works) == ReadWindow(5, 7, 11)
    assert best_window(works).middle == 9 and best_window(works).width == 5
    works[:] = True
    assert best_window(works) == ReadWindow(0, 0, 31)


def test_a_memory_without_a_phy_to_level():
    """SDR memories, and the models of simulations: start-up and port only."""
    phy = Phy([(9, 0, 0)] * 2)
    registers = {name: address for name, address in phy.registers.items()
                 if not name.startswith("ddrphy")}
    assert needs_levelling(phy.registers) and not needs_levelling(registers)
    start_memory(Link(LinkModel(controller=phy)), generated(registers), 100e6, 2)
    assert phy.opened and phy.modes == {2: 0x930}


class Aliased(Words):
    """An address bit that does not arrive."""
    bit = 1 << 9

    def read(self, address):
        return super().read(address & ~self.bit)

    def write(self, address, value):
        super().write(address & ~self.bit, value)


class Stuck(Words):
    def read(self, address):
        return super().read(address) | 0x8000_0000 * (address == SIZE - 4)


@pytest.mark.parametrize("memory", [Aliased(SIZE), Stuck(SIZE)])
def test_a_bad_memory_is_found(memory):
    with pytest.raises(DramError, match="^the memory's test failed: byte 0x[0-9a-f]+ reads 0x[0-9a-"
                                        "f]{2}, written was 0x[0-9a-f]{2}$"):
        start([(1, 6, 20), (2, 0, 12)], memory)


def test_every_address_bit_is_tried():
    for bit in range(4, 16):
        memory = Aliased(SIZE)
        memory.bit = 1 << bit
        with pytest.raises(DramError):
            test_memory(Link(LinkModel(memory=memory)), SIZE)
    test_memory(Link(LinkModel(memory=Words(SIZE))), SIZE)


def test_registers_are_those_of_litedram(tmp_path):
    """The names that levelling uses, next to each other where it takes that for granted."""
    try:
        made = generate(Dram(), tmp_path, simulation=False).registers
    except LitedramError as error:
        pytest.skip(str(error))
    assert needs_levelling(made) and set(register_map()) <= set(made)
    for phase in range(4):
        at = made[f"sdram_dfii_pi{phase}_command"]
        assert made[f"sdram_dfii_pi{phase}_command_issue"] == at + 4
        assert made[f"sdram_dfii_pi{phase}_rddata"] - made["sdram_dfii_pi0_rddata"] == phase * (
            made["sdram_dfii_pi1_command"] - made["sdram_dfii_pi0_command"])
    assert not needs_levelling(generate(Dram(), tmp_path, simulation=True).registers)
