"""Bands, strips, places and waits."""

import numpy as np
import pytest

from hw.config import Config
from hw.tile_loader import TileLoader
from sw.bands import bandings
from sw.errors import UserError
from sw.estimate import divide, is_single, pass_cycles, tile_cycles
from sw.hazards import Hazards, Waits, runs
from sw.importer import import_proto
from sw.layers import FeatureMap, Layer
from sw.lower import lower
from sw.memory import Region, external_addresses, place
from sw.schedule import ComputeStep, GatherStep, LoadStep, schedule
from tests.models import ModelBuilder, small_squeezenet


@pytest.fixture(scope="module")
def network():
    return lower(import_proto(small_squeezenet(1, shape=(3, 61, 47)).model("scores")))


SIZES = (512, 768, 1024, 4096)


@pytest.mark.parametrize("size", SIZES)
def test_every_row_once(network, size):
    """Conv rows, pooled rows and (where the map is kept) squeeze rows are computed once."""
    plan = schedule(network, Config(act_vectors=size))
    for layer in network.layers:
        bands = [step.band for step in plan.steps
                 if isinstance(step, ComputeStep) and step.layer is layer]
        rows = [band.rows for band in bands]
        assert [first for first, _ in rows] == [0, *(end for _, end in rows[:-1])]
        assert rows[-1][1] == layer.conv_rows
        outputs = [layer.output_rows(*band.rows) for band in bands]
        assert all(first < end for first, end in outputs)
        assert outputs[-1][1] == layer.out_rows
        for band in bands:
            needed = layer.input_rows(*band.rows)
            if band.squeeze is None:
                assert band.source[0] <= needed[0] and needed[1] <= band.source[1]
            else:
                assert band.source == band.squeeze and band.squeeze[1] >= needed[1]


@pytest.mark.parametrize("size", SIZES)
def test_steps_stay_inside_the_memory(network, size):
    plan = schedule(network, Config(act_vectors=size))
    for step in plan.steps:
        width = step.layer.in_shape[2]
        if isinstance(step, GatherStep):
            planes = step.layer.gather.vectors
        elif isinstance(step, LoadStep):
            planes = (step.layer.squeeze or step.layer).planes
        else:
            continue
        rows = step.rows[1] - step.rows[0]
        assert step.target >= 0 and rows * width <= step.stride
        assert step.target + (planes - 1) * step.stride + rows * width <= size


def test_large_memory_keeps_maps(network):
    plan = schedule(network, Config(act_vectors=16384))
    assert len(plan.resident) == 3
    assert not any(isinstance(step, LoadStep) for step in plan.steps)
    small = schedule(network, Config(act_vectors=512))
    assert len(small.steps) > len(plan.steps)
    assert small.cycles > plan.cycles


def test_slow_memory_costs_cycles(network):
    config = Config(act_vectors=512)
    assert schedule(network, config, 0.1).cycles > schedule(network, config, 1.0).cycles


@pytest.mark.parametrize("size", SIZES)
def test_batch_repeats_the_bands(network, size):
    """All images have the bands of the first; their steps stay inside the memory."""
    plan = schedule(network, Config(act_vectors=size), batch=4)
    parts = [[step for step in plan.steps if step.image == image] for image in range(4)]
    assert plan.steps == sum(parts, [])
    shapes = [[(type(step), step.layer, getattr(step, "rows", None) or step.band)
               for step in part] for part in parts]
    assert shapes[0] == shapes[1] == shapes[2] == shapes[3]
    for step in plan.steps:
        if isinstance(step, GatherStep):
            end = step.target + (step.layer.gather.vectors - 1) * step.stride \
                + (step.rows[1] - step.rows[0]) * step.layer.in_shape[2]
            assert step.target >= 0 and end <= size
    assert plan.cycles < 4 * schedule(network, Config(act_vectors=size)).cycles


def test_the_next_image_is_gathered_beside_the_last_layers(network):
    """With room to spare its first rows need not wait for the last pass of the image before."""
    plan = schedule(network, Config(act_vectors=4096), batch=2)
    passes = sum(1 + (step.layer.squeeze is not None) for step in plan.steps
                 if isinstance(step, ComputeStep)) // 2
    first = next(step for step in plan.steps if step.image == 1)
    assert isinstance(first, GatherStep)
    assert max(first.waits.reads, first.waits.writes) < passes


