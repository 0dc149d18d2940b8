"""Pass `schedule`: bands, activation memory and the order of all steps.

Steps stand in the order of a plain sequential execution: the loads of a band, then its compute
instruction. `Hazards` adds the waits that let the engines overlap them. Which bands, and which maps
stay on chip, is found by a beam search over the layers with the timeline of `estimate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hw.config import Config

from .bands import Band, Banding, bandings
from .errors import UserError
from .estimate import Timeline, divide, is_single, pass_cycles, pass_results
from .hazards import Hazards, Runs, Waits, runs
from .layers import FeatureMap, Layer, Network
from .memory import Region, place

__all__ = ["ComputeStep", "GatherStep", "LoadStep", "Schedule", "schedule"]

BEAM = 6
"""Partial schedules that are followed at a time."""
MAX_RUN = (1 << 16) - 1


@dataclass(frozen=True)
class LoadStep:
    """Rows of all planes of the layer's input, to `target` in the activation memory."""

    layer: Layer
    rows: tuple[int, int]
    target: int
    stride: int
    waits: Waits


@dataclass(frozen=True)
class GatherStep:
    """Gathered windows of output rows `rows`; vector v of a window goes `stride` further."""

    layer: Layer
    rows: tuple[int, int]
    target: int
    stride: int
    waits: Waits


@dataclass(frozen=True)
class ComputeStep:
    """A CONV or FIRE of a band.

    `source` and `squeeze` are the addresses of pixel (0, 0) of plane 0 (they may lie outside the
    memory when only a band is there), with the strides of their planes; `target` is that of the
    output map if it stays on chip.
    """

    layer: Layer
    band: Band
    source: int
    source_stride: int
    squeeze: int
    squeeze_stride: int
    target: int | None
    waits: Waits


@dataclass
class Schedule:
    """`resident`: maps that stay on chip, with their address."""

    steps: list[LoadStep | GatherStep | ComputeStep]
    resident: dict[str, int]
    cycles: int


def schedule(network: Network, config: Config, rate: float = 1.0) -> Schedule:
    """`rate`: vectors a cycle from external memory. Raises UserError for a layer that does not fit.
    """
    last_use = {}
    for layer in network.layers:
        last_use[layer.source.map.name] = layer.index
    stays = _may_stay(network)
    beam = [_State(config, rate)]
    for layer in network.layers:
        following = []
        for state in beam:
            for keep in (False, True) if layer.output.map.name in stays else (False,):
                for banding in bandings(layer, state.fits(layer, keep)):
                    advanced = state.copy()
                    if advanced.run(layer, banding, keep, last_use):
                        following.append(advanced)
        if not following:
            raise _too_large(layer, config)
        beam = _best(following)
    best = min(beam, key=lambda state: state.timeline.end)
    return Schedule(best.steps, best.placed, best.timeline.end)


def _best(states: list[_State]) -> list[_State]:
    """The fastest states: first of all the fastest of those with the most room, whose next layer
    fits if it fits at all, then the fastest of every set of resident maps."""
    states.sort(key=lambda state: state.timeline.end)
    roomy = min(states, key=lambda state: state.occupied)
    seen = {frozenset(roomy.resident)}
    first, others = [roomy], []
    for state in states:
        key = frozenset(state.resident)
        if state is not roomy:
            (others if key in seen else first).append(state)
        seen.add(key)
    return (first + others)[:BEAM]


def _may_stay(network: Network) -> set[str]:
    """Maps that no one needs in external memory."""
    external = {output.place.map.name for output in network.outputs}
    external |= {layer.addition.operand.map.name for layer in network.layers if layer.addition}
    read = {layer.source.map.name for layer in network.layers}
    return {layer.output.map.name for layer in network.layers
            if layer.output.map.writers == 1 and not layer.average
            and layer.output.map.name in read} - external


def _too_large(layer: Layer, config: Config) -> UserError:
    what = "the rows that one band needs do"
    if layer.average:
        what = "a global average needs its layer in one band, and its input does"
    return UserError(f"layer '{layer.name}': {what} not fit the {config.act_vectors} vectors of "
                     "activation memory")


