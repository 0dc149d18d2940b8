"""Constants and the model of a lane against float32 and ONNX Runtime itself."""

from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from hw.isa import CORRECTIONS, POINT
from sw.errors import UserError
from sw.exact import (
    add_array,
    add_constants,
    add_table,
    requantise_array,
    rescale_record,
    rescale_table,
    scale_record,
)

BYTES = np.arange(256)


def run_node(operator, inputs, constants, count, **attributes):
    """A com.microsoft node on uint8 vectors; ``constants`` are (name, scale or zero point)."""
    initial = [helper.make_tensor(name, TensorProto.FLOAT if name[0] == "s" else TensorProto.UINT8,
                                  [], [value]) for name, value in constants.items()]
    order = ("sy", "zy", "a", "sa", "za") if operator == "QLinearConcat" else (
        "a", "sa", "za", "b", "sb", "zb", "sy", "zy")
    graph = helper.make_graph(
        [helper.make_node(operator, order, ["y"], domain="com.microsoft", **attributes)], "g",
        [helper.make_tensor_value_info(n, TensorProto.UINT8, v.shape) for n, v in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [count])], initial)
    model = helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, inputs)[0]


def onnxruntime_add(sa, za, sb, zb, sc, zc):
    a, b = np.indices((256, 256)).astype(np.uint8).reshape(2, -1)
    inputs = {"a": a, "b": b}
    constants = dict(sa=float(sa), za=int(za), sb=float(sb), zb=int(zb), sy=float(sc), zy=int(zc))
    return run_node("QLinearAdd", inputs, constants, 65536).reshape(256, 256)


def onnxruntime_rescale(sx, zx, sy, zy):
    constants = dict(sa=float(sx), za=int(zx), sy=float(sy), zy=int(zy))
    return run_node("QLinearConcat", {"a": BYTES.astype(np.uint8)}, constants, 256, axis=0)


def add_scales(seed, count):
    """Scale sets as calibration gives them: the output's between the larger input's and the sum."""
    rng = np.random.default_rng(seed)
    for n in range(count):
        sa, sb = np.exp(rng.normal(-3, 1, 2)).astype(np.float32)
        sc = np.float32(max(sa, sb) + rng.random() * min(sa, sb))
        za, zb, zc = (int(z) for z in rng.integers(0, 256, 3)) if n % 2 else (0, 0, 0)
        yield sa, za, sb, zb, sc, zc


def test_lane_model_is_float32():
    rng = np.random.default_rng(1)
    x = rng.integers(-(1 << 24) + 1, 1 << 24, 200_000) >> rng.integers(0, 24, 200_000)
    mantissa = rng.integers(1 << 23, 1 << 24, 200_000)
    shift = rng.integers(0, 32, 200_000)
    zero, low = rng.integers(0, 256, (2, 200_000))
    scale = mantissa.astype(np.float32) * np.exp2(shift - POINT).astype(np.float32)
    expected = np.clip(np.rint(x.astype(np.float32) * scale) + zero, low, 255)
    assert np.array_equal(requantise_array(x, mantissa, shift, zero, low), expected)


def test_lane_model_near_ties():
    # Products within a few units of the 24th bit of n + 1/2, above and below.
    rng = np.random.default_rng(2)
    x = rng.integers(1 << 12, 1 << 24, 100_000)
    half = rng.integers(0, 1 << rng.integers(0, 10, 100_000)) + 0.5
    scale = (half / x * (1 + rng.integers(-3, 4, 100_000) * 2.0**-24)).astype(np.float32)
    records = [scale_record(s) for s in scale]
    mantissa, shift = np.array(records).T
    value = x.astype(np.float32) * scale
    assert np.count_nonzero(value % 1 == 0.5) > 10_000
    assert np.array_equal(requantise_array(x, mantissa, shift), np.clip(np.rint(value), 0, 255))
    assert np.array_equal(requantise_array(-x, mantissa, shift, 255),
                          np.clip(255 - np.rint(value), 0, 255))