def test_same_schedule_every_time(network):
    config = Config(act_vectors=768)
    first, second = (schedule(network, config) for _ in range(2))
    assert first.steps == second.steps and first.resident == second.resident


def test_refuses_a_layer_that_does_not_fit():
    builder = ModelBuilder((64, 40, 40), 1)
    network = lower(import_proto(builder.model(builder.conv(builder.input(), 16, 3))))
    with pytest.raises(UserError, match="layer 'conv1_Conv': .* not fit the 256 vectors"):
        schedule(network, Config(act_vectors=256))
    assert schedule(network, Config(act_vectors=512)).steps


def test_refuses_an_average_over_bands():
    builder = ModelBuilder((16, 20, 20), 1)
    x = builder.average(builder.conv(builder.input(), 16, 1))
    network = lower(import_proto(builder.model(x)))
    with pytest.raises(UserError, match="global average needs its layer in one band"):
        schedule(network, Config(act_vectors=256))


def test_squeeze_rows_are_recomputed_only_without_room(network):
    fire = network.layers[1]
    kept = list(bandings(fire, lambda banding, copies: banding.kept))
    assert kept and all(banding.kept for banding in kept)
    for banding in bandings(fire, lambda banding, copies: not banding.kept):
        assert banding.squeeze_rows == max(
            band.squeeze[1] - band.squeeze[0] for band in banding.bands)
        for before, after in zip(banding.bands, banding.bands[1:], strict=False):
            # Two rows of halo for a 3x3 window.
            assert after.squeeze[0] == before.squeeze[1] - 2


# Strips

