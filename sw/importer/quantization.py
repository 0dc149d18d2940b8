"""Pass `quantization`: which integers stand for each float activation.

QuantizeLinear and DequantizeLinear of activations are not operators of the accelerator; they say
how a float tensor is represented. This pass collects that: where a producer writes, where a
consumer reads, under which name and scale. A MaxPool, Concat or Relu without them takes the
quantization of its neighbours, which gives the same integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import UserError
from ..graph import Quant
from .activations import is_implied
from .parameters import read_quant
from .raw import RawGraph, RawNode

__all__ = ["Quantization", "Site", "find_quantization"]

_ROUTING = ("MaxPool", "Concat")  # give only values that they were given
_TAKES = ("Conv", "Add", "Relu", "Clip", *_ROUTING)  # what they give takes that behind it


@dataclass(frozen=True)
class Site:
    """An integer tensor: its name and quantization."""

    name: str
    quant: Quant


@dataclass
class Quantization:
    """Float tensor name to integer tensor, for the producer (`writes`) and consumers (`reads`).

    `aliases` maps integer tensors that repeat another one to that one. `floating` are the float
    tensors that onnxruntime leaves in float, with the reason.
    """

    writes: dict[str, Site] = field(default_factory=dict)
    reads: dict[str, Site] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    floating: dict[str, str] = field(default_factory=dict)


def find_quantization(graph: RawGraph) -> Quantization:
    found = Quantization()
    integers: dict[str, Site] = {}
    producers = graph.producers()
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            _quantize(graph, node, found, integers, producers)
        elif node.op == "DequantizeLinear" and node.input(0) not in graph.constants:
            _dequantize(graph, node, found, integers)
    for node in reversed(graph.nodes):
        if node.op in _ROUTING and node.outputs[0] in found.writes:
            _give_back(graph, node, found)
    for node in graph.nodes:
        if node.op in (*_ROUTING, "Relu") and node.outputs[0] not in found.writes:
            _give_on(node, found)
    return found


def _quantize(graph: RawGraph, node: RawNode, found: Quantization, integers: dict[str, Site],
              producers: dict[str, RawNode]) -> None:
    quant = read_quant(graph, node)
    source, result = node.inputs[0], node.outputs[0]
    if source == graph.input and graph.input_type != np.float32:
        raise UserError(f"{node}: the input '{source}' is {graph.input_type} already")
    if source in integers:
        raise UserError(f"{node}: its input '{source}' is quantized already")
    same = found.reads.get(source) or found.writes.get(source)
    if same is None:
        found.writes[source] = integers[result] = Site(result, quant)
    elif same.quant == quant:
        found.aliases[result] = same.name
        integers[result] = same
        first = producers.get(same.name)
        if first is not None and source != graph.input \
                and first.inputs[0] == source and first.inputs != node.inputs:
            found.floating[source] = "two QuantizeLinear read its output"
    else:
        raise UserError(f"{node}: it changes the quantization of '{same.name}' from {same.quant} "
                        f"to {quant}; one quantization per tensor is supported")


def _dequantize(graph: RawGraph, node: RawNode, found: Quantization,
                integers: dict[str, Site]) -> None:
    source, result = node.inputs[0], node.outputs[0]
    site = integers.get(source)
    own = graph.input_type if source == graph.input else site and site.quant.dtype
    quant = read_quant(graph, node, own)
    if site is None and source == graph.input:
        if quant.dtype != graph.input_type:
            raise UserError(f"{node}: it reads the input '{source}' as {quant.dtype}, which is "
                            f"{graph.input_type}")
        site = integers[source] = Site(source, quant)
    if site is None:
        raise UserError(f"{node}: its input '{source}' does not come from a QuantizeLinear")
    if site.quant != quant:
        raise UserError(f"{node}: it reads '{source}' as {quant}, which was written as "
                        f"{site.quant}")
    found.reads[result] = site


def _give_back(graph: RawGraph, node: RawNode, found: Quantization) -> None:
    """Inputs that nothing quantizes take the output's quantization."""
    quant = found.writes[node.outputs[0]].quant
    producers = graph.producers()
    for name in node.inputs:
        producer = producers.get(name)
        if name in found.writes or name in found.reads or producer is None \
                or producer.op not in _TAKES or name in graph.outputs:
            continue
        readers = list(graph.consumers(name))
        if all(reader.op in _ROUTING and _quant_of(found, reader.outputs[0]) == quant
               for reader in readers):
            _set(found, node, name, quant, producer)


def _give_on(node: RawNode, found: Quantization) -> None:
    """An output that nothing quantizes takes the inputs' quantization, if they agree."""
    sites = [found.reads.get(name) for name in node.inputs]
    if all(site is not None and site.quant == sites[0].quant for site in sites):
        _set(found, node, node.outputs[0], sites[0].quant, node)


def _set(found: Quantization, node: RawNode, name: str, quant: Quant,
         producer: RawNode) -> None:
    """Because of `node`, the float tensor `name` is quantized."""
    site = Site(f"{name}_quantized", quant)
    if producer.op in ("Relu", "Clip"):
        before = found.reads.get(producer.inputs[0])
        if before and before.quant == quant and is_implied(quant, producer.low, producer.high):
            site = before  # it changes nothing
    found.writes[name] = found.reads[name] = site
    if node.op == "Relu":
        found.floating[name] = "no quantizers are between it and a Relu"
    elif node.op == "Concat" or found.floating.keys() & {*node.inputs, *node.outputs}:
        found.floating[name] = "no quantizers are between it and a Concat"
    elif node.low != -math.inf or node.high != math.inf:
        found.floating[name] = f"its Relu or Clip stands behind a {node.op}"


def _quant_of(found: Quantization, name: str) -> Quant | None:
    site = found.writes.get(name)
    return site and site.quant
