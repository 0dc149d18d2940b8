"""The tile loader: reads, releases, weights at the rows at their swap, the interlock of groups."""

import random
from collections import deque

import pytest

from hw.config import VECTOR, Config
from hw.isa import RECORD_VECTORS, ParameterKind
from hw.multiplier import TableBlock
from hw.tile_loader import TileLoader, swap_delay
from hw.weight_ring import ring_latency

from .streams import go, simulate, ticked
from .test_walker import Reference, random_pass

CONFIGS = {"16 lanes": Config(weight_vectors=512), "8 lanes": Config(co_lanes=8),
           "tables": Config(table_rows=7), "8 lanes, tables": Config(co_lanes=8, table_rows=16)}
BRANCHES = (ParameterKind.BRANCH_A, ParameterKind.BRANCH_B)


def some_pass(rng, config):
    """A short pass of up to three groups."""
    work = random_pass(rng, config)
    work["walk"] |= {"kernel": rng.choice((1, 2)), "planes": rng.randint(1, 2)}
    return work


class Bench:
    """Drives a loader with tiles over a ring of random words, as the stepper and finisher do."""

    def __init__(self, config, tiles, rng=None, rate=1.0):
        self.config, self.tiles, self.rng, self.rate = config, tiles, rng, rate
        self.dut = TileLoader(config)
        # Where each tile's words are in the stream, and the group of each tile.
        self.places, self.groups, end, group, parity = [], [], 0, -1, None
        for tile in tiles:
            size = RECORD_VECTORS if tile["parameters"] else config.tile_vectors
            self.places.append(range(end + tile["offset"], end + tile["offset"] + size))
            end += size * tile["release"]
            if tile["parameters"] and tile["kind"] in BRANCHES and tile["parity"] != parity:
                group, parity = group + 1, tile["parity"]
            self.groups.append(group)
        content = random.Random(end)
        self.words = [content.randbytes(VECTOR) for _ in range(end)]
        self.reads, self.parameters, self.taken, self.released = [], [], [], 0
        self.handed_over = []

    def expected_parameters(self):
        return [(tile["kind"], tile["parity"], i, int.from_bytes(self.words[at], "little"))
                for tile, place in zip(self.tiles, self.places, strict=True) if tile["parameters"]
                for i, at in enumerate(place)]

    def rows_of(self, place):
        """Weights of the 16 input channels of a tile."""
        joined = b"".join(self.words[at] for at in place)
        return [joined[i:i + self.config.co_lanes]
                for i in range(0, len(joined), self.config.co_lanes)]

    def run(self):
        simulate(self.dut, self.bench)
        return self

    async def bench(self, ctx):
        dut, config, rng = self.dut, self.config, self.rng
        pending = deque(range(len(self.tiles)))
        weights_of = deque(i for i, tile in enumerate(self.tiles) if not tile["parameters"])
        last_tile = {self.groups[i]: i for i in weights_of}
        reads_of = [(at, i) for i, place in enumerate(self.places) for at in place]
        data = deque([None] * ring_latency(config))
        present = 0 if rng else len(self.words)
        swaps, shadow, loaded_at = {}, [None] * VECTOR, [-100] * VECTOR
        finished, done, cycle, offered = 0, 0, 0, False
        total = sum(not tile["parameters"] for tile in self.tiles)
        while len(self.handed_over) < total or swaps:
            present = min(present + go(rng, self.rate), len(self.words))
            offered = bool(pending) and (offered or go(rng, self.rate))
            ctx.set(dut.available, min(present - self.released, config.weight_vectors))
            ctx.set(dut.tile.valid, offered)
            if offered:
                tile = self.tiles[pending[0]]
                ctx.set(dut.tile.payload, tile)
            ctx.set(dut.loaded.ready, go(rng, self.rate))
            word = data.popleft()
            ctx.set(dut.read_data, list(word) if word else [cycle & 255] * VECTOR)
            # Groups leave the finisher in order, some time after their last tile.
            group_done = done < finished and (not rng or rng.randrange(100) < 4)
            ctx.set(dut.group_done, group_done)
            (ready, enable, offset, release, count, load, weights, loaded, parameters,
             payload) = (
                await ticked(ctx, dut.tile.ready, dut.read_enable, dut.read_offset, dut.release,
                             dut.release_count, dut.load, dut.weights,
                             dut.loaded.valid & dut.loaded.ready, dut.parameters.valid,
                             dut.parameters.payload))
            if cycle in swaps:
                index = swaps.pop(cycle)
                assert shadow == self.rows_of(self.places[index]), f"weights of tile {index}"
                for row, at in enumerate(loaded_at):
                    table = row < config.table_rows
                    assert cycle - at >= (TableBlock.LOAD_CYCLES if table else 1), row
            if enable:
                at = self.released + offset
                assert at < present, "a read before the data"
                assert at == reads_of[len(self.reads)][0]
                tile = self.tiles[reads_of[len(self.reads)][1]]
                group = self.groups[reads_of[len(self.reads)][1]]
                if tile["parameters"] and tile["kind"] in BRANCHES:
                    assert done >= group - 1, "a slot of a group that is still at work"
                self.reads.append(cycle)
                data.append(self.words[at])
            else:
                data.append(None)
            if release:
                assert enable
                self.released += count
            done += group_done
            for row in range(VECTOR):
                if load >> row & 1:
                    shadow[row] = bytes(weights[row % self.dut.rows_per_vector])
                    loaded_at[row] = cycle
            if parameters:
                self.parameters.append((ParameterKind(payload.kind), payload.parity,
                                        payload.index, payload.records.as_bits()))
            if loaded:
                index = weights_of.popleft()
                assert index == pending[0]
                self.handed_over.append(cycle)
                swaps[cycle + swap_delay(config)] = index
                if last_tile[self.groups[index]] == index:
                    finished += 1
            if offered and ready:
                pending.popleft()
                offered = False
            cycle += 1


@pytest.mark.parametrize("name", CONFIGS)
def test_random_passes(name):
    config, rng = CONFIGS[name], random.Random(name)
    reference = Reference(config)
    tiles = [tile for _ in range(4) for tile in reference.tiles(some_pass(rng, config))]
    bench = Bench(config, tiles, rng, 0.8).run()
    assert bench.released == len(bench.words), "everything was released"
    assert bench.parameters == bench.expected_parameters()


@pytest.mark.parametrize("name", CONFIGS)
def test_cycles(name):
    """Tiles follow one another every ``tile_vectors + 1`` cycles; with tables the last table row
    of a tile needs its time."""
    config, rng = CONFIGS[name], random.Random(name)
    work = some_pass(rng, config) | {"rescale": 0, "average": 0}
    work["walk"] |= {"groups_a": 0, "groups_b": 1, "kernel": 2, "planes": 2}
    bench = Bench(config, list(Reference(config).tiles(work))).run()
    period = config.tile_vectors + 1
    if config.table_rows:
        last_table = (config.table_rows - 1) // (VECTOR // config.tile_vectors)
        period = max(period, last_table + TableBlock.LOAD_CYCLES + 1)
    gaps = {b - a for a, b in zip(bench.handed_over, bench.handed_over[1:], strict=False)}
    assert gaps == {period}
