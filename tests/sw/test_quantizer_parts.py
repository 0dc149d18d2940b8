"""Single steps of the quantizer."""

import numpy as np
import pytest

from sw.errors import UserError
from sw.exact import add_constants
from sw.graph import Quant
from sw.quantizer import calibrate
from sw.quantizer.build import build
from sw.quantizer.equalise import equalise, scalable
from sw.quantizer.export import float_model
from sw.quantizer.load import load_raw
from sw.quantizer.network import Op
from sw.quantizer.rounding import Moments, round_weights
from sw.quantizer.scales import Scales
from sw.quantizer.simplify import simplify
from sw.quantizer.weights import quantize_conv, snapped_scale
from tests.float_models import FloatBuilder, fire_network

ort = pytest.importorskip("onnxruntime")


def network_of(builder, *outputs):
    network = build(load_raw(builder.model(*outputs)))
    simplify(network)
    return network


def run(model, image):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})


def images(count, shape=(3, 16, 16), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (1, *shape)).astype(np.float32) * (1 + number)
            for number in range(count)]


def test_simplified_and_equalised_networks_compute_the_same():
    builder = FloatBuilder(seed=1)
    x = builder.batch_norm(builder.conv("image", 8, relu=False))
    x = builder.pool(builder.node("Relu", [x]))
    x = builder.batch_norm(x)
    x = builder.node("Relu", [builder.concat([builder.conv(x, 6, relu=False),
                                              builder.conv(x, 10, 1)])])
    x = builder.conv(builder.conv(x, 8, group=4), 6, 1)
    out = builder.average(x)
    network = network_of(builder, out)
    assert {op.kind for op in network.ops} == {"Conv", "MaxPool", "Concat", "GlobalAveragePool"}
    image, = images(1)
    wanted, = run(builder.model(out), image)
    np.testing.assert_allclose(run(float_model(network), image)[0], wanted, rtol=1e-4, atol=1e-5)
    names = list(scalable(network))
    assert len(names) == 5  # all but the last convolution, which the mean reads
    magnitudes = calibrate.channel_magnitudes(float_model(network), names, images(3))
    def spread(magnitudes):
        return np.mean([np.log(each[each > 0]).std() for each in magnitudes.values()])

    equalise(network, magnitudes)
    np.testing.assert_allclose(run(float_model(network), image)[0], wanted, rtol=1e-4, atol=1e-5)
    after = calibrate.channel_magnitudes(float_model(network), names, images(3))
    assert spread(after) < 0.8 * spread(magnitudes)


def test_no_image_is_lost_between_chunks(monkeypatch):
    """Only the last image reaches the largest value."""
    builder = fire_network(2)
    network = network_of(builder, builder.out)
    names = Scales(network).asked
    source = images(5)
    whole = calibrate.tensor_ranges(float_model(network), names, source, network.shapes, 100)
    monkeypatch.setattr(calibrate, "_CHUNK", 1)
    single = calibrate.tensor_ranges(float_model(network), names, source, network.shapes, 100)
    for name in names:  # but for the width of a bin
        np.testing.assert_allclose(single[name], whole[name], rtol=2e-3, atol=1e-6)
    assert whole[names[0]][1] > calibrate.tensor_ranges(
        float_model(network), names, source[:4], network.shapes, 100)[names[0]][1]


def test_snapped_scales_are_exact_and_near():
    rng = np.random.default_rng(1)
    for _ in range(50):
        source, result = (np.float32(value) for value in rng.uniform(0.001, 10, 2))
        scale = rng.uniform(1e-5, 1e-1, 40)
        snapped = snapped_scale(scale, source, result)
        multiplier = np.float64((source * snapped) / result)
        mantissa = np.frexp(multiplier)[0] * 2**11
        exact = mantissa == np.rint(mantissa)
        assert exact.mean() > 0.9 and (np.abs(snapped / scale - 1) < 0.07).all()
        fixed = multiplier[exact & (multiplier >= 2.0**-9) & (multiplier < 2.0**-5)] * 2**16
        np.testing.assert_array_equal(fixed, np.rint(fixed))


def test_rounding_keeps_the_result():
    rng = np.random.default_rng(2)
    inputs = rng.normal(0, 1, (2000, 5)) @ rng.normal(0, 1, (5, 24)) \
        + rng.normal(0, 0.1, (2000, 24))
    weights, scale = rng.normal(0, 1, (8, 24)), np.full(8, 0.1)
    covariance = np.cov(inputs.T)
    moments = Moments(*[inputs.mean(axis=0)] * 2, covariance.diagonal(), covariance)

    def error(integers):
        return (((integers * 0.1 - weights) @ inputs.T)**2).mean()

    found, nearest = (round_weights(weights, scale, m, 127) for m in (moments, None))
    assert np.abs(found).max() <= 127 and (found == np.rint(found)).all()
    assert error(found) < 0.3 * error(nearest)


@pytest.mark.parametrize("width", [20, 22, 24])
def test_sums_fit_the_accumulator(width):
    rng = np.random.default_rng(3)
    op = Op("Conv", "c", ["x"], "y", {"strides": (1, 1), "pads": (0,) * 4, "group": 1},
            np.abs(rng.normal(1, 0.1, (6, 600, 1, 1))), rng.normal(0, 1000, 6))
    conv = quantize_conv(op, Quant(np.float32(0.1), 3, False), Quant(np.float32(5), 0, False),
                         width)
    weights = conv.weights.astype(np.int64).reshape(6, -1)
    bias = conv.bias - 3 * weights.sum(axis=1)
    high = 255 * weights.clip(0).sum(axis=1)
    assert (np.maximum(high, high + bias) < 1 << (width - 1)).all()
    real = weights * np.float64(conv.scale)[:, None]
    assert np.abs(real.sum(axis=1) / op.weights.sum(axis=(1, 2, 3)) - 1).max() < 0.1


def test_scales_of_an_add_are_moved_off_ties(monkeypatch):
    builder = FloatBuilder(seed=4)
    x = builder.conv("image", 4)
    y = builder.conv(x, 4)
    total = builder.node("Add", [x, y])
    network = network_of(builder, builder.average(builder.conv(total, 4)))
    scales = Scales(network)
    tensors = [op.output for op in network.ops]
    ranges = dict.fromkeys(tensors, (0.0, 255.0)) | {"image": (-1.0, 1.0)}
    ranges |= {tensors[0]: (0.0, 5 * 255.0), tensors[2]: (0.0, 6 * 255.0)}

    def refuses(sa, za, sb, zb, sc, zc):
        """In place of the search, which takes seconds to find that 5/6 cannot be."""
        if sc == 6:
            raise UserError("ties")

    monkeypatch.setattr("sw.quantizer.scales.add_constants", refuses)
    scales.set_ranges(ranges)
    quants = [scales.quants[name] for name in tensors[:3]]
    assert float(quants[0].scale) == 5 and 6 < quants[2].scale < 6.2
    add_constants(*(part for quant in quants for part in (quant.scale, quant.zero_point)))


def test_a_range_of_nothing_has_a_scale():
    builder = FloatBuilder(seed=5)
    network = network_of(builder, builder.average(builder.conv("image", 4)))
    scales = Scales(network)
    scales.set_ranges(dict.fromkeys(scales.asked, (0.0, 0.0)))
    assert all(quant.scale == 1 and quant.zero_point == 0 for quant in scales.quants.values())
