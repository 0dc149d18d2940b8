"""Pass `lower`: the typed graph becomes layers, each what one instruction computes.

A layer starts from a convolution, from two convolutions that a Concat joins (1x1 and KxK over the
same input), or from such a pair behind a private 1x1 squeeze. Behind it the layer takes in an Add,
then a MaxPool or a GlobalAveragePool. A Concat of another shape costs nothing: its inputs write
their planes of one map. `sw.rewrite` gives a graph this form; anything else is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.config import VECTOR, Config

from .bands import MAX_PIXELS
from .branches import (
    build_addition,
    build_average,
    build_branch,
    build_pooling,
    build_rescale,
    gather_info,
    gathers,
    same_quant,
)
from .errors import UserError
from .graph import Add, Concat, Conv, GlobalAveragePool, Graph, HostOp, Input, MaxPool, Node
from .layers import FeatureMap, Layer, Network, NetworkOutput, Place, unsigned_zero

__all__ = ["joins_pair", "lower"]


def lower(graph: Graph, config: Config | None = None) -> Network:
    """The layers of `graph` in order; `config` decides whether its gather takes the image.

    Raises UserError naming the first node that does not fit.
    """
    return _Lowering(graph, config).run()


def joins_pair(graph: Graph, concat: Concat) -> bool:
    """Whether two convolutions of one pass make the Concat."""
    return _Lowering(graph, None).is_pair(concat)


@dataclass
class _Unit:
    """Convolutions of one pass: `end` is the node whose output they make together."""

    squeeze: Conv | None
    convs: list[Conv]
    end: Node
    merge: Concat | None
    tail: str = ""
    add: Add | None = None
    pool: MaxPool | None = None
    average: GlobalAveragePool | None = None


class _Lowering:
    def __init__(self, graph: Graph, config: Config | None):
        self.graph, self.config = graph, config
        self.order = {id(node): i for i, node in enumerate(graph.nodes)}
        self.consumers = {name: graph.consumers(name) for name in graph.tensors}
        self.producer = {node.output: node for node in graph.nodes}
        self.claimed: set[int] = set()
        self.places: dict[str, Place] = {}
        self.host_means: dict[str, str] = {}
        """Means that the host takes, each with the map it takes it of."""

    def run(self) -> Network:
        graph = self.graph
        source = graph.input_node
        self.claimed.add(id(source))
        units = sorted(self._units(), key=lambda unit: self.order[id(unit.end)])
        if not units:
            raise UserError("the model has no convolution; the core computes networks of "
                            "convolutions")
        for unit in units:
            self._extend(unit, units)
        self._concatenations()
        self._refuse_rest()
        self._place_input(source)
        layers = []
        for unit in units:
            layers.append(self._layer(len(layers), unit))
        return Network(self.places[source.output].map, source.output, layers,
                       self._outputs(units), self.places)

    # -- which convolutions go together

    def _private(self, tensor: str, count: int = 1) -> bool:
        return len(self.consumers[tensor]) == count and tensor not in self.graph.outputs

    def _units(self) -> list[_Unit]:
        units = []
        for node in self.graph.nodes:
            if isinstance(node, Concat) and self.is_pair(node):
                convs = [self.producer[name] for name in node.inputs]
                squeeze = self._private_squeeze(convs)
                units.append(_Unit(squeeze, convs, node, node))
                self.claimed.update(map(id, [node, *convs, *([squeeze] if squeeze else [])]))
        for node in self.graph.nodes:
            if isinstance(node, Conv) and id(node) not in self.claimed:
                units.append(_Unit(None, [node], node, None))
                self.claimed.add(id(node))
        return units

    def is_pair(self, concat: Concat) -> bool:
        if len(set(concat.inputs)) != 2 or len(concat.inputs) != 2:
            return False
        convs = [self.producer[name] for name in concat.inputs]
        if not all(isinstance(conv, Conv) and self._private(conv.output) for conv in convs):
            return False
        if convs[0].inputs != convs[1].inputs or self._is_image(convs[0].inputs[0]):
            return False
        shapes = [self.graph.tensors[conv.output].shape for conv in convs]
        return (any(_is_pointwise(conv) for conv in convs)
                and convs[0].strides == convs[1].strides
                and convs[0].strides[0] == convs[0].strides[1]
                and shapes[0][1:] == shapes[1][1:]
                and shapes[0][0] % VECTOR == 0)

    def _private_squeeze(self, convs: list[Conv]) -> Conv | None:
        squeeze = self.producer[convs[0].inputs[0]]
        if (isinstance(squeeze, Conv) and self._private(squeeze.output, 2)
                and _is_pointwise(squeeze) and squeeze.strides == (1, 1)
                and not self._is_image(squeeze.inputs[0])):
            return squeeze
        return None

    def _is_image(self, tensor: str) -> bool:
        """Whether it is the input and all that read it can take it from a gather."""
        return isinstance(self.producer[tensor], Input) and all(
            isinstance(node, Conv) and gathers(node, self.graph.tensors, self.config)
            for node in self.consumers[tensor])

    # -- what follows them in the same layer

    def _extend(self, unit: _Unit, units: list[_Unit]) -> None:
        unit.tail = unit.end.output
        for node in self.consumers[unit.tail]:
            if isinstance(node, Add) and self._is_later_operand(node, unit):
                self._alone(node, unit.tail)
                unit.add, unit.tail = node, node.output
                self.claimed.add(id(node))
                break
        for node in self.consumers[unit.tail]:
            if isinstance(node, MaxPool):
                self._alone(node, unit.tail)
                unit.pool, unit.tail = node, node.output
                self.claimed.add(id(node))
                break
            if isinstance(node, GlobalAveragePool):
                self._alone(node, unit.tail)
                if self.graph.tensors[node.output].quant is None and not self._in_one_band(unit):
                    self.host_means[node.output] = unit.tail
                    self.claimed.add(id(node))
                    break
                unit.average, unit.tail = node, node.output
                self.claimed.add(id(node))
                break

    def _in_one_band(self, unit: _Unit) -> bool:
        """Whether the activation memory holds all that the unit reads, as an average needs."""
        if self.config is None:
            return True
        first = unit.squeeze or unit.convs[0]
        source = first.inputs[0]
        rows, columns = self.graph.tensors[first.output].shape[1:]
        if self._is_image(source):
            vectors = gather_info(first, self.graph.tensors).vectors * rows * columns
        else:
            vectors = FeatureMap(source, self.graph.tensors[source].shape).vectors
        if unit.squeeze:
            vectors += FeatureMap(first.output, self.graph.tensors[first.output].shape).vectors
        return vectors <= self.config.act_vectors and rows * columns <= MAX_PIXELS

    def _is_later_operand(self, node: Add, unit: _Unit) -> bool:
        """Whether the unit computes the operand of `node` that is ready last."""
        if len(set(node.inputs)) != 2:
            raise UserError(f"{node}: adds {node.inputs[0]} to itself; the sum of two different "
                            "tensors is supported")
        return max(node.inputs, key=lambda name: self.order[id(self.producer[name])]) == unit.tail

    def _alone(self, node: Node, tensor: str) -> None:
        others = [str(other) for other in self.consumers[tensor] if other is not node]
        if tensor in self.graph.outputs:
            others.append("the output of the model")
        if others:
            raise UserError(
                f"{node}: it is computed together with the layer before it, so its input {tensor} "
                f"must have no other use, but it also feeds {', '.join(others)}")

    # -- where tensors live

    def _concatenations(self) -> None:
        """Concats that are no pair: their inputs write into one map."""
        for node in self.graph.nodes:
            if not isinstance(node, Concat) or id(node) in self.claimed:
                continue
            self.claimed.add(id(node))
            if len(set(node.inputs)) != len(node.inputs):
                raise UserError(f"{node}: joins a tensor with itself, which is not supported")
            region = FeatureMap(node.output, self.graph.tensors[node.output].shape,
                                writers=len(node.inputs))
            self.places[node.output] = Place(region)
            channel = 0
            for name in node.inputs:
                maker = self.producer[name]
                if isinstance(maker, Input) or isinstance(maker, Concat) and \
                        not self.is_pair(maker):
                    raise UserError(f"{node}: its input {name} comes from "
                                    f"{self.producer[name]}; results of convolutions (and of Add "
                                    "and MaxPool behind one) are supported")
                if name in self.places:
                    raise UserError(f"{node}: its input {name} is already part of another Concat")
                if channel % VECTOR:
                    raise UserError(f"{node}: input {name} starts at channel {channel}; supported "
                                    f"are multiples of {VECTOR}")
                self.places[name] = Place(region, channel // VECTOR)
                channel += self.graph.tensors[name].shape[0]

    def _refuse_rest(self) -> None:
        for node in self.graph.nodes:
            if id(node) in self.claimed or isinstance(node, HostOp):
                continue
            raise UserError(f"{node}: it does not follow a convolution directly (its input "
                            f"{node.inputs[0]} comes from {self.producer[node.inputs[0]]}); "
                            "supported are Add, then MaxPool or GlobalAveragePool, behind a "
                            "convolution or the Concat of two")

    def _place_input(self, source: Input) -> None:
        users = self.consumers[source.output]
        for node in users:
            if not isinstance(node, Conv | Add):
                raise UserError(f"{node}: it reads the input of the model; a convolution is "
                                "supported there")
        if not users or source.output in self.graph.outputs:
            raise UserError(f"output {source.output} is the input of the model; results of the "
                            "core are supported")
        shape = self.graph.tensors[source.output].shape
        self.places[source.output] = Place(FeatureMap(source.output, shape,
                                                      image=self._is_image(source.output)))

    def _outputs(self, units: list[_Unit]) -> list[NetworkOutput]:
        """Every tensor of the core that leaves the graph or feeds the host's tail."""
        summed = {unit.average.output: unit.average.inputs[0]
                  for unit in units if unit.average is not None
                  and self.graph.tensors[unit.average.output].quant is None}
        outputs = []
        for node in self.graph.nodes:
            name = node.output
            if isinstance(node, HostOp | Input):
                continue
            if name in self.host_means:
                summed = self.host_means[name]
                outputs.append(NetworkOutput(name, self.places[summed], summed))
            elif name in self.graph.outputs or any(
                    isinstance(user, HostOp) for user in self.consumers[name]):
                if name not in self.places:
                    raise UserError(f"{node}: its result {name} leaves the core, but only exists "
                                    "inside a layer")
                outputs.append(NetworkOutput(name, self.places[name], summed.get(name)))
        if not outputs:
            raise UserError("no result of the core is an output of the model")
        return outputs

    # -- one layer

    def _layer(self, index: int, unit: _Unit) -> Layer:
        tensors = self.graph.tensors
        first = unit.squeeze or unit.convs[0]
        source = first.inputs[0]
        if source not in self.places:
            raise UserError(f"{first}: its input {source} is requantised by a Concat and does not "
                            "exist by itself; read the Concat's result instead")
        gather = gather_info(unit.convs[0], tensors) if self._is_image(source) else None
        planes = None if gather else _planes_read(unit.convs)
        place = self.places[source]
        if planes and not unit.squeeze:
            place = Place(place.map, place.plane + planes.start)
        merged, rescales = self._merge(unit)
        channels = [0]
        if len(unit.convs) == 2:
            channels.append(tensors[unit.convs[0].output].shape[0])
        built = []
        for conv, channel in zip(unit.convs, channels, strict=True):
            rescale = build_rescale(conv, tensors[conv.output].quant, merged.quant) \
                if rescales else None
            built.append(build_branch(conv, tensors, channel, gather, rescale,
                                      planes if not unit.squeeze else None))
        a, b = (None, built[0]) if len(built) == 1 else built
        window = unit.convs[-1]
        if a is not None and not _is_pointwise(unit.convs[0]):
            a, b, window = b, a, unit.convs[0]
        squeeze = build_branch(unit.squeeze, tensors, 0, None, None) if unit.squeeze else None
        reads = tensors[window.inputs[0]]
        shape = tensors[unit.end.output].shape
        layer = Layer(
            index, unit.end.name, place, unsigned_zero(reads.quant),
            reads.shape, shape, window.weights.shape[2], window.strides[1],
            window.pads[0], window.pads[1], a, b, unit.end.output, squeeze=squeeze, gather=gather,
            row_stride=window.strides[0])
        if gather:
            layer.in_shape = (gather.vectors * VECTOR, *shape[1:])
            layer.kernel, layer.stride, layer.row_stride = 1, 1, 1
            layer.pad_top, layer.pad_left = 0, 0
        if rescales:
            layer.rescale_zero = unsigned_zero(merged.quant)
        if unit.add is not None:
            other = next(name for name in unit.add.inputs if name != unit.end.output)
            if other not in self.places or self.places[other].map.image:
                raise UserError(f"{unit.add}: its input {other} is not in memory by itself "
                                "when the sum is computed")
            layer.addition = build_addition(unit.add, tensors, unit.end.output, other,
                                            self.places[other])
        if unit.pool is not None:
            layer.pooling = build_pooling(unit.pool, tensors)
        if unit.average is not None:
            layer.average = build_average(unit.average, tensors)
        self._place_output(layer, unit)
        return layer

    def _merge(self, unit: _Unit):
        """The tensor whose quantization the results take, and whether any branch differs."""
        tensors = self.graph.tensors
        target = tensors[unit.end.output]
        if unit.merge is None and unit.tail in self.places:
            region = self.places[unit.tail].map
            joined = tensors[region.name]
            if region.name != unit.tail and not same_quant(tensors[unit.tail].quant, joined.quant):
                if unit.add or unit.pool or unit.average:
                    raise UserError(f"{unit.end}: a Concat requantises its result behind "
                                    f"{unit.add or unit.pool or unit.average}; give the inputs of "
                                    f"the Concat '{region.name}' one scale")
                target = joined
        rescales = any(not same_quant(tensors[conv.output].quant, target.quant)
                       for conv in unit.convs)
        return target, rescales

    def _place_output(self, layer: Layer, unit: _Unit) -> None:
        tensor = self.graph.tensors[unit.tail]
        if unit.tail in self.places:
            layer.output = self.places[unit.tail]
            region = layer.output.map
            if layer.rescale_zero is not None and unit.merge is None:
                del self.places[unit.tail]
            elif unit.tail != region.name and not same_quant(
                    tensor.quant, self.graph.tensors[region.name].quant):
                raise UserError(f"{unit.end}: give the inputs of the Concat '{region.name}' "
                                "one scale")
            return
        if layer.average:
            channels = layer.conv_shape[0]
            region = FeatureMap(unit.tail, (channels, 1, 1), sums=layer.average.record is None)
        else:
            region = FeatureMap(unit.tail, tensor.shape)
        layer.output = self.places[unit.tail] = Place(region)


def _planes_read(convs: list[Conv]) -> slice:
    """The planes of the input that have weights: a grouped convolution has few."""
    used = np.flatnonzero(np.any([conv.weights.any(axis=(0, 2, 3)) for conv in convs], axis=0))
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
    return slice(first // VECTOR, last // VECTOR + 1)


def _is_pointwise(conv: Conv) -> bool:
    return conv.weights.shape[2:] == (1, 1) and conv.pads == (0, 0, 0, 0)
