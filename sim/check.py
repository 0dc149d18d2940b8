"""Compares every vector that a core's probes showed with the tensors of a reference.

The program's trace tells which tensor each pass gives at each stage and branch; within a stage and
branch vectors come image by image of a batch, pass by pass, group by group of 16 channels, then
pixels in raster order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from hw.config import VECTOR
from hw.interfaces import Stage
from sw.program import Program, TensorInfo

__all__ = ["Check", "LayerCheck", "check_batch", "check_outputs", "check_run",
           "expected_vectors"]


@dataclass
class LayerCheck:
    """Counts are values (bytes, or sums) of channels that exist; `first` describes the first
    mismatch, or is empty."""

    name: str
    checked: int = 0
    mismatches: int = 0
    first: str = ""

    def note(self, checked: int, mismatches: int, first: str = "") -> None:
        self.checked += checked
        self.mismatches += mismatches
        self.first = self.first or first


@dataclass
class Check:
    """All layers of a run, in order. `unknown` names tensors that the reference does not have."""

    layers: list[LayerCheck]
    unknown: set[str] = field(default_factory=set)

    @property
    def checked(self) -> int:
        return sum(layer.checked for layer in self.layers)

    @property
    def mismatches(self) -> int:
        return sum(layer.mismatches for layer in self.layers)

    @property
    def first(self) -> str:
        return next((layer.first for layer in self.layers if layer.first), "")


def stored(values: np.ndarray) -> np.ndarray:
    """8-bit integers as the machine stores them: int8 is value + 128."""
    return values.view(np.uint8) ^ 0x80 if values.dtype == np.int8 else values


def expected_vectors(item: Mapping, tensor: np.ndarray) -> np.ndarray:
    """What the probe shows for an entry of the trace, from its tensor (C, H, W).

    Returns uint8 [groups, pixels, 16], or for sums int32 [groups, 1, 16] (four vectors each);
    channels that do not exist are zero.
    """
    first, last = item["rows"]
    channels = stored(tensor)[item["channel"]:item["channel"] + item["channels"]]
    part = channels[:, first:last].reshape(item["channels"], -1)
    if item.get("sums"):
        part = part.sum(axis=1, dtype=np.int32)[:, None]
    groups = -(-len(part) // VECTOR)
    padded = np.zeros((groups * VECTOR, part.shape[1]), part.dtype)
    padded[:len(part)] = part
    return padded.reshape(groups, VECTOR, -1).transpose(0, 2, 1)


def check_run(program: Program, reference: Mapping[str, np.ndarray], results: np.ndarray,
              outputs: np.ndarray) -> Check:
    """`results` and `outputs` are probe records of one run (`sim.harness.RECORD`), `reference` the
    tensors by name, (C, H, W) in the graph's own integer types."""
    return check_batch(program, [reference], results, outputs)


def check_batch(program: Program, references: Iterable[Mapping[str, np.ndarray]],
                results: np.ndarray, outputs: np.ndarray) -> Check:
    """As `check_run`, with a reference for each image of the program's batch; they are used one
    after the other. A first mismatch beyond the first image tells its number, from 1."""
    check = Check([LayerCheck(layer.name) for layer in program.layers])
    kinds = {"stages": dict(_split(results)), "outputs": dict(_split(outputs))}
    for number, reference in enumerate(references):
        image = f"image {number + 1} of the batch: " if number else ""
        for kind, streams in kinds.items():
            for entry in program.trace:
                for item in entry[kind]:
                    stream = streams.setdefault(
                        _key(item), _Stream(np.empty((0, VECTOR), np.uint8)))
                    _compare(check, check.layers[entry["layer"]], item, program.tensors,
                             reference, stream, kind, image)
    last = check.layers[-1]
    for kind, streams in kinds.items():
        for (stage, branch), stream in streams.items():
            if left := stream.left:
                last.note(0, left * VECTOR, f"{left} vectors more than expected after the last one "
                          f"of {kind}, stage {stage}, branch {'AB'[branch]}")
    return check


