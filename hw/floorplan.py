"""Where the multipliers and block RAMs of a core stand on an LFE5U-85F.

They come in rows over the whole device, and the placer, which has nothing else to hold on to,
scatters them: without a plan there is a quarter more wire and the clock is a tenth slower. From
below upwards: rows of the array's multipliers with the activation memory between them, results and
weight ring, requantisers, the buffers of the units that read and write memory. What stands behind
one another is of the same output channels.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

PERIOD, TURN = 9, 65
"""Columns from one group of four sites to the next; one column on from ``TURN`` two more."""
GROUPS = 13
MULTIPLIERS = {0: "MULT18_0", 1: "MULT18_1", 4: "MULT18_4", 5: "MULT18_5"}
BLOCK_RAMS = {0: "EBR0", 2: "EBR1", 4: "EBR2", 6: "EBR3"}
"""Columns of a group's sites from its first one, and their names."""
FIRST, LAST = 31, 103
"""Columns of the sites that are used before others: about the middle of the device."""
LANES = 4, 122
"""Columns of the requantisers, which are mostly LUTs: from edge to edge."""
ARRAY_ROWS, LANE_ROW = (10, 34), 58
MEMORY_ROW, RESULT_ROW, BUFFER_ROW = 22, 46, 82
BUFFERS = (r"gather\.bank(\d+)\.", r"residual\.reader\.fifo\.storage\.(\d+)\.(\d+)$",
           r"pool\.buffer\.(\d+)\.(\d+)$", r"store\.bytes\.storage\.(\d+)\.(\d+)$")
"""They pull their units away from the requantisers, where ways are scarce."""
BLOCKS = "MULT18X18D", "DP16KD"


def sites(kinds: dict[int, str], row: int, first: int = 0, last: int = 126) -> list[str]:
    """The places of a row of the device from column ``first`` to ``last``, by nextpnr's names."""
    starts = (4 + PERIOD * group for group in range(GROUPS))
    starts = [start + 2 * (start > TURN - 4) for start in starts]
    return [f"X{start + column}/Y{row}/{kind}" for start in starts
            for column, kind in kinds.items() if first <= start + column <= last]


def spread(cells: list[str], places: list[str]) -> dict[str, str]:
    """Cells in the order of the places, at even distances; none if there are more than places."""
    if len(cells) > len(places):
        return {}
    return {cell: places[i * len(places) // len(cells)] for i, cell in enumerate(cells)}


def floorplan(names: Iterable[str]) -> dict[str, str]:
    """Cell to place for those multipliers and block RAMs that belong to a unit with a place.

    ``names`` are all MULT18X18D and DP16KD of a netlist with the hierarchy in their names. A unit
    with more cells than there are places for it is left to the placer.
    """
    def found(pattern):
        """Cells whose names match, in the order of the numbers in the match."""
        matches = [(re.search(pattern, name), name) for name in names]
        return [name for _, name in sorted(
            ([int(number) for number in match.groups()], name) for match, name in matches if match)]

    names = list(names)
    array = found(r"array\.block(\d+)_(\d+)_(\d+)\.lane(\d+)_(\d+)\.dsp$")
    by_block = {}
    for name in array:
        by_block.setdefault(int(re.search(r"block\d+_\d+_(\d+)\.", name)[1]) % 2, []).append(name)
    plan = {}
    for row, block in zip(ARRAY_ROWS, sorted(by_block), strict=False):
        plan |= spread(by_block[block], sites(MULTIPLIERS, row, FIRST, LAST))
    plan |= spread(found(r"finisher\.lane_(\d+)\."), sites(MULTIPLIERS, LANE_ROW, *LANES))

    results = sites(BLOCK_RAMS, RESULT_ROW, FIRST, LAST)
    plan |= spread(found(r"accumulator\.fifo(\d+)\.storage\.0\.(\d+)$"), results)
    results = [place for place in results if place not in plan.values()]
    ring = found(r"ring\.memory\.blocks\.block(\d+)$")
    middle = (len(results) - len(ring)) // 2
    plan |= spread(ring, results[max(middle, 0):][:len(ring)])

    memory = found(r"memory\.bank(\d+)_(\d+)_(\d+)\.blocks\.block(\d+)$")
    near = sites(BLOCK_RAMS, MEMORY_ROW, FIRST, LAST)
    others = [place for place in (
        *results, *sites(BLOCK_RAMS, MEMORY_ROW, 0, FIRST - 1)[::-1],
        *sites(BLOCK_RAMS, MEMORY_ROW, LAST + 1)) if place not in plan.values()]
    plan |= spread(memory[:len(near)], near)
    rest = memory[len(near):]
    others = sorted(others[:len(rest)], key=lambda place: int(place.split("/")[0][1:]))
    plan |= spread(rest, others)
    buffers = [name for buffer in BUFFERS for name in found(buffer)]
    return plan | spread(buffers, sites(BLOCK_RAMS, BUFFER_ROW, FIRST, LAST))


def give_places(netlist: Path, top: str):
    """Writes the ``floorplan`` of module ``top`` into Yosys' JSON."""
    design = json.loads(netlist.read_text())
    cells = design["modules"][top]["cells"]
    plan = floorplan(name for name, cell in cells.items() if cell["type"] in BLOCKS)
    for name, place in plan.items():
        cells[name]["attributes"]["BEL"] = place
    netlist.write_text(json.dumps(design))
