"""Pass `lower`: operators with known quantization to the nodes of `sw.graph`."""

from __future__ import annotations

import math

import numpy as np

from ..errors import UserError
from ..graph import (
    Add,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    HostOp,
    Input,
    MaxPool,
    Node,
    Quant,
    Tensor,
    window_outputs,
)
from .attributes import Window, read_window
from .quantization import Quantization, Site
from .raw import RawGraph, RawNode
from .weights import read_bias, read_weights

__all__ = ["lower"]


def lower(raw: RawGraph, quantization: Quantization) -> Graph:
    """Raises UserError for anything that the graph cannot express exactly."""
    return _Lowering(raw, quantization).run()


class _Lowering:
    def __init__(self, raw: RawGraph, quantization: Quantization) -> None:
        self.raw = raw
        self.quantization = quantization
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.onnx_shapes: dict[str, tuple[int, ...]] = {}  # with the batch dimension
        self.names: set[str] = set()

    def run(self) -> Graph:
        self._input()
        handlers = {"Conv": self._conv, "MaxPool": self._max_pool, "Concat": self._concat,
                    "Add": self._sum, "GlobalAveragePool": self._average,
                    "QuantizeLinear": self._quantize}
        for node in self.raw.nodes:
            if node.op != "DequantizeLinear":  # belongs to its readers
                handlers.get(node.op, self._host)(node)
        return Graph(self.nodes, self.tensors, self.raw.input,
                     tuple(self._output(name) for name in self.raw.outputs),
                     self.raw.metadata)

    # Tensors

    def _input(self) -> None:
        name = self.raw.input
        sites = [self.quantization.writes.get(name)]
        sites += [site for site in self.quantization.reads.values() if site.name == name]
        site = next(filter(None, sites), None)
        if site is None:
            for node in self.raw.nodes:  # the likely reason, if there is a Conv
                if node.op == "Conv":
                    read_weights(self.raw, node)
            raise UserError(f"the model is not quantized: no QuantizeLinear behind its input "
                            f"'{name}'; firecore takes QDQ models: quantize it first")
        shape = self.raw.input_shape
        self._add(Input(name, (), site.name, name), shape, site.quant)

    def _add(self, node: Node, onnx_shape: tuple[int, ...], quant: Quant | None) -> None:
        """Take a node and its output tensor; node names are made unique."""
        if node.name in self.names:
            object.__setattr__(node, "name", node.output)
        self.names.add(node.name)
        if node.output in self.tensors:
            raise UserError(f"{node}: its output '{node.output}' is defined twice")
        batched = len(onnx_shape) > 1 and onnx_shape[0] == 1
        self.nodes.append(node)
        self.onnx_shapes[node.output] = onnx_shape
        self.tensors[node.output] = Tensor(
            node.output, onnx_shape[1:] if batched else onnx_shape, quant)

    def _read(self, node: RawNode, name: str) -> Tensor:
        """The integer tensor that an accelerated operator reads."""
        site = self.quantization.reads.get(name)
        if site is None:
            what = "a constant" if name in self.raw.constants else "not quantized"
            raise UserError(f"{node}: its input '{name}' is {what}; activations between a "
                            "QuantizeLinear and a DequantizeLinear are supported")
        tensor = self.tensors[site.name]
        if any(isinstance(other, HostOp) and other.output == site.name for other in self.nodes):
            raise UserError(f"{node}: its input '{name}' is computed on the host; only operators "
                            "of the tail may follow")
        if len(tensor.shape) != 3:
            raise UserError(f"{node}: its input has shape {list(tensor.shape)}; C, H, W is needed")
        return tensor

    def _written(self, node: RawNode) -> Site:
        site = self.quantization.writes.get(node.outputs[0])
        if site is None:
            raise UserError(f"{node}: no QuantizeLinear behind its output '{node.outputs[0]}'")
        if any(node.outputs[1:]):
            raise UserError(f"{node}: its second output is not supported")
        return site

    def _output(self, name: str) -> str:
        """Graph outputs: an integer tensor, or a float one of the tail."""
        name = self.quantization.aliases.get(name, name)
        if name in self.tensors:
            return name
        if name in self.quantization.reads:
            return self._dequantized(name)
        raise UserError(f"output '{name}' is a float value before its quantization; put the output "
                        "behind a DequantizeLinear")

    # Accelerated operators

    def _conv(self, node: RawNode) -> None:
        weights, scale = read_weights(self.raw, node)
        source, site = self._read(node, node.inputs[0]), self._written(node)
        channels, height, width = source.shape
        if node.attributes.get("group", 1) != 1:
            raise UserError(f"{node}: group {node.attributes['group']}; only 1 is supported")
        if weights.shape[1] != channels:
            raise UserError(f"{node}: its weights take {weights.shape[1]} channels, its input has "
                            f"{channels}")
        window = read_window(node, (height, width), weights.shape[2:])
        self._add(
            Conv(node.name, (source.name,), site.name, weights, scale,
                 read_bias(self.raw, node, source.quant, scale), window.strides, window.pads,
                 node.relu),
            (1, weights.shape[0], *_sizes(node, source, window)), site.quant)

    def _max_pool(self, node: RawNode) -> None:
        source, site = self._read(node, node.inputs[0]), self._written(node)
        if site.quant != source.quant:
            raise UserError(f"{node}: it changes the quantization from {source.quant} to "
                            f"{site.quant}; a MaxPool keeps that of its input")
        if node.attributes.get("storage_order", 0):
            raise UserError(f"{node}: storage_order is not supported")
        window = read_window(node, source.shape[1:])
        if any(pad >= size for pad, size in zip(window.pads, window.kernel * 2, strict=True)):
            raise UserError(f"{node}: pads {list(window.pads)} are not smaller than the kernel "
                            f"{list(window.kernel)}")
        ceil_mode = bool(node.attributes.get("ceil_mode", 0))
        self._add(
            MaxPool(node.name, (source.name,), site.name, window.kernel, window.strides,
                    window.pads, ceil_mode),
            (1, source.shape[0], *_sizes(node, source, window, ceil_mode)), site.quant)

    def _concat(self, node: RawNode) -> None:
        sources, site = [self._read(node, name) for name in node.inputs], self._written(node)
        if node.attributes.get("axis") not in (1, -3):
            raise UserError(f"{node}: axis {node.attributes.get('axis')}; only channels (1) are "
                            "supported")
        maps = {source.shape[1:] for source in sources}
        if len(maps) != 1:
            raise UserError(f"{node}: its inputs have maps of different sizes: {sorted(maps)}")
        channels = sum(source.shape[0] for source in sources)
        self._add(Concat(node.name, tuple(source.name for source in sources), site.name),
                  (1, channels, *maps.pop()), site.quant)

    def _sum(self, node: RawNode) -> None:
        sources, site = [self._read(node, name) for name in node.inputs], self._written(node)
        if len({source.shape for source in sources}) != 1:
            shapes = " and ".join(str(list(source.shape)) for source in sources)
            raise UserError(f"{node}: shapes {shapes}; only equal shapes are supported")
        self._add(Add(node.name, tuple(source.name for source in sources), site.name, node.relu),
                  (1, *sources[0].shape), site.quant)

    def _average(self, node: RawNode) -> None:
        source = self._read(node, node.inputs[0])
        site = self.quantization.writes.get(node.outputs[0])
        output, quant = (site.name, site.quant) if site else (node.outputs[0], None)
        self._add(GlobalAveragePool(node.name, (source.name,), output),
                  (1, source.shape[0], 1, 1), quant)

    # Host tail

    def _host(self, node: RawNode) -> None:
        source = self._host_input(node, node.inputs[0])
        shape = self.onnx_shapes[source]
        attributes = {}
        if node.op == "Softmax":
            attributes["axes"] = _softmax_axes(node, len(shape), self.raw.opset)
        else:
            shape = _reshaped(self.raw, node, shape)
        self._add(HostOp(node.name, (source,), node.outputs[0], node.op,
                         {"shape": shape, **attributes}), shape, None)

    def _quantize(self, node: RawNode) -> None:
        """Only behind a float tensor of the tail it is an operator of its own."""
        source, site = node.inputs[0], self.quantization.writes.get(node.inputs[0])
        if source in self.tensors and self.tensors[source].quant is None \
                and site and site.name == node.outputs[0]:
            shape = self.onnx_shapes[source]
            self._add(HostOp(node.name, (source,), site.name, "Quantize", {"shape": shape}),
                      shape, site.quant)

    def _host_input(self, node: RawNode, name: str) -> str:
        if name in self.quantization.reads:
            return self._dequantized(name)
        if name in self.tensors and self.tensors[name].quant is None:
            return name
        raise UserError(f"{node}: its input '{name}' is not behind a DequantizeLinear; the host "
                        "computes only the tail of a model")

    def _dequantized(self, name: str) -> str:
        """The float tensor `name`, read from its integers by the host."""
        if name not in self.tensors:
            site = self.quantization.reads[name]
            shape = self.onnx_shapes[site.name]
            producer = self.raw.producers()[name]
            self._add(HostOp(producer.name if producer.op == "DequantizeLinear" else name,
                             (site.name,), name, "Dequantize", {"shape": shape}), shape, None)
        return name


