"""Comparing probe records with a reference: every deviation is found and named."""

import numpy as np
import pytest

from hw.config import Config
from hw.interfaces import Stage
from sim.check import check_batch, check_outputs, check_run
from sim.harness import RECORD
from sw.program import InputPlacement, LayerInfo, OutputPlacement, Program, TensorInfo

SHAPES = {"squeeze": (16, 4, 3), "left": (16, 4, 3), "right": (20, 4, 3), "joined": (36, 4, 3)}


def entry(layer, rows, stages, outputs, squeeze=False):
    return {"layer": layer, "squeeze": squeeze, "rows": list(rows), "stages": stages,
            "outputs": outputs}


def part(branch, tensor, channels, rows, channel=0, **more):
    return {"branch": branch, "tensor": tensor, "channel": channel, "channels": channels,
            "rows": list(rows), **more}


@pytest.fixture
def program():
    """Two bands of a squeeze and two expands, then the sums of what they give together."""
    trace = []
    for rows in ((0, 3), (3, 4)):
        squeeze = part(1, "squeeze", 16, rows)
        trace.append(entry(0, rows, [{"stage": "CONV", **squeeze}], [squeeze], squeeze=True))
        trace.append(entry(
            0, rows, [{"stage": "CONV", **part(0, "left", 16, rows)},
                      {"stage": "CONV", **part(1, "right", 20, rows)}],
            [part(0, "joined", 16, rows), part(1, "joined", 20, rows, 16)]))
    trace.append(entry(1, (0, 4), [], [part(1, "joined", 36, (0, 4), sums=True)]))
    infos = {name: TensorInfo(shape, 1.0, 0, name == "right") for name, shape in SHAPES.items()}
    layers = [LayerInfo(name, 1, 1, 2, 2, True) for name in ("fire", "classifier")]
    return Program(Config(), b"", b"", 0, 0, 16, InputPlacement("x", "x", 0, 1, "planes"),
                   [OutputPlacement("joined", 0, 36, "planes")], infos, layers, trace)


@pytest.fixture
def reference():
    rng = np.random.default_rng(3)
    return {name: rng.integers(0, 256, shape).astype(np.uint8).view(
        np.int8 if name == "right" else np.uint8) for name, shape in SHAPES.items()}


def records(blocks, rng):
    """Blocks (stage, branch, uint8 [channels, pixels]) as the probe shows them; channels that do
    not exist have random bytes."""
    rows = []
    for stage, branch, values in blocks:
        for group in range(0, len(values), 16):
            chunk = values[group:group + 16]
            for pixel in range(values.shape[1]):
                data = rng.integers(0, 256, 16)
                data[:len(chunk)] = chunk[:, pixel]
                rows.append((stage, branch, data))
    return np.array(rows, RECORD)


def shown(reference):
    """What a right core shows for the program, written out pass by pass."""
    rng = np.random.default_rng(4)

    def rows(name, first, last, channels=slice(None)):
        values = reference[name].view(np.uint8) ^ (0x80 if name == "right" else 0)
        return values[channels, first:last].reshape(len(values[channels]), -1)

    conv = Stage.CONV.value
    results, outputs = [], []
    for first, last in ((0, 3), (3, 4)):
        results += [(conv, 1, rows("squeeze", first, last)), (conv, 0, rows("left", first, last)),
                    (conv, 1, rows("right", first, last))]
        outputs += [(0, 1, rows("squeeze", first, last)),
                    (0, 0, rows("joined", first, last, slice(0, 16))),
                    (0, 1, rows("joined", first, last, slice(16, 36)))]
    sums = np.zeros(48, "<i4")
    sums[:36] = reference["joined"].astype(np.int64).sum(axis=(1, 2))
    sums[36:] = -1  # channels that do not exist
    tail = np.array([(0, 1, four) for four in sums.view(np.uint8).reshape(-1, 16)], RECORD)
    return records(results, rng), np.concatenate([records(outputs, rng), tail])


