"""The array: tiles of weights are loaded, handed over, and meet the steps of their strip."""

from __future__ import annotations

from itertools import product

from hw.array import array_latency
from hw.engine import RESULT_DEPTH
from hw.isa import RECORD_VECTORS

from ..estimate import tile_cycles
from .events import Process
from .passes import Pass
from .state import Batch, State

__all__ = ["TileArray"]

WALK = 7
"""Cycles from a pass to its first parameters."""
WALKED = 2
"""Cycles from the turn of the last tile of a pass to the walker's next pass."""
CHAINED = 2
"""Cycles from the event ``writes`` to the hand-over of a tile that waits for it."""
READ = 3
"""Cycles from the issue of the last step to the event ``reads``."""
BEFORE_ARRAY, BEHIND_ARRAY = 4, 5
"""Cycles from the hand-over of a tile to the array, and from its sums to the requantisers."""


class TileArray:
    """`hw.tile_loader`, `hw.stepper` and the result FIFOs of `hw.accumulator`.

    A tile can be read when its vectors are in the ring and the tile before was handed over; it is
    handed over when it is loaded and the steps of the tile before are issued. Tiles of the first
    strip of a group, which may wait for their weights, and of the last, which give their room in
    the ring back, go one by one, and all that are fetched again; those of other strips at once.
    """

    def __init__(self, state: State):
        self.state, self.events, self.config = state, state.events, state.config
        self.period = tile_cycles(state.config)
        self.to_results = BEFORE_ARRAY + array_latency(state.config) + BEHIND_ARRAY \
            + (state.config.vendor == "ecp5")
        self.loader_free = self.stepper_free = 0.0
        self.needed = 0
        """Vectors of the weight stream up to here."""
        self.groups = 0
        self.issued = [0] * self.config.halves
        """Steps that went into the result FIFO of each half."""
        self.events.start(self._run())

    def _run(self) -> Process:
        state = self.state
        while True:
            number = len(state.spans)
            yield state.taken, number + 1
            work = state.passes[number]
            self.loader_free = max(self.loader_free, state.taken.time(number + 1) + WALK)
            blocks = work.blocks
            self.layer_start = self.needed
            self.begin: float | None = None
            for group in range(work.groups):
                yield from self._parameters(blocks + len(work.branches(group)))
                yield from self._group(number, work, group)
                blocks = 0
            state.spans.append((self.begin, self.stepper_free))
            self.events.at(self.stepper_free + READ, state.happened["reads"].add)

    def _parameters(self, blocks: int) -> Process:
        """Those of a group, when the group before the last has left the requantisers."""
        state, vectors = self.state, blocks * RECORD_VECTORS
        self.needed += vectors
        self.groups += 1
        yield state.left, self.groups - 2
        yield state.ring.arrived, self.needed
        self.loader_free = vectors + max(
            self.loader_free, state.left.time(self.groups - 2),
            state.ring.arrived.time(self.needed))
        yield self.loader_free
        state.ring.take(vectors)

    def _group(self, number: int, work: Pass, group: int) -> Process:
        state, halves = self.state, self.config.halves
        strips = work.strips(self.config)
        branches = work.branches(group)
        refetch = work.work["walk"]["refetch"]
        for index, (steps, pixels) in enumerate(strips):
            first, last = refetch or index == 0, refetch or index == len(strips) - 1
            final = index == len(strips) - 1
            if first:
                place = self.needed
                self.needed += sum(map(work.tiles, branches)) * halves * self.config.tile_vectors
            for branch, half in product(branches, range(halves)):
                ends = final and group == work.groups - 1 and branch == branches[-1] \
                    and half == halves - 1
                tiles = work.tiles(branch)
                if not first and not last:
                    self._tiles(work, steps, tiles)
                else:
                    for tile in range(tiles):
                        place += self.config.tile_vectors
                        if ends and tile == tiles - 1:
                            self.events.at(self.loader_free + WALKED, state.walked.add)
                        yield from self._tile(number, steps, place if first else 0, last)
                # The last of them makes results.
                hand = self.stepper_free - steps
                yield hand
                if half == halves - 1:
                    state.batches.append(Batch(hand + self.to_results, steps, pixels, final))
                    state.batched.add()
                self.issued[half] += steps
                room = self.issued[half] - RESULT_DEPTH
                if room > 0:
                    yield state.gone, room
                    late = state.gone.time(room) + 1 - self.stepper_free
                    if late > 0:
                        state.layers[work.layer].results += late
                        self.stepper_free += late

    def _tiles(self, work: Pass, steps: int, tiles: int) -> None:
        """Tiles whose weights are there and stay there."""
        hand = max(self.stepper_free, self.loader_free + self.period - 1)
        hand += (tiles - 1) * max(steps, self.period)
        self.state.layers[work.layer].weights += hand - self.stepper_free - (tiles - 1) * steps
        self.loader_free, self.stepper_free = hand + 1, hand + steps

    def _tile(self, number: int, steps: int, wanted: int, release: bool) -> Process:
        """One tile, once `wanted` vectors of the stream have come into the ring."""
        state = self.state
        yield state.ring.arrived, wanted
        read = max(self.loader_free, state.ring.arrived.time(wanted))
        if release:
            yield read + self.config.tile_vectors
            state.ring.take(self.config.tile_vectors)
        hand = max(self.stepper_free, read + self.period - 1)
        if self.begin is None:
            hand = yield from self._begin(number, hand)
        else:
            state.layers[state.passes[number].layer].weights += hand - self.stepper_free
        self.loader_free, self.stepper_free = hand + 1, hand + steps

    def _begin(self, number: int, hand: float) -> Process:
        """The first tile of a pass; gives the time of its hand-over."""
        state, work = self.state, self.state.passes[number]
        layer = state.layers[work.layer]
        if work.chained:
            written = state.happened["writes"]
            yield written, number
            hand = max(hand, written.time(number) + CHAINED)
        waits = "order" if work.chained else {
            "": "weights", "loads": "loads", "gathers": "gather"}.get(work.waited, "order")
        setattr(layer, waits, getattr(layer, waits) + hand - self.stepper_free)
        if number == 0 or state.passes[number - 1].layer != work.layer:
            # The parameters of its first group are read already.
            there = state.ring.arrived.reached(self.stepper_free) - self.layer_start
            layer.weights_ahead = max(0, round(there))
        self.begin = hand
        return hand