def _sizes(node: RawNode, source: Tensor, window: Window,
           ceil_mode: bool = False) -> tuple[int, int]:
    top, left, bottom, right = window.pads
    (kh, kw), (sh, sw) = window.kernel, window.strides
    sizes = (window_outputs(source.shape[1], kh, sh, top, bottom, ceil_mode),
             window_outputs(source.shape[2], kw, sw, left, right, ceil_mode))
    if min(sizes) < 1:
        raise UserError(f"{node}: kernel {[kh, kw]} is larger than its input "
                        f"{list(source.shape[1:])} with pads {list(window.pads)}")
    return sizes


def _softmax_axes(node: RawNode, rank: int, opset: int) -> tuple[int, ...]:
    """One axis; before opset 13 it meant that axis and all behind it."""
    axis = node.attributes.get("axis", -1 if opset >= 13 else 1)
    if not -rank <= axis < rank:
        raise UserError(f"{node}: axis {axis} of a tensor with {rank} dimensions")
    return (axis % rank,) if opset >= 13 else tuple(range(axis % rank, rank))


def _reshaped(raw: RawGraph, node: RawNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Output shape of an operator that only changes the shape."""
    rank = len(shape)
    if node.op == "Flatten":
        axis = node.attributes.get("axis", 1)
        if not -rank <= axis <= rank:
            raise UserError(f"{node}: axis {axis} of a tensor with {rank} dimensions")
        axis += rank if axis < 0 else 0
        return math.prod(shape[:axis]), math.prod(shape[axis:])
    wanted = _integers(raw, node, "shape" if node.op == "Reshape" else "axes")
    if node.op == "Reshape":
        copied = [shape[i] if size == 0 and i < rank and not node.attributes.get("allowzero")
                  else size for i, size in enumerate(wanted)]
        known = math.prod(size for size in copied if size != -1)
        result = [math.prod(shape) // max(known, 1) if size == -1 else size for size in copied]
        if copied.count(-1) > 1 or math.prod(result) != math.prod(shape) or min(result) < 1:
            raise UserError(f"{node}: shape {list(wanted)} does not fit {list(shape)}")
        return tuple(result)
    if node.op == "Squeeze":
        axes = {axis % rank for axis in wanted or range(rank) if wanted or shape[axis] == 1}
        if any(shape[axis] != 1 for axis in axes):
            raise UserError(f"{node}: axes {list(wanted)} of {list(shape)} are not all 1")
        return tuple(size for axis, size in enumerate(shape) if axis not in axes)
    result = list(shape)
    for axis in sorted(axis % (rank + len(wanted)) for axis in wanted):
        result.insert(axis, 1)
    return tuple(result)


def _integers(raw: RawGraph, node: RawNode, name: str) -> tuple[int, ...]:
    """A list of integers given as attribute (old opsets) or as constant input."""
    if name in node.attributes:
        return tuple(node.attributes[name])
    if not node.input(1):
        if node.op == "Squeeze":
            return ()
        raise UserError(f"{node}: its {name} is missing")
    values = raw.constants.get(node.inputs[1])
    if values is None or not np.issubdtype(values.dtype, np.integer):
        raise UserError(f"{node}: its {name} '{node.inputs[1]}' is not a constant of integers")
    return tuple(int(value) for value in values.reshape(-1))