def test_a_right_core_passes(program, reference):
    check = check_run(program, reference, *shown(reference))
    assert check.mismatches == 0 and check.first == "" and not check.unknown
    pixels = 4 * 3
    assert [layer.checked for layer in check.layers] == [
        pixels * (2 * 16 + 16 + 20 + 36), 36]


@pytest.mark.parametrize("kind", [0, 1])
def test_each_byte_counts(program, reference, kind):
    """Flipping any byte of an existing channel is one mismatch; of a missing one, none."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        both = shown(reference)
        index, lane = int(rng.integers(len(both[kind]))), int(rng.integers(16))
        both[kind]["data"][index, lane] ^= 1 << int(rng.integers(8))
        check = check_run(program, reference, *both)
        assert check.mismatches in (0, 1)
        assert bool(check.first) == bool(check.mismatches)
        if not check.mismatches:
            # only the last groups of 20 and of 36 channels have missing ones: four of 16 exist
            assert lane >= 4 or (kind == 1 and index >= len(both[1]) - 3)


def test_the_first_mismatch_is_named(program, reference):
    results, outputs = shown(reference)
    # right: band 1 starts after 9 + 18 vectors of band 0 and 3 of squeeze; group 1, pixel 2
    place = np.flatnonzero((results["stage"] == 0) & (results["branch"] == 1))[9 + 18 + 3 + 3 + 2]
    results["data"][place, 1] ^= 4
    expected = int(reference["right"].view(np.uint8)[17, 3, 2] ^ 0x80)
    check = check_run(program, reference, results, outputs)
    assert check.layers[0].mismatches == 1 and check.layers[1].mismatches == 0
    assert check.first == (f"right, stage CONV: channel 17, y 3, x 2: expected {expected}, found "
                           f"{expected ^ 4}")


def test_missing_and_superfluous_vectors(program, reference):
    results, outputs = shown(reference)
    check = check_run(program, reference, results[:-2], outputs)
    assert check.mismatches == 32 and "2 of 6 vectors did not come" in check.first
    check = check_run(program, reference, results, np.concatenate([outputs, outputs[-1:]]))
    assert check.mismatches == 16 and "1 vectors more than expected" in check.first
    assert check_run(program, reference, results[:0], outputs[:0]).mismatches > 1000
    strange = results[:1].copy()
    strange["stage"] = Stage.ADD.value
    assert check_run(program, reference, np.concatenate([results, strange]),
                     outputs).mismatches == 16


def test_exchanged_vectors_are_mismatches(program, reference):
    results, outputs = shown(reference)
    results[[0, 1]] = results[[1, 0]]
    assert check_run(program, reference, results, outputs).mismatches > 10


def test_batch(program, reference):
    """Records of an image follow those of the one before; a mismatch tells the image."""
    other = {name: values ^ 1 for name, values in reference.items()}
    both = [np.concatenate(pair) for pair in zip(shown(reference), shown(other), strict=True)]
    once = check_run(program, reference, *shown(reference))
    check = check_batch(program, iter([reference, other]), *both)
    assert check.mismatches == 0 and check.checked == 2 * once.checked
    assert check_batch(program, [other, reference], *both).mismatches > 100
    assert check_batch(program, [reference, other], *shown(reference)).mismatches > 100
    assert check_run(program, reference, *both).mismatches > 100
    both[0]["data"][len(shown(reference)[0]), 0] ^= 1
    check = check_batch(program, [reference, other], *both)
    assert check.mismatches == 1
    assert check.first.startswith("image 2 of the batch: squeeze, stage CONV: channel 0, y 0, x 0")


def test_a_tensor_that_the_reference_lacks(program, reference):
    whole = check_run(program, reference, *shown(reference))
    both = shown(reference)
    del reference["left"]
    check = check_run(program, reference, *both)
    assert check.unknown == {"left"} and check.mismatches == 0
    assert check.checked == whole.checked - 16 * 12


def test_outputs_read_back(program, reference):
    found = {"joined": reference["joined"].copy()}
    assert check_outputs(program, reference, found).checked == 36 * 12
    found["joined"][20, 1, 2] ^= 1
    check = check_outputs(program, reference, found)
    assert check.mismatches == 1 and "joined read back: channel 20, y 1, x 2" in check.first
