"""Scales and zero points of activations, shared where a shared one makes an operator exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import UserError
from ..exact import add_constants
from ..graph import Quant
from .network import WINDOWS, FloatNetwork, Op

__all__ = ["Scales", "tail_of"]

_TAIL = ("Softmax", "Reshape")
_PIXELS = Quant(np.float32(1), 0, False)
_NUDGES = 64
_STEP = 1 + 2.0**-9
"""A nudge makes a scale a five-hundredth larger: far less than a rounding of the weights."""


def tail_of(network: FloatNetwork) -> set[Op]:
    """What stays in float: Softmax, Reshape, and a global average with only them behind it."""
    tail: set[Op] = set()
    for op in reversed(network.ops):
        readers = network.readers(op.output)
        if op.kind in _TAIL or (op.kind == "GlobalAveragePool" and tail.issuperset(readers)):
            tail.add(op)
    for op in network.ops:
        behind = [network.producer(name) for name in op.inputs]
        if op not in tail and tail.intersection(behind):
            source = next(other for other in behind if other in tail)
            raise UserError(f"{op}: it reads {source}, which is computed in float on the host; "
                            "only Softmax and reshapes may follow")
    return tail


class Scales:
    """Groups of tensors with one quantization each.

    A MaxPool or AveragePool keeps that of its input; the parts of a Concat share one if all of them
    end in the same Relu, or none does (else the Concat requantizes). `asked` are the tensors whose
    range is needed.
    """

    def __init__(self, network: FloatNetwork) -> None:
        self.network = network
        tail = tail_of(network)
        self.ops = [op for op in network.ops if op not in tail]
        self._parent = {name: name for name in (network.input, *(op.output for op in self.ops))}
        self._clipped = self._find_clipped()
        shared = [op for op in self.ops if op.kind in WINDOWS]
        shared += [op for op in self.ops if op.kind == "Concat" and self._alike(op)]
        for op in shared:
            for name in op.inputs:
                self._parent[self._root(name)] = self._root(op.output)
        derived = {op.output for op in shared}
        self.asked = [name for name in self._parent if name not in derived
                      and not (network.raw_input and name == network.input)]
        self.quants: dict[str, Quant] = {}

    def _root(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def _find_clipped(self) -> dict[str, object]:
        """How each tensor is clipped: tensors of one group must agree."""
        clipped: dict[str, object] = {self.network.input: "input"}
        for op in self.ops:
            sources = [clipped[name] for name in op.inputs]
            if op.kind in WINDOWS:
                clipped[op.output] = sources[0]
            elif op.kind == "Concat":
                alike = len(set(sources)) == 1 and sources[0] != "input"
                clipped[op.output] = sources[0] if alike else (False, None)
            else:
                clipped[op.output] = op.relu, op.limit
        return clipped

    def _alike(self, concat: Op) -> bool:
        kinds = {self._clipped[name] for name in concat.inputs}
        return len(kinds) == 1 and "input" not in kinds

    def set_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Chooses every quantization. A group's range is the widest of its tensors."""
        ends: dict[str, tuple[float, float]] = {}
        for name in self.asked:
            low, high = ranges[name]
            old = ends.get(self._root(name), (0.0, 0.0))
            ends[self._root(name)] = min(low, old[0]), max(high, old[1])
        quants = {root: _quant(*its) for root, its in ends.items()}
        if self.network.raw_input:
            quants[self._root(self.network.input)] = Quant(
                np.float32(1), self.network.input_zero, False)
        self.quants = {name: quants[self._root(name)] for name in self._parent}
        self._settle_adds()

    def _settle_adds(self) -> None:
        """Ratios like 5/6 make ties that the hardware's one-factor sum cannot follow: the scale of
        the result is made larger in small steps until it can."""
        adds = [op for op in self.ops if op.kind == "Add"]
        for _ in range(_NUDGES):
            refused = {self._root(op.output): op for op in adds if not self._is_exact(op)}
            if not refused:
                return
            for name in self._parent:
                if self._root(name) in refused:
                    quant = self.quants[name]
                    self.quants[name] = Quant(np.float32(quant.scale * np.float32(_STEP)),
                                              quant.zero_point, quant.signed)
        raise UserError(f"{next(iter(refused.values()))}: no scale of its result near the "
                        "calibrated one makes the sum exact")

    def _is_exact(self, op: Op) -> bool:
        scales = [part for name in (*op.inputs, op.output)
                  for part in (self.quants[name].scale, self.quants[name].zero_point)]
        try:
            add_constants(*scales)
        except UserError:
            return False
        return True


def _quant(low: float, high: float) -> Quant:
    """uint8 for a range that holds 0; the zero point is 0 where nothing is negative."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-30:
        return _PIXELS
    scale = np.float32((high - low) / 255)
    return Quant(scale, int(np.clip(np.rint(-low / scale), 0, 255)), False)
