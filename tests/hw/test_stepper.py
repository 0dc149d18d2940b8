"""The stepper against NumPy windows: pixels, padding, order, credits, waits and exact cycles."""

import random
from collections import deque

import numpy as np
import pytest

from hw.config import VECTOR, Config
from hw.stepper import Blocked, Stepper
from hw.tile_loader import swap_delay

from .streams import go, simulate, ticked
from .test_walker import Reference, random_pass, strips_of

ROOM = 5
SWAP_DELAY = swap_delay(Config())
ISSUE_TO_X = SWAP_DELAY - 1
"""A tile's first step is issued one cycle after its hand-over."""
CONFIGS = {"one pixel": Config(), "two halves": Config(co_lanes=8, pixels=2),
           "four pixels": Config(pixels=4)}


class Map:
    """A pass over a random map: its tiles, and what their steps should give."""

    def __init__(self, rng, config, reference, place=0, **changes):
        self.config = config
        self.work = work = random_pass(rng, config) | {"rescale": 0, "average": 0}
        walk, source = work["walk"], work["source"]
        walk |= {"groups_a": rng.choice((0, 1)), "groups_b": 1}
        work |= changes
        height, width = source["height"], source["width"]
        # The memory: the map's planes with gaps between them, in a region of their own.
        self.base = 50_000 + 1_000 * place + rng.randrange(300)
        source["plane"] = height * width + rng.randrange(3)
        source["address"] = (self.base + (source["row"] * source["stride"] - source["pad_top"])
                             * width - source["pad_left"])
        random_bytes = np.random.default_rng(rng.randrange(1 << 32))
        self.x = random_bytes.integers(0, 256, (walk["planes"], height, width, VECTOR), np.uint8)
        self.memory = {self.base + p * source["plane"] + y * width + x: self.x[p, y, x].tolist()
                       for p in range(walk["planes"]) for y in range(height) for x in range(width)}
        self.tiles = [tile for tile in reference.tiles(work) if not tile["parameters"]]
        strips = list(strips_of(work, config))
        per_strip = len(self.tiles) // len(strips)
        self.first_pixels = [strip[0] for strip in strips for _ in range(per_strip)]

    def pixel(self, plane, row, column):
        source = self.work["source"]
        if 0 <= row < source["height"] and 0 <= column < source["width"]:
            return self.x[plane, row, column]
        return np.full(VECTOR, source["pad_value"], np.uint8)

    def steps(self):
        """(swap before it, fields of the step, vectors of its lanes) of every step."""
        walk, source = self.work["walk"], self.work["source"]
        each = 1 if source["single"] else self.config.pixels
        taps = {0: [(source["pad_top"], source["pad_left"])],
                1: [(ky, kx) for ky in range(walk["kernel"]) for kx in range(walk["kernel"])]}
        places = {}
        for tile, first_pixel in zip(self.tiles, self.first_pixels, strict=True):
            key = first_pixel, tile["branch"], tile["half"]
            order = [(ky, kx, p) for ky, kx in taps[tile["branch"]] for p in range(walk["planes"])]
            number = places[key] = places.get(key, -1) + 1
            ky, kx, plane = order[number]
            for index in range(tile["steps"]):
                final = index == tile["steps"] - 1
                lanes = tile["lanes"] if final else each
                vectors = []
                for lane in range(lanes):
                    y, x = divmod(first_pixel + index * each + lane, source["out_width"])
                    vectors.append(self.pixel(
                        plane,
                        (source["row"] + y) * source["stride"] - source["pad_top"] + ky,
                        x * source["stride"] - source["pad_left"] + kx).tolist())
                yield index == 0, {
                    "index": index, "lanes": lanes, "first": int(number == 0),
                    "last": int(number == len(order) - 1), "half": tile["half"],
                    "branch": tile["branch"], "parity": tile["parity"],
                    "group_end": tile["group_end"] & final}, vectors


