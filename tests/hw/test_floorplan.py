"""The floorplan: every block in a place of its own that the device has."""

import json

from hw.floorplan import BLOCK_RAMS, MULTIPLIERS, floorplan, give_places, sites

ARRAY = [f"core.engine.array.block0_{first}_{i}.lane{lane}_{c}.dsp" for first in (0, 4, 8, 12)
         for i in (6, 7) for lane in range(4) for c in range(2)]
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
    """52 of each kind in a row, as nextpnr names them."""
    assert len(sites(MULTIPLIERS, 10)) == len(sites(BLOCK_RAMS, 22)) == 52
    assert sites(MULTIPLIERS, 10)[:5] == [
        "X4/Y10/MULT18_0", "X5/Y10/MULT18_1", "X8/Y10/MULT18_4", "X9/Y10/MULT18_5",
        "X13/Y10/MULT18_0"]
    assert sites(BLOCK_RAMS, 46, 60, 75) == [
        "X60/Y46/EBR1", "X62/Y46/EBR2", "X64/Y46/EBR3", "X69/Y46/EBR0", "X71/Y46/EBR1",
        "X73/Y46/EBR2", "X75/Y46/EBR3"]
    assert sites(BLOCK_RAMS, 82)[-1] == "X120/Y82/EBR3"


def test_every_block_has_its_own_place():
    everything = [*ARRAY, *LANES, *RESULTS, *RING, *MEMORY, *BUFFERS]
    plan = floorplan([*reversed(everything), "core.pool.lines.0", "bridge.buffer"])
    assert sorted(plan) == sorted(everything)
    assert len(set(plan.values())) == len(plan)
    multipliers = {s for row in (10, 34, 58) for s in sites(MULTIPLIERS, row)}
    blocks = {s for row in (22, 46, 70, 82) for s in sites(BLOCK_RAMS, row)}
    assert {plan[name] for name in ARRAY + LANES} <= multipliers
    assert {plan[name] for name in RESULTS + RING + MEMORY + BUFFERS} <= blocks


def test_same_channels_stand_behind_one_another():
    plan = floorplan([*ARRAY, *LANES])
    columns = [[place(plan[name])[0] for name in ARRAY if f"block0_{first}_" in name]
               for first in (0, 4, 8, 12)]
    assert all(max(left) < min(right)
               for left, right in zip(columns, columns[1:], strict=False))
    assert [place(plan[name])[0] for name in LANES] == sorted(
        place(plan[name])[0] for name in LANES)


def test_a_unit_too_large_is_left_alone():
    more = [f"finisher.lane_{u}.product_{i}" for u in range(16) for i in range(4)]
    assert floorplan([*more, *RING]).keys() == set(RING)


def test_in_the_netlist(tmp_path):
    netlist = tmp_path / "top.json"
    netlist.write_text(json.dumps({"modules": {"top": {"cells": {
        RING[0]: {"type": "DP16KD", "attributes": {}},
        RING[1]: {"type": "TRELLIS_FF", "attributes": {}}}}}}))
    give_places(netlist, "top")
    cells = json.loads(netlist.read_text())["modules"]["top"]["cells"]
    assert place(cells[RING[0]]["attributes"]["BEL"])[1] == 46
    assert cells[RING[1]]["attributes"] == {}
