"""The weight stream against loops that spell out the order of `hw.isa.Walk`."""

import numpy as np
import pytest

from hw.config import Config
from hw.isa import RECORD_VECTORS, Record
from sw.assembler import decode
from sw.importer import import_proto
from sw.lower import lower
from sw.weights import (
    is_refetched,
    layer_stream,
    main_stream,
    parameter_blocks,
    squeeze_stream,
    tiles,
    weight_runs,
)
from tests.models import ModelBuilder


@pytest.mark.parametrize("co_lanes", (8, 16))
@pytest.mark.parametrize("shape", ((16, 16, 1), (20, 33, 3), (7, 3, 2), (48, 16, 5)))
def test_tiles(co_lanes, shape):
    co, ci, kernel = shape
    weights = np.random.default_rng(co).integers(-128, 128, (co, ci, kernel, kernel), np.int8)
    expected = []
    for group in range(-(-co // 16)):
        for half in range(16 // co_lanes):
            for ky in range(kernel):
                for kx in range(kernel):
                    for plane in range(-(-ci // 16)):
                        for c in range(16):
                            for lane in range(co_lanes):
                                o, i = group * 16 + half * co_lanes + lane, plane * 16 + c
                                inside = o < co and i < ci
                                expected.append(weights[o, i, ky, kx] if inside else 0)
    packed = tiles(weights, co_lanes)
    assert packed.shape[0] == -(-co // 16) and packed.shape[2] == 16
    np.testing.assert_array_equal(packed.reshape(-1).view(np.int8), expected)


def test_parameter_blocks_are_records():
    rng = np.random.default_rng(1)
    bias = rng.integers(-(1 << 31) + 1, 1 << 31, 19)
    mantissa, shift = rng.integers(0, 1 << 24, 19), rng.integers(0, 32, 19)
    blocks = parameter_blocks(bias, mantissa, shift)
    assert blocks.shape == (2, RECORD_VECTORS, 16)
    data = blocks.tobytes()
    for channel in range(32):
        record = decode(Record, int.from_bytes(data[8 * channel:8 * channel + 8], "little"))
        present = channel < 19
        assert record == {
            "bias": int(bias[channel]) & 0xFFFF_FFFF if present else 0,
            "mantissa": int(mantissa[channel]) if present else 0,
            "shift": int(shift[channel]) if present else 0, "reserved": 0}


@pytest.mark.parametrize(("bias", "mantissa", "shift", "field"), [
    (1 << 31, 1, 1, "bias"), (0, 1 << 24, 1, "mantissa"), (0, 1, 32, "shift"), (0, -1, 1,
                                                                             "mantissa")])
def test_parameter_blocks_refuse(bias, mantissa, shift, field):
    with pytest.raises(ValueError, match=field):
        parameter_blocks(*(np.array([value]) for value in (bias, mantissa, shift)))


def fire(shared=False, squeeze=16):
    builder = ModelBuilder((3, 9, 9), 4)
    x = builder.conv(builder.input(), 16, 3)
    x = builder.fire(x, squeeze, 32, shared)
    return lower(import_proto(builder.model(x)))


def test_fire_stream():
    """Squeeze, rescale parameters of both branches, then per group: parameters, tiles."""
    layer = fire().layers[1]
    config = Config()
    squeeze, main = squeeze_stream(layer, config), main_stream(layer, config)
    np.testing.assert_array_equal(layer_stream(layer, config), np.concatenate([squeeze, main]))
    assert len(squeeze) == 8 + 16
    assert layer.rescale_zero is not None and len(main) == 2 * 8 + 2 * (2 * 8 + 16 + 9 * 16)
    a = parameter_blocks(layer.a.bias, layer.a.mantissa, layer.a.shift)
    group = main[16 + (16 + 160):]
    np.testing.assert_array_equal(group[:8], a[1])
    np.testing.assert_array_equal(group[16:32], tiles(layer.a.weights, 16)[1])
    np.testing.assert_array_equal(group[32:], tiles(layer.b.weights, 16)[1])
    assert len(main_stream(fire(shared=True).layers[1], config)) == len(main) - 16


def test_runs_of_a_group_within_the_ring():
    layer, config = fire().layers[1], Config()
    assert not is_refetched(layer.main, config)
    assert weight_runs(layer, config, 3, 5) == [(0, len(layer_stream(layer, config)))]


def test_runs_of_a_group_beyond_the_ring():
    """The tiles come once for every strip, parameters once; neighbours are one run."""
    layer, config = fire(squeeze=64).layers[1], Config(weight_vectors=512)
    assert is_refetched(layer.main, config) and not is_refetched([layer.squeeze], config)
    stream = layer_stream(layer, config)
    squeeze = len(squeeze_stream(layer, config))
    tiles, parameters = 4 * (1 + 9) * 16, 2 * 8
    first = squeeze + 2 * 8 + parameters
    second = first + tiles + parameters
    assert second + tiles == len(stream)
    assert weight_runs(layer, config, 7, 1) == [(0, len(stream))]
    assert weight_runs(layer, config, 7, 3) == [
        (0, first + tiles), (first, tiles), (first, tiles + parameters + tiles),
        (second, tiles), (second, tiles)]