class _State:
    """A schedule of the first layers, and what the memory holds after them."""

    def __init__(self, config: Config, rate: float):
        self.config = config
        self.hazards = Hazards(config.act_vectors)
        self.timeline = Timeline(rate)
        self.steps: list = []
        self.resident: dict[str, Region] = {}
        self.placed: dict[str, int] = {}
        self.edges: list[int] = []

    def copy(self) -> _State:
        other = object.__new__(_State)
        other.config = self.config
        other.hazards, other.timeline = self.hazards.copy(), self.timeline.copy()
        other.steps, other.edges = self.steps.copy(), self.edges.copy()
        other.resident, other.placed = self.resident.copy(), self.placed.copy()
        return other

    @property
    def occupied(self) -> int:
        """Vectors of resident maps."""
        return sum(region.size for region in self.resident.values())

    def fits(self, layer: Layer, keep: bool) -> Callable[[Banding, int], bool]:
        """A quick test of sizes, before any placement; see `bandings`."""
        resident = self.resident.get(layer.source.map.name)
        width = layer.in_shape[2]

        def test(banding: Banding, copies: int) -> bool:
            copies = min(copies, len(banding.bands))
            squeeze = layer.squeeze.groups * banding.squeeze_rows * width if layer.squeeze else 0
            source = 0 if resident else \
                copies * banding.source_rows * width * _source_planes(layer)
            target = layer.output.map.vectors if keep else 0
            if keep and layer.squeeze and len(banding.bands) == 1:
                # The result may take the place of the input.
                freed = source or resident.size
                target = max(0, target - freed)
            return self.occupied + squeeze + source + target <= self.config.act_vectors

        return test

    def run(self, layer: Layer, banding: Banding, keep: bool, last_use: dict[str, int]) -> bool:
        """Append the layer's steps. False if some region finds no place."""
        width = layer.in_shape[2]
        source = self.resident.get(layer.source.map.name)
        dies = last_use[layer.source.map.name] == layer.index
        squeeze = None
        if layer.squeeze:
            rows = banding.squeeze_rows
            squeeze = self._allocate(layer.squeeze.groups * rows * width, list(
                self.resident.values()), lowest=True)
            if squeeze is None:
                return False
        target = None
        for band in banding.bands:
            live = list(self.resident.values())
            live += [region for region in (squeeze, target) if region]
            if source:
                origin, stride = self._resident_source(layer, source)
            else:
                count = (band.source[1] - band.source[0]) * width
                region = self._allocate(count * _source_planes(layer), live)
                if region is None:
                    return False
                live.append(region)
                origin, stride = region.start - band.source[0] * width, count
                self._fetch(layer, band, region.start, stride)
            if keep and target is None:
                if layer.squeeze and len(banding.bands) == 1:
                    # The squeeze has read its input before the first result comes.
                    live = [squeeze] + [region for name, region in self.resident.items()
                                        if not (dies and name == layer.source.map.name)]
                target = self._allocate(layer.output.map.vectors, live, highest=True)
                if target is None:
                    return False
            self._compute(layer, band, origin, stride,
                          self._squeeze_origin(band, banding, squeeze, width),
                          banding.squeeze_rows * width, target)
        if dies:
            self.resident.pop(layer.source.map.name, None)
        if target:
            self.resident[layer.output.map.name] = target
            self.placed[layer.output.map.name] = target.start
        return True

    def _allocate(self, size: int, live: list[Region], lowest: bool = False,
                  highest: bool = False) -> Region | None:
        """A free region: at an end, or where the timeline says that it is free first."""
        def ready(start: int) -> int:
            if lowest or highest:
                return 0
            return self.timeline.reached(Waits(
                reads=int(self.hazards.read[start:start + size].max()),
                writes=int(self.hazards.written[start:start + size].max())))

        region = place(size, live, self.edges, self.config.act_vectors,
                       lambda start: (ready(start), start if lowest else -start))
        if region:
            self.edges = [*self.edges[-8:], region.start, region.end]
        return region

    def _resident_source(self, layer: Layer, region: Region) -> tuple[int, int]:
        stride = layer.source.map.plane_vectors
        return region.start + layer.source.plane * stride, stride

    @staticmethod
    def _squeeze_origin(band: Band, banding: Banding, region: Region | None, width: int) -> int:
        if region is None:
            return 0
        return region.start - (0 if banding.kept else band.squeeze[0] * width)

    def _fetch(self, layer: Layer, band: Band, target: int, stride: int) -> None:
        """LOADs or a GATHER of a band's source rows."""
        width = layer.in_shape[2]
        first, end = band.source
        if layer.gather:
            window, shape = layer.gather, layer.source.map.shape
            waits = self.hazards.gather(runs(target, (end - first) * width, window.vectors, stride))
            image_rows = (end - first) * window.stride
            self.timeline.gather(waits, image_rows * layer.source.map.vectors // shape[1],
                                 (end - first) * width, window.kernel)
            self.steps.append(GatherStep(layer, (first, end), target, stride, waits))
            return
        source = layer.source.map
        for start, stop in _pieces(self.hazards, source, first, end, width):
            at = target + (start - first) * width
            where = runs(at, (stop - start) * width, _source_planes(layer), stride)
            waits = self.hazards.load(source.name, start, stop, where)
            self.timeline.load(waits, (stop - start) * width * _source_planes(layer))
            self.steps.append(LoadStep(layer, (start, stop), at, stride, waits))

    def _compute(self, layer: Layer, band: Band, source: int, stride: int, squeeze: int,
                 squeeze_stride: int, target: Region | None) -> None:
        width = layer.in_shape[2]
        hazards, output = self.hazards, layer.output.map
        waits = []
        source_planes = _source_planes(layer)
        source_runs = runs(source + band.source[0] * width,
                           (band.source[1] - band.source[0]) * width, source_planes, stride)
        if layer.squeeze:
            first, end = band.squeeze
            written = runs(squeeze + first * width, (end - first) * width, layer.squeeze.groups,
                           squeeze_stride)
            waits.append(hazards.compute(source_runs, written))
            first, end = layer.input_rows(*band.rows)
            source_runs = runs(squeeze + first * width, (end - first) * width,
                               layer.squeeze.groups, squeeze_stride)
        first, end = layer.output_rows(*band.rows)
        target_runs: Runs = []
        if target:
            row = output.shape[2]
            target_runs = runs(target.start + first * row, (end - first) * row, output.planes,
                               output.plane_vectors)
        waits.append(hazards.compute(source_runs, target_runs, chained=bool(layer.squeeze)))
        if layer.addition:
            rows = hazards.row_writes(layer.addition.operand.map.name, *band.rows)
            waits.append(Waits(writes=int(rows.max())))
        if not target:
            hazards.store(output.name, output.shape[1], first, end)
        joined = Hazards.join(waits)
        self._advance(layer, band, joined, target is None)
        self.steps.append(ComputeStep(layer, band, source, stride, squeeze, squeeze_stride,
                                      target.start if target else None, joined))

    def _advance(self, layer: Layer, band: Band, waits: Waits, external: bool) -> None:
        """The compute instruction on the timeline."""
        timeline, config = self.timeline, self.config
        timeline.weights(sum(branch.groups * branch.planes * branch.weights.shape[2] ** 2 * 16
                             for branch in layer.branches))
        start = timeline.instruction(waits)
        passes = []
        if layer.squeeze:
            pixels = (band.squeeze[1] - band.squeeze[0]) * layer.in_shape[2]
            passes.append(([layer.squeeze], pixels, False))
        passes.append((layer.main, (band.rows[1] - band.rows[0]) * layer.conv_shape[2], external))
        for index, (branches, pixels, leaves) in enumerate(passes):
            strips = divide(pixels, is_single(layer, branches[0] is layer.squeeze, config), config)
            _, cycles = pass_cycles(branches, strips, config)
            results = pass_results(layer, branches, config)
            per_group = results // sum(branch.groups for branch in branches)
            timeline.compute(start, cycles, results, pixels,
                             strips.longest * config.pixels * per_group, leaves, index > 0)


def _source_planes(layer: Layer) -> int:
    return (layer.squeeze or layer).planes


def _pieces(hazards: Hazards, source: FeatureMap, first: int, end: int,
            width: int) -> Iterator[tuple[int, int]]:
    """Row ranges of a load, cut where other passes wrote the rows so that early ones can go."""
    writes = hazards.row_writes(source.name, first, end)
    start = first
    for row in range(first + 1, end + 1):
        if row == end or writes[row - first] != writes[start - first] \
                or (row + 1 - start) * width > MAX_RUN:
            yield start, row
            start = row