def test_lane_model_saturates():
    wide = np.array([1 << 32, (1 << 33) - 1, 1 << 24])
    assert np.array_equal(requantise_array(wide, 1 << 23, 31, 7), [255] * 3)
    assert np.array_equal(requantise_array(-wide, 1 << 23, 31, 255, 9), [9] * 3)


def test_scale_record_is_exact():
    rng = np.random.default_rng(3)
    scales = np.exp2(rng.uniform(-25, 7, 1000)).astype(np.float32)
    for scale in [*scales, np.float32(2**-25), np.nextafter(np.float32(128), np.float32(0))]:
        mantissa, shift = scale_record(scale)
        assert 1 << 23 <= mantissa < 1 << 24 and 0 <= shift < 32
        assert Fraction(mantissa) * Fraction(2)**(shift - POINT) == Fraction(float(scale))


def test_small_scales_give_the_zero_point():
    largest = np.nextafter(np.float32(2**-25), np.float32(0))
    assert scale_record(largest) == scale_record(0.0) == scale_record(1e-40) == (0, 0)
    assert np.rint(np.float32((1 << 24) - 1) * largest) == 0


@pytest.mark.parametrize("scale", [128.0, -0.5, float("nan"), float("inf")])
def test_scale_record_refuses(scale):
    with pytest.raises(UserError, match="layer 3.*supported"):
        scale_record(scale, "layer 3")


def test_rescale_is_onnxruntime():
    rng = np.random.default_rng(4)
    for n in range(40):
        sx = np.float32(np.exp(rng.normal(-3, 1)))
        sy = np.float32(sx * np.exp(rng.normal(0.3, 0.4)))
        zx, zy = (int(z) for z in rng.integers(0, 256, 2)) if n % 2 else (0, 0)
        expected = onnxruntime_rescale(sx, zx, sy, zy)
        assert np.array_equal(rescale_table(sx, zx, sy, zy), expected)
        bias, mantissa, shift = rescale_record(sx, zx, sy, zy, expected)
        assert np.array_equal(requantise_array(BYTES + bias, mantissa, shift, zy), expected)


def test_rescale_searches_neighbours():
    # The table of a factor a few units off is found from the nominal one.
    _, mantissa, shift = rescale_record(0.03, 0, 0.05, 0)
    for distance in (-40, 3, 40):
        table = requantise_array(BYTES, mantissa + distance, shift)
        found = rescale_record(0.03, 0, 0.05, 0, table)
        assert np.array_equal(requantise_array(BYTES + found[0], *found[1:]), table)
    wrong = table.copy()
    wrong[100] += 2
    with pytest.raises(UserError, match="concat 1: no single factor"):
        rescale_record(0.03, 0, 0.05, 0, wrong, "concat 1")


def test_add_table_is_onnxruntime():
    for scales in add_scales(5, 20):
        assert np.array_equal(add_table(*scales), onnxruntime_add(*scales))


def test_add_constants_reproduce_every_sum():
    corrected = 0
    for scales in add_scales(6, 60):
        *constants, corrections = add_constants(*scales)
        assert np.array_equal(add_array(BYTES[:, None], BYTES, *constants, corrections),
                              add_table(*scales))
        assert min(constants[:2]) >= 0 and max(constants[:2]) < 1 << 24
        corrected += bool(corrections)
    assert corrected <= 3


def test_add_constants_correct_single_pairs():
    scales = next(add_scales(7, 1))
    table = add_table(*scales)
    changed = [(10, 20, True), (30, 5, False), (100, 7, True)][:CORRECTIONS]
    for a, b, up in changed:
        table[a, b] += 1 if up else -1
    *constants, corrections = add_constants(*scales, table)
    assert 0 < len(corrections) <= CORRECTIONS
    assert np.array_equal(add_array(BYTES[:, None], BYTES, *constants, corrections), table)
    table[:, 50] += 1
    with pytest.raises(UserError, match=f"fire2 add.*more than {CORRECTIONS}"):
        add_constants(*scales, table, where="fire2 add")


def test_add_constants_refuse_large_ratios():
    with pytest.raises(UserError, match="supported: 0 to below 2"):
        add_constants(1.0, 0, 0.1, 0, 0.5, 0)
