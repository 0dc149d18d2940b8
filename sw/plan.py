"""A schedule in the making: steps, places in the activation memory, and the timeline so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hw.config import Config
from hw.isa import COUNT

from .bands import Band, Banding
from .choices import Weighed
from .estimate import Timeline, pass_cycles, pass_results, pass_strips
from .hazards import Hazards, Runs, Waits, runs
from .layers import FeatureMap, Layer
from .memory import Region, place
from .steps import ComputeStep, GatherStep, LoadStep, Schedule
from .weights import instruction_runs, weight_runs

__all__ = ["Plan"]

MARGIN = 250
"""Cycles that a fetch should be earlier than it must."""
MAX_RUN = (1 << 16) - 1
MAX_EVENTS = (1 << COUNT) - 1
"""Events of a kind that the counters of the dispatcher tell apart."""
MAX_INSTRUCTIONS = 1 << 16
"""Instructions that the core's error register tells apart."""


class Plan:
    """A schedule of the first layers, and what the memory holds after them."""

    def __init__(self, config: Config, rate: float):
        self.config = config
        self.hazards = Hazards(config.act_vectors)
        self.timeline = Timeline(rate)
        self.steps: list = []
        self.resident: dict[str, Region] = {}
        self.placed: dict[str, int] = {}
        self.edges: list[int] = []
        self.image = 0
        self.choices: list[tuple[Layer, Banding, bool]] = []
        self.regions: list[Region] = []
        self.given: Iterator[Region] | None = None

    def copy(self) -> Plan:
        other = object.__new__(Plan)
        other.config = self.config
        other.hazards, other.timeline = self.hazards.copy(), self.timeline.copy()
        other.steps, other.edges = self.steps.copy(), self.edges.copy()
        other.resident, other.placed = self.resident.copy(), self.placed.copy()
        other.image, other.given = self.image, self.given
        other.choices, other.regions = self.choices.copy(), self.regions.copy()
        return other

    def largest_batch(self) -> tuple[int, str]:
        """How many images like the first a program can hold, and why not more."""
        counts = {"loads": (self.hazards.loads, MAX_EVENTS),
                  "gathers": (self.hazards.gathers, MAX_EVENTS),
                  "passes": (self.hazards.passes, MAX_EVENTS),
                  # WEIGHTS of every compute instruction, and END.
                  "instructions": (len(self.steps) + sum(
                      len(instruction_runs(step.layer, step.band, self.config))
                      for step in self.steps if isinstance(step, ComputeStep)),
                                   MAX_INSTRUCTIONS - 1)}
        return min((limit // count, f"an image takes {count} {name} and a program holds {limit}")
                   for name, (count, limit) in counts.items() if count)

    def more_images(self, count: int, last_use: dict[str, int]) -> None:
        """Append images with the bands of the first. The second is placed anew, around what the
        first leaves behind, and those that follow like it."""
        for _ in range(count):
            anew = self.copy() if self.image == 0 else None
            if anew and anew._next_image(last_use, None):
                self.__dict__.update(anew.__dict__)
            else:
                self._next_image(last_use, self.regions)

    def schedule(self, batch: int, last_use: dict[str, int]) -> Schedule:
        """With as many images as asked for."""
        state = self.copy()
        state.more_images(batch - 1, last_use)
        return Schedule(state.steps, state.placed, state.timeline.end)

    def _next_image(self, last_use: dict[str, int], regions: Iterable[Region] | None) -> bool:
        """`regions`: places to take, one after the other. False if one finds no place."""
        self.image += 1
        choices, self.choices, self.regions = self.choices, [], []
        self.given = iter(regions) if regions else None
        return all(self.run(*choice, last_use) for choice in choices)

    @property
    def occupied(self) -> int:
        """Vectors of resident maps."""
        return sum(region.size for region in self.resident.values())

    def fits(self, layer: Layer, keep: bool,
             weighed: Weighed) -> Callable[[Banding, int], bool]:
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
            needs = self.occupied + squeeze + source + target
            if needs > self.config.act_vectors and copies == 1:
                weighed.refused(layer, banding, keep, needs)
            return needs <= self.config.act_vectors

        return test

    def run(self, layer: Layer, banding: Banding, keep: bool, last_use: dict[str, int]) -> bool:
        """Append the layer's steps. False if some region finds no place."""
        self.choices.append((layer, banding, keep))
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
                region = self._allocate(count * _source_planes(layer), live,
                                        self._latest_fetch(layer, band))
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
            self.placed.setdefault(layer.output.map.name, target.start)
        return True

    def _allocate(self, size: int, live: list[Region], unhurried: int = 0, lowest: bool = False,
                  highest: bool = False) -> Region | None:
        """A free region: at an end of the memory; else one that the timeline says is free by
        `unhurried`, or first, as near to an end as can be."""
        memory = self.config.act_vectors

        def cost(start: int) -> tuple[int, int]:
            if lowest or highest:
                return (0, start if lowest else -start)
            ready = self.timeline.reached(Waits(
                reads=int(self.hazards.read[start:start + size].max()),
                writes=int(self.hazards.written[start:start + size].max())))
            return (max(ready, unhurried), min(start, memory - size - start))

        region = next(self.given) if self.given else place(size, live, self.edges, memory, cost)
        if region:
            self.regions.append(region)
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

    def _latest_fetch(self, layer: Layer, band: Band) -> int:
        """When a fetch of the band's source must begin that no one waits for, or can begin."""
        timeline = self.timeline
        if layer.gather:
            free, cycles = timeline.gather_done[-1], timeline.gather_cycles(*_gathered(layer, band))
        else:
            vectors = (band.source[1] - band.source[0]) * layer.in_shape[2] * _source_planes(layer)
            free, cycles = timeline.load_done[-1], timeline.load_cycles(vectors)
        return max(free, timeline.dispatched, timeline.read_done[-1] - cycles - MARGIN)

    def _fetch(self, layer: Layer, band: Band, target: int, stride: int) -> None:
        """LOADs or a GATHER of a band's source rows."""
        width = layer.in_shape[2]
        first, end = band.source
        if layer.gather:
            waits = self.hazards.gather(
                runs(target, (end - first) * width, layer.gather.vectors, stride))
            self.timeline.gather(waits, *_gathered(layer, band))
            self.steps.append(GatherStep(layer, (first, end), target, stride, waits, self.image))
            return
        source = layer.source.map
        for start, stop in _pieces(self.hazards, source, first, end, width):
            at = target + (start - first) * width
            where = runs(at, (stop - start) * width, _source_planes(layer), stride)
            waits = self.hazards.load(source.name, start, stop, where)
            self.timeline.load(waits, (stop - start) * width * _source_planes(layer))
            self.steps.append(LoadStep(layer, (start, stop), at, stride, waits, self.image))

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
                                      target.start if target else None, joined, self.image))

    def _advance(self, layer: Layer, band: Band, waits: Waits, external: bool) -> None:
        """The compute instruction on the timeline."""
        timeline, config = self.timeline, self.config
        divisions = pass_strips(layer, band, config)
        timeline.weights(sum(count for _, count in weight_runs(
            layer, config, *(strips.count for strips in divisions))))
        start = timeline.instruction(waits)
        passes = []
        if layer.squeeze:
            pixels = (band.squeeze[1] - band.squeeze[0]) * layer.in_shape[2]
            passes.append(([layer.squeeze], pixels, 0))
        passes.append((layer.main, (band.rows[1] - band.rows[0]) * layer.conv_shape[2],
                       _stored(layer, band) if external else 0))
        for index, ((branches, pixels, stored), strips) in enumerate(
                zip(passes, divisions, strict=True)):
            _, cycles = pass_cycles(branches, strips, config)
            results = pass_results(layer, branches, config)
            per_group = results // sum(branch.groups for branch in branches)
            timeline.compute(start, cycles, results, pixels,
                             strips.longest * config.pixels * per_group, stored, index > 0)


def _source_planes(layer: Layer) -> int:
    return (layer.squeeze or layer).planes


def _stored(layer: Layer, band: Band) -> int:
    """Vectors of the output map that a band makes."""
    first, end = layer.output_rows(*band.rows)
    row = layer.output.map.plane_vectors // layer.output.map.shape[1]
    return (end - first) * row * sum(branch.groups for branch in layer.main)


def _gathered(layer: Layer, band: Band) -> tuple[int, int, int]:
    """Image vectors, windows and kernel of a band's GATHER."""
    rows, source = band.source[1] - band.source[0], layer.source.map
    return (rows * layer.gather.stride * source.vectors // source.shape[1],
            rows * layer.in_shape[2], layer.gather.kernel)


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