@pytest.mark.parametrize("pixels", (1, 2, 4))
@pytest.mark.parametrize("strip_steps", (32, 64))
def test_strips(pixels, strip_steps):
    config = Config(pixels=pixels, strip_steps=strip_steps)
    for count in (1, 2, 31, 32, 33, 63, 64, 65, 169, 729, 3025):
        for single in (False, True):
            strips = divide(count, single, config)
            steps = -(-count // (1 if single else pixels))
            assert strips.total == steps
            assert strips.count == -(-steps // strip_steps)
            assert strips.longest <= strip_steps and strips.steps >= min(steps, strip_steps // 2)


@pytest.mark.parametrize("co_lanes", (8, 16))
@pytest.mark.parametrize("table_rows", (0, 1, 4, 7, 8, 16))
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_tile_cycles(co_lanes, table_rows):
    """What the tile loader says of itself."""
    config = Config(co_lanes=co_lanes, table_rows=table_rows)
    loader = TileLoader(config)
    assert tile_cycles(config) == config.tile_vectors + 1 + loader.settle


def test_pass_cycles(network):
    """16 MACs a lane and cycle but for the channels that are padded."""
    fire, config = network.layers[1], Config()
    strips = divide(200, False, config)
    ideal, slow = pass_cycles(fire.main, strips, config)
    assert ideal == slow == 200 * (1 + 9)
    assert pass_cycles(fire.main, divide(10, False, config), config) == (100, 10 * 17)
    assert pass_cycles(fire.main, strips, Config(co_lanes=8))[0] == 2 * ideal


@pytest.mark.parametrize("kernel, pad", ((1, 0), (1, 1), (3, 0), (3, 1)))
@pytest.mark.parametrize("pixels", (1, 2, 4))
def test_single(network, pixels, kernel, pad):
    """Against the addresses of all steps, one by one, at every tap."""
    config = Config(pixels=pixels)
    found = set()
    for stride in (1, 2):
        for width in range(kernel, 10):
            out_width = (width + 2 * pad - kernel) // stride + 1
            layer = _window_layer(network, width, out_width, kernel, stride, pad)
            for rows in ((0, layer.conv_rows), (1, layer.conv_rows), (0, 1)):
                if rows[0] < rows[1]:
                    clash = _clash(layer, rows, pixels)
                    assert is_single(layer, rows, config) == clash, (stride, width, rows)
                    found.add(clash)
    assert found == ({False} if pixels == 1 else {False, True})


def _clash(layer: Layer, rows: tuple[int, int], pixels: int) -> bool:
    height, width = layer.in_shape[1:]
    raster = [(y, x) for y in range(*rows) for x in range(layer.conv_shape[2])]
    for start in range(0, len(raster), pixels):
        for tap in np.ndindex(layer.kernel, layer.kernel):
            read = [(y * layer.stride - layer.pad_top + tap[0],
                     x * layer.stride - layer.pad_left + tap[1])
                    for y, x in raster[start:start + pixels]]
            banks = [(y * width + x) % pixels for y, x in read
                     if 0 <= y < height and 0 <= x < width]
            if len(set(banks)) < len(banks):
                return True
    return False


def _window_layer(network, width, out_width, kernel, stride, pad) -> Layer:
    base = network.layers[-1]
    height = 5
    out_height = (height + 2 * pad - kernel) // stride + 1
    return Layer(0, "window", base.source, 0, (16, height, width), (16, out_height, out_width),
                 kernel, stride, pad, pad, None, base.b, "t")


# Places

def test_place():
    live = [Region(10, 20), Region(50, 10)]
    assert place(10, live, [], 64, lambda start: start).start == 0
    assert place(15, live, [], 64, lambda start: -start).start == 35
    assert place(20, live, [], 64, lambda start: start) == Region(30, 20)
    assert place(21, live, [], 64, lambda start: start) is None
    assert place(64, [], [], 64, lambda start: start) == Region(0, 64)
    assert place(65, [], [], 64, lambda start: start) is None


def test_external_addresses():
    rng = np.random.default_rng(1)
    lifetimes = []
    for index in range(40):
        first = int(rng.integers(0, 20))
        lifetimes.append((FeatureMap(str(index), (16, int(rng.integers(1, 60)), 20)), first,
                          first + int(rng.integers(0, 6))))
    addresses, end = external_addresses(lifetimes, 1000)
    assert end < 1000 + sum(each.vectors + 256 for each, _, _ in lifetimes) / 2
    for i, (a, first_a, last_a) in enumerate(lifetimes):
        assert 1000 <= addresses[a.name] <= end - a.vectors
        for b, first_b, last_b in lifetimes[:i]:
            if first_a <= last_b and first_b <= last_a:
                apart = (addresses[a.name] + a.vectors <= addresses[b.name]
                         or addresses[b.name] + b.vectors <= addresses[a.name])
                assert apart


# Waits

def test_runs():
    assert runs(5, 4, 3, 4) == [slice(5, 17)]
    assert runs(5, 4, 2, 10) == [slice(5, 9), slice(15, 19)]


def test_waits():
    hazards = Hazards(100)
    region = [slice(0, 50)]
    assert hazards.load("x", 0, 4, region) == Waits()
    # A pass waits for its load; the next load of the region for the pass.
    assert hazards.compute(region, [slice(60, 80)]) == Waits(loads=1)
    assert hazards.load("x", 0, 4, region) == Waits(reads=1)
    # Reading what a pass wrote, and loading over it.
    assert hazards.compute([slice(70, 71)], []) == Waits(writes=1)
    assert hazards.load("x", 0, 4, [slice(75, 90)]) == Waits(writes=1)
    assert hazards.load("x", 0, 4, [slice(70, 90)]) == Waits(reads=2, writes=1)
    # Writing over what was loaded; gathers are of their own.
    assert hazards.compute([slice(0, 1)], [slice(89, 95)]) == Waits(loads=4)
    assert hazards.gather([slice(0, 5)]) == Waits(loads=2, reads=3)
    assert hazards.compute([slice(0, 5)], []) == Waits(loads=2, gathers=1)


def test_waits_for_external_rows():
    hazards = Hazards(100)
    hazards.compute([], [])
    hazards.store("y", 8, 0, 3)
    hazards.compute([], [])
    hazards.store("y", 8, 3, 8)
    assert hazards.load("y", 0, 3, [slice(0, 5)]) == Waits(writes=1)
    assert hazards.load("y", 2, 4, [slice(5, 9)]) == Waits(writes=2)
    assert list(hazards.row_writes("y", 0, 8)) == [1, 1, 1, 2, 2, 2, 2, 2]
    copy = hazards.copy()
    copy.compute([], [])
    copy.store("y", 8, 0, 8)
    assert hazards.passes == 2 and hazards.row_writes("y", 0, 1)[0] == 1


def test_resident_place(network):
    """A layer that reads a map on chip does so at the map's own place."""
    plan = schedule(network, Config(act_vectors=16384))
    for step in plan.steps:
        if isinstance(step, ComputeStep) and step.layer.source.map.name in plan.resident:
            assert step.source == plan.resident[step.layer.source.map.name]
            assert step.source_stride == step.layer.source.map.plane_vectors