class Bench:
    """Drives a stepper with the tiles of ``maps``; what it saw is in its fields."""

    def __init__(self, config, maps, rng=None, rate=1.0):
        self.config, self.maps, self.rng, self.rate = config, maps, rng, rate
        self.dut = Stepper(config, ROOM if rng else 1000)
        self.steps = []
        """(swap, fields, vectors) as they leave."""
        self.cycles = {"taken": [], "issued": [], "swap": [], "step": [], "done": []}
        self.memory = {}
        for each in maps:
            self.memory |= each.memory
        self.blocked = set()

    def run(self):
        simulate(self.dut, self.bench)
        return self


    async def bench(self, ctx):
        dut, config = self.dut, self.config
        tiles = deque(tile for each in self.maps for tile in each.tiles)
        expected = sum(tile["steps"] for tile in tiles)
        data = deque([None, None])
        used = [0] * config.halves
        begun, ended, written, offered, cycle = 0, 0, 0, False, 0
        swapped = False
        while len(self.steps) < expected:
            offered = bool(tiles) and (offered or go(self.rng, self.rate))
            ctx.set(dut.tile.valid, offered)
            if offered:
                ctx.set(dut.tile.payload, {k: v for k, v in tiles[0].items() if k != "offset"})
            for lane, value in enumerate(data.popleft() or [None] * config.pixels):
                # A lane that was not read gives noise.
                ctx.set(dut.read_data[lane], [cycle & 255] * VECTOR if value is None else value)
            credit = 0
            for half in range(config.halves):
                if used[half] and self.rng and self.rng.randrange(100) < 30:
                    credit |= 1 << half
                    used[half] -= 1
            ctx.set(dut.credit, credit)
            writes = int(written < ended and (not self.rng or self.rng.randrange(100) < 5))
            ctx.set(dut.written, writes)
            sample = await ticked(
                ctx, dut.tile.ready, dut.read_enable, dut.read_address, dut.x, dut.swap, dut.step,
                dut.issued, dut.blocked, dut.read_done)
            ready, enable, addresses, x, swap, step, issued, blocked, done = sample
            reads = [addresses[lane] if enable >> lane & 1 else None
                     for lane in range(config.pixels)]
            banks = [address % config.pixels for address in reads if address is not None]
            assert len(set(banks)) == len(banks), "two reads of one bank"
            data.append([None if address is None else self.memory[address] for address in reads])
            written += writes
            if offered and ready:
                tile = tiles.popleft()
                offered = False
                if tile["begins"]:
                    assert not tile["chained"] or written == begun, "a chained pass did not wait"
                    begun += 1
                self.cycles["taken"].append(cycle)
            if issued:
                self.cycles["issued"].append(cycle)
            self.blocked.add(Blocked(blocked))
            assert issued == (Blocked(blocked) == Blocked.NONE)
            if done:
                self.cycles["done"].append(cycle)
                ended += 1
            if swap:
                self.cycles["swap"].append(cycle)
            swapped |= bool(swap)
            if step.valid:
                fields = {name: step[name] for name in (
                    "index", "lanes", "first", "last", "half", "branch", "parity", "group_end")}
                self.steps.append((swapped, fields, [
                    [int(byte) for byte in x[lane]] for lane in range(step.lanes)]))
                self.cycles["step"].append(cycle)
                swapped = False
                if step.last:
                    used[step.half] += 1
                    assert used[step.half] <= self.dut.room, "a result without room"
            cycle += 1


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_windows(name):
    """Random passes one after the other, stalls of tiles and results, every third pass chained."""
    config, rng = CONFIGS[name], random.Random(name)
    reference = Reference(config)
    maps = [Map(rng, config, reference, i, chained=int(i % 3 == 2)) for i in range(7)]
    bench = Bench(config, maps, rng, 0.7).run()
    expected = [step for each in maps for step in each.steps()]
    for number, (found, wanted) in enumerate(zip(bench.steps, expected, strict=True)):
        assert found == wanted, number
    # However long the first step waits for room: the loader counts on it.
    assert bench.cycles["swap"] == [cycle + SWAP_DELAY for cycle in bench.cycles["taken"]]
    assert bench.blocked == set(Blocked)
    assert len(bench.cycles["done"]) == len(maps)


@pytest.mark.parametrize("name", CONFIGS)
def test_cycles(name):
    """A step in every cycle from the first to the last, also from tile to tile and pass to pass;
    swaps ``swap_delay`` after the hand-over, ends of reads with their last step."""
    config, rng = CONFIGS[name], random.Random(name)
    reference = Reference(config)
    maps = [Map(rng, config, reference, i, chained=0) for i in range(3)]
    bench = Bench(config, maps).run()
    cycles = bench.cycles
    assert cycles["issued"] == list(range(cycles["issued"][0], cycles["issued"][-1] + 1))
    assert cycles["issued"][0] == cycles["taken"][0] + 1
    assert cycles["swap"] == [cycle + SWAP_DELAY for cycle in cycles["taken"]]
    assert cycles["step"] == [cycle + ISSUE_TO_X for cycle in cycles["issued"]]
    ends, steps = [], 0
    for each in maps:
        steps += sum(tile["steps"] for tile in each.tiles)
        ends.append(cycles["step"][steps - 1])
    assert cycles["done"] == ends


def test_no_room_no_step():
    """Without credit exactly ``room`` results are issued; each credit allows one more."""
    config = Config()
    rng = random.Random(5)
    work = Map(rng, config, Reference(config), chained=0)
    tile = work.tiles[0] | {"first": 1, "last": 1, "steps": 20}
    tile.pop("offset")
    dut = Stepper(config, 2)

    async def bench(ctx):
        ctx.set(dut.tile.payload, tile)
        ctx.set(dut.tile.valid, 1)
        issued = 0
        for cycle in range(40):
            ctx.set(dut.credit, int(cycle in (15, 25)))
            now, blocked = await ticked(ctx, dut.issued, dut.blocked)
            issued += now
            if cycle in (14, 24, 35):
                assert issued == {14: 2, 24: 3, 35: 4}[cycle]
                assert Blocked(blocked) == Blocked.RESULTS

    simulate(dut, bench)
