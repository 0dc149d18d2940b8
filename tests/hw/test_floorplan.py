"""The floorplan: every block in a place of its own that the device has."""

import pytest

from hw.floorplan import BLOCK_RAMS, DEVICES, MULTIPLIERS, floorplan, give_places

LARGE, SMALL = DEVICES["LFE5U-85F"], DEVICES["LFE5U-45F"]


def array_of(firsts, blocks):
    return [f"core.engine.array.block0_{first}_{i}.lane{lane}_{c}.dsp" for first in firsts
            for i in blocks for lane in range(4) for c in range(2)]


ARRAY = array_of((0, 4, 8, 12), (6, 7))
LANES = [f"core.finisher.lane_{u}.product_{i}" for u in range(8) for i in range(4)]
RESULTS = [f"core.engine.accumulator.fifo0.storage.0.{i}" for i in range(11)]
RING = [f"core.ring.memory.blocks.block{i}" for i in range(8)]
MEMORY = [f"core.memory.bank0_{chunk}_{piece}.blocks.block{i}" for chunk in (0, 1)
          for piece in range(4) for i in range(8)]

BUFFERS = [f"core.{name}.{i}" for name in (
    "gather.bank0.0", "residual.reader.fifo.storage.0", "pool.buffer.0", "store.bytes.storage.0")
           for i in range(4)]


def place(name):
    column, row, _ = name.split("/")
    return int(column[1:]), int(row[1:])


def test_sites():
    """As nextpnr names them: 52 of each kind in a row of an 85F, 36 of a 45F."""
    sites = LARGE.sites
    assert len(sites(MULTIPLIERS, 10)) == len(sites(BLOCK_RAMS, 22)) == 52
    assert sites(MULTIPLIERS, 10)[:5] == [
        "X4/Y10/MULT18_0", "X5/Y10/MULT18_1", "X8/Y10/MULT18_4", "X9/Y10/MULT18_5",
        "X13/Y10/MULT18_0"]
    assert sites(BLOCK_RAMS, 46, 60, 75) == [
        "X60/Y46/EBR1", "X62/Y46/EBR2", "X64/Y46/EBR3", "X69/Y46/EBR0", "X71/Y46/EBR1",
        "X73/Y46/EBR2", "X75/Y46/EBR3"]
    assert sites(BLOCK_RAMS, 82)[-1] == "X120/Y82/EBR3"
    assert SMALL.sites(MULTIPLIERS, 22)[15:17] == ["X36/Y22/MULT18_5", "X42/Y22/MULT18_0"]
    assert len(SMALL.sites(BLOCK_RAMS, 34)) == 36
    assert SMALL.sites(BLOCK_RAMS, 34)[-1] == "X84/Y34/EBR3"


@pytest.mark.parametrize("device, multiplier_rows, block_rows, array, lanes, memory", [
    (LARGE, (10, 34, 58), (22, 46, 82), ARRAY, LANES, MEMORY),
    (SMALL, (22, 46), (10, 34, 58), array_of((0, 4), (4, 5, 6, 7)), LANES[:4], MEMORY[:32]),
], ids=["85F", "45F"])
def test_every_block_has_its_own_place(device, multiplier_rows, block_rows, array, lanes, memory):
    everything = [*array, *lanes, *RESULTS, *RING, *memory, *BUFFERS]
    plan = floorplan([*reversed(everything), "core.pool.lines.0", "bridge.buffer"], device)
    assert sorted(plan) == sorted(everything)
    assert len(set(plan.values())) == len(plan)
    multipliers = {s for row in multiplier_rows for s in device.sites(MULTIPLIERS, row)}
    blocks = {s for row in block_rows for s in device.sites(BLOCK_RAMS, row)}
    assert {plan[name] for name in array + lanes} <= multipliers
    assert {plan[name] for name in RESULTS + RING + memory + BUFFERS} <= blocks


def test_same_channels_stand_behind_one_another():
    plan = floorplan([*ARRAY, *LANES], LARGE)
    columns = [[place(plan[name])[0] for name in ARRAY if f"block0_{first}_" in name]
               for first in (0, 4, 8, 12)]
    assert all(max(left) < min(right)
               for left, right in zip(columns, columns[1:], strict=False))
    assert [place(plan[name])[0] for name in LANES] == sorted(
        place(plan[name])[0] for name in LANES)


def test_a_unit_too_large_is_left_alone():
    more = [f"finisher.lane_{u}.product_{i}" for u in range(16) for i in range(4)]
    assert floorplan([*more, *RING], LARGE).keys() == set(RING)


def test_in_the_netlist():
    module = {"cells": {RING[0]: {"type": "DP16KD", "attributes": {}},
                        RING[1]: {"type": "TRELLIS_FF", "attributes": {}}}}
    give_places(module, LARGE)
    assert place(module["cells"][RING[0]]["attributes"]["BEL"])[1] == 46
    assert module["cells"][RING[1]]["attributes"] == {}
