"""Where the multipliers and block RAMs of a core stand on an ECP5.

They come in rows over the whole device, and the placer, which has nothing else to hold on to,
scatters them: without a plan there is a quarter more wire and the clock is a tenth slower. The
activation memory stands between two rows of the array's multipliers, results and weight ring above
them; the requantisers and the buffers of the units that read and write memory where there is room.
What stands behind one another is of the same output channels.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

PERIOD = 9
"""Columns from one group of four sites to the next."""
MULTIPLIERS = {0: "MULT18_0", 1: "MULT18_1", 4: "MULT18_4", 5: "MULT18_5"}
BLOCK_RAMS = {0: "EBR0", 2: "EBR1", 4: "EBR2", 6: "EBR3"}
"""Columns of a group's sites from its first one, and their names."""
BLOCKS = "MULT18X18D", "DP16KD"
BUFFERS = (r"gather\.bank(\d+)\.", r"residual\.reader\.fifo\.storage\.(\d+)\.(\d+)$",
           r"pool\.buffer\.(\d+)\.(\d+)$", r"store\.bytes\.storage\.(\d+)\.(\d+)$")
"""They pull their units away from the requantisers, where ways are scarce."""


class Span(NamedTuple):
    """The sites of a row from one column to another."""

    row: int
    first: int
    last: int


@dataclass(frozen=True)
class Device:
    """The sites of a device and which units stand there.

    A row has ``groups`` of four sites; those from column ``turn`` on stand two columns further
    right. ``array`` is for its even and its odd blocks. What of the activation memory has no room
    in ``memory`` takes the rest of ``results`` and of its own row.
    """

    groups: int
    turn: int
    array: tuple[Span, Span]
    memory: Span
    results: Span
    lanes: Span
    buffers: Span

    def sites(self, kinds: dict[int, str], row: int, first: int = 0, last: int = 200) -> list[str]:
        """The places of a row from column ``first`` to ``last``, by nextpnr's names."""
        starts = (4 + PERIOD * group for group in range(self.groups))
        starts = [start + 2 * (start > self.turn - 4) for start in starts]
        return [f"X{start + column}/Y{row}/{kind}" for start in starts
                for column, kind in kinds.items() if first <= start + column <= last]


DEVICES = {
    # About the middle of the device; the requantisers, which are mostly LUTs, from edge to edge.
    "LFE5U-85F": Device(
        13, 65, array=(Span(10, 31, 103), Span(34, 31, 103)), memory=Span(22, 31, 103),
        results=Span(46, 31, 103), lanes=Span(58, 4, 122), buffers=Span(82, 31, 103)),
    "LFE5U-45F": Device(
        9, 42, array=(Span(22, 4, 84), Span(46, 4, 74)), memory=Span(34, 4, 84),
        results=Span(58, 4, 84), lanes=Span(46, 75, 84), buffers=Span(10, 4, 84)),
}


def spread(cells: list[str], places: list[str]) -> dict[str, str]:
    """Cells in the order of the places, at even distances; none if there are more than places."""
    if len(cells) > len(places):
        return {}
    return {cell: places[i * len(places) // len(cells)] for i, cell in enumerate(cells)}


def floorplan(names: Iterable[str], device: Device) -> dict[str, str]:
    """Cell to place for those multipliers and block RAMs that belong to a unit with a place.

    ``names`` are all MULT18X18D and DP16KD of a netlist with the hierarchy in their names. A unit
    with more cells than there are places for it is left to the placer.
    """
    def found(pattern):
        """Cells whose names match, in the order of the numbers in the match."""
        matches = [(re.search(pattern, name), name) for name in names]
        return [name for _, name in sorted(
            ([int(number) for number in match.groups()], name) for match, name in matches if match)]

    names, sites = list(names), device.sites
    array = found(r"array\.block(\d+)_(\d+)_(\d+)\.lane(\d+)_(\d+)\.dsp$")
    plan = {}
    for odd, span in enumerate(device.array):
        blocks = [name for name in array
                  if int(re.search(r"block\d+_\d+_(\d+)\.", name)[1]) % 2 == odd]
        plan |= spread(blocks, sites(MULTIPLIERS, *span))
    plan |= spread(found(r"finisher\.lane_(\d+)\."), sites(MULTIPLIERS, *device.lanes))

    results = sites(BLOCK_RAMS, *device.results)
    plan |= spread(found(r"accumulator\.fifo(\d+)\.storage\.0\.(\d+)$"), results)
    results = [place for place in results if place not in plan.values()]
    ring = found(r"ring\.memory\.blocks\.block(\d+)$")
    middle = (len(results) - len(ring)) // 2
    plan |= spread(ring, results[max(middle, 0):][:len(ring)])

    memory = found(r"memory\.bank(\d+)_(\d+)_(\d+)\.blocks\.block(\d+)$")
    row, first, last = device.memory
    near = sites(BLOCK_RAMS, *device.memory)
    others = [place for place in (
        *results, *sites(BLOCK_RAMS, row, 0, first - 1)[::-1], *sites(BLOCK_RAMS, row, last + 1))
        if place not in plan.values()]
    plan |= spread(memory[:len(near)], near)
    rest = memory[len(near):]
    others = sorted(others[:len(rest)], key=lambda place: int(place.split("/")[0][1:]))
    plan |= spread(rest, others)
    buffers = [name for buffer in BUFFERS for name in found(buffer)]
    return plan | spread(buffers, sites(BLOCK_RAMS, *device.buffers))


def give_places(module: dict, device: Device):
    """Writes the ``floorplan`` of a module of Yosys' JSON into it."""
    cells = module["cells"]
    plan = floorplan((name for name, cell in cells.items() if cell["type"] in BLOCKS), device)
    for name, place in plan.items():
        cells[name]["attributes"]["BEL"] = place
