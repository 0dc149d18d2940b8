"""Which tensors of the graph the results of each pass are: what a simulation compares."""

from __future__ import annotations

from typing import Any

from hw.config import VECTOR

from .graph import Graph
from .layers import Branch, Layer
from .steps import ComputeStep

__all__ = ["compute_trace"]


def compute_trace(step: ComputeStep, graph: Graph) -> list[dict[str, Any]]:
    """Entries of `Program.trace` for the passes of a compute instruction."""
    layer, band = step.layer, step.band
    entries = []
    if layer.squeeze:
        part = _part(1, layer.squeeze, layer.squeeze.tensor, 0, band.squeeze)
        entries.append({"layer": layer.index, "squeeze": True, "rows": list(band.squeeze),
                        "stages": [{"stage": "CONV", **part}], "outputs": [part]})
    entries.append({"layer": layer.index, "squeeze": False, "rows": list(band.rows),
                    "stages": _stages(layer, band.rows, graph),
                    "outputs": _outputs(layer, band.rows, graph)})
    return entries


def _part(code: int, branch: Branch, tensor: str, channel: int,
          rows: tuple[int, int]) -> dict[str, Any]:
    return {"branch": code, "tensor": tensor, "channel": channel, "channels": branch.channels,
            "rows": list(rows)}


def _codes(layer: Layer) -> list[tuple[int, Branch]]:
    return [(code, branch) for code, branch in enumerate((layer.a, layer.b)) if branch]


def _joined(layer: Layer, branch: Branch) -> tuple[str, int]:
    """The tensor with the branches' results after a rescale, and the branch's channel in it."""
    if layer.rescale_zero is not None and layer.tensor == branch.tensor:
        # A convolution that writes into a general Concat.
        return layer.output.map.name, layer.output.plane * VECTOR
    return layer.tensor, branch.channel


def _stages(layer: Layer, rows: tuple[int, int], graph: Graph) -> list[dict[str, Any]]:
    stages = []
    for code, branch in _codes(layer):
        stages.append({"stage": "CONV", **_part(code, branch, branch.tensor, 0, rows)})
        if layer.rescale_zero is not None:
            stages.append({"stage": "RESCALE",
                           **_part(code, branch, *_joined(layer, branch), rows)})
        if layer.addition:
            stages.append({"stage": "ADD", **_part(code, branch, layer.addition.tensor,
                                                   branch.channel, rows)})
        if layer.average and layer.average.record:
            stages.append({"stage": "AVERAGE", **_averaged(layer, code, branch, graph)})
    return stages


def _averaged(layer: Layer, code: int, branch: Branch, graph: Graph) -> dict[str, Any]:
    if layer.average.record:
        return _part(code, branch, layer.average.tensor, branch.channel, (0, 1))
    summed = layer.addition.tensor if layer.addition else layer.tensor
    rows = (0, graph.tensors[summed].shape[1])
    return {**_part(code, branch, summed, branch.channel, rows), "sums": True}


def _outputs(layer: Layer, rows: tuple[int, int], graph: Graph) -> list[dict[str, Any]]:
    outputs = []
    for code, branch in _codes(layer):
        if layer.average:
            outputs.append(_averaged(layer, code, branch, graph))
            continue
        if layer.pooling:
            tensor, channel = layer.pooling.tensor, branch.channel
        elif layer.addition:
            tensor, channel = layer.addition.tensor, branch.channel
        else:
            tensor, channel = _joined(layer, branch)
        outputs.append(_part(code, branch, tensor, channel, layer.output_rows(*rows)))
    return outputs
