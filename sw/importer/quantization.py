"""Pass `quantization`: which integers stand for each float activation.

QuantizeLinear and DequantizeLinear of activations are not operators of the accelerator; they say
how a float tensor is represented. This pass collects that: where a producer writes, where a
consumer reads, under which name and scale. A MaxPool or Concat without them takes the
quantization of its neighbours, which gives the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import UserError
from ..graph import Quant
from .parameters import read_quant
from .raw import RawGraph, RawNode

__all__ = ["Quantization", "Site", "find_quantization"]

_ROUTING = ("MaxPool", "Concat")  # give only values that they were given
_ACCELERATED = ("Conv", "Add", *_ROUTING)


@dataclass(frozen=True)
class Site:
    """An integer tensor: its name and quantization."""

    name: str
    quant: Quant


@dataclass
class Quantization:
    """Float tensor name to integer tensor, for the producer (`writes`) and consumers (`reads`).

    `aliases` maps integer tensors that repeat another one to that one.
    """

    writes: dict[str, Site] = field(default_factory=dict)
    reads: dict[str, Site] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


def find_quantization(graph: RawGraph) -> Quantization:
    found = Quantization()
    integers: dict[str, Site] = {}
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            _quantize(graph, node, found, integers)
        elif node.op == "DequantizeLinear" and node.input(0) not in graph.constants:
            _dequantize(graph, node, found, integers)
    for node in reversed(graph.nodes):
        if node.op in _ROUTING and node.outputs[0] in found.writes:
            _give_back(graph, node, found)
    for node in graph.nodes:
        if node.op in _ROUTING and node.outputs[0] not in found.writes:
            _give_on(node, found)
    return found


def _quantize(graph: RawGraph, node: RawNode, found: Quantization,
              integers: dict[str, Site]) -> None:
    quant = read_quant(graph, node)
    source, result = node.inputs[0], node.outputs[0]
    same = found.reads.get(source) or found.writes.get(source)
    if same is None:
        found.writes[source] = integers[result] = Site(result, quant)
    elif same.quant == quant:
        found.aliases[result] = same.name
        integers[result] = same
    else:
        raise UserError(f"{node}: it changes the quantization of '{same.name}' from {same.quant} "
                        f"to {quant}; one quantization per tensor is supported")


def _dequantize(graph: RawGraph, node: RawNode, found: Quantization,
                integers: dict[str, Site]) -> None:
    source, result = node.inputs[0], node.outputs[0]
    site = integers.get(source)
    quant = read_quant(graph, node, site and site.quant.dtype)
    if site is None and source == graph.input:
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
                or producer.op not in _ACCELERATED or name in graph.outputs:
            continue
        readers = list(graph.consumers(name))
        if all(reader.op in _ROUTING and _quant_of(found, reader.outputs[0]) == quant
               for reader in readers):
            _set(found, name, quant)


def _give_on(node: RawNode, found: Quantization) -> None:
    """An output that nothing quantizes takes the inputs' quantization, if they agree."""
    sites = [found.reads.get(name) for name in node.inputs]
    if all(site is not None and site.quant == sites[0].quant for site in sites):
        _set(found, node.outputs[0], sites[0].quant)


def _set(found: Quantization, name: str, quant: Quant) -> None:
    found.writes[name] = found.reads[name] = Site(f"{name}_quantized", quant)


def _quant_of(found: Quantization, name: str) -> Quant | None:
    site = found.writes.get(name)
    return site and site.quant