def check_outputs(program: Program, reference: Mapping[str, np.ndarray],
                  tensors: Mapping[str, np.ndarray]) -> LayerCheck:
    """Compares the integers that the host read back; float means are up to the host's tail."""
    check = LayerCheck("outputs")
    for output in program.outputs:
        found, expected = tensors[output.tensor], reference.get(output.tensor)
        if expected is None or output.layout == "sums":
            continue
        differ = found != expected.reshape(found.shape)
        first = ""
        if differ.any():
            where = tuple(int(i) for i in np.argwhere(differ)[0])
            first = _describe(f"{output.tensor} read back", where,
                              expected.reshape(found.shape)[where], found[where])
        check.note(differ.size, int(differ.sum()), first)
    return check


class _Stream:
    """Vectors of one stage and branch, taken from the front."""

    def __init__(self, data: np.ndarray):
        self.data, self.position = data, 0

    def take(self, count: int) -> np.ndarray:
        part = self.data[self.position:self.position + count]
        self.position += len(part)
        return part

    @property
    def left(self) -> int:
        return len(self.data) - self.position


def _split(records: np.ndarray) -> Iterator[tuple[tuple[int, int], _Stream]]:
    for stage in range(4):
        for branch in range(2):
            chosen = (records["stage"] == stage) & (records["branch"] == branch)
            if chosen.any():
                yield (stage, branch), _Stream(records["data"][chosen])


def _key(item: Mapping) -> tuple[int, int]:
    """Outputs have no stage: they count as stage 0."""
    stage = item.get("stage", 0)
    stage = Stage[stage] if isinstance(stage, str) else Stage(stage)
    return stage.value, item["branch"]


def _compare(check: Check, layer: LayerCheck, item: Mapping, infos: Mapping[str, TensorInfo],
             reference: Mapping[str, np.ndarray], stream: _Stream, kind: str,
             image: str) -> None:
    name = item["tensor"]
    tensor = reference.get(name)
    if tensor is None:
        check.unknown.add(name)
        tensor = np.zeros(infos[name].shape, np.uint8)
    shape = infos[name].shape
    expected = expected_vectors(item, tensor.reshape(shape))
    groups, pixels, _ = expected.shape
    sums = bool(item.get("sums"))
    vectors = groups * pixels * (4 if sums else 1)
    found = stream.take(vectors)
    missing = vectors - len(found)
    if missing:
        layer.note(0, missing * (4 if sums else VECTOR), f"{image}{name}: {missing} of {vectors} "
                   f"vectors did not come ({kind})")
    if name not in reference:
        return
    if sums:
        found = np.ascontiguousarray(found[:len(found) // 4 * 4]).view("<i4").reshape(-1, VECTOR)
    flat = expected.reshape(-1, VECTOR)[:len(found)]
    exists = (np.arange(groups * VECTOR) < item["channels"]).reshape(groups, 1, VECTOR)
    exists = np.broadcast_to(exists, expected.shape).reshape(-1, VECTOR)[:len(found)]
    differ = (flat != found) & exists
    first = ""
    if differ.any():
        index, lane = (int(i) for i in np.argwhere(differ)[0])
        group, pixel = divmod(index, pixels)
        row, column = divmod(pixel, shape[2])
        shown = name + (f", {_stage_name(item)}" if kind == "stages" else ", stored")
        where = (item["channel"] + group * VECTOR + lane, item["rows"][0] + row, column)
        first = image + _describe(shown, where, flat[index, lane], found[index, lane])
    layer.note(int(exists.sum()), int(differ.sum()), first)


def _stage_name(item: Mapping) -> str:
    return f"stage {Stage(_key(item)[0]).name}"


def _describe(name: str, where: tuple[int, ...], expected: int, found: int) -> str:
    place = ", ".join(f"{axis} {i}" for axis, i in zip(("channel", "y", "x"), where, strict=False))
    return f"{name}: {place}: expected {expected}, found {found}"
