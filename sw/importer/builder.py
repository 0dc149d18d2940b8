"""The typed graph in the making: nodes and tensors under unique names, and who reads what."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import UserError
from ..graph import Concat, Conv, Graph, HostOp, Node, Quant, Tensor
from .quantization import Quantization, Site
from .raw import RawGraph, RawNode

__all__ = ["Builder", "identity_conv"]


class Builder:
    """`shapes` are those of ONNX, with the batch dimension."""

    def __init__(self, raw: RawGraph, quantization: Quantization) -> None:
        self.raw = raw
        self.quantization = quantization
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.notes: list[str] = []
        self._names: set[str] = set()
        self._producers = raw.producers()

    def graph(self) -> Graph:
        """The graph so far, without host operators that no output needs."""
        outputs = tuple(map(self._output, self.raw.outputs))
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if node.output in needed or not isinstance(node, HostOp):
                needed.update(node.inputs)
                kept.append(node)
        tensors = {node.output: self.tensors[node.output] for node in reversed(kept)}
        return Graph(kept[::-1], tensors, self.raw.input, outputs, self.raw.metadata,
                     notes=self.notes)

    # Writing

    def add(self, node: Node, onnx_shape: tuple[int, ...], quant: Quant | None,
            shape: tuple[int, ...] | None = None) -> None:
        """Take a node and its output tensor; `shape` is that without the batch dimension."""
        if node.name in self._names:
            object.__setattr__(node, "name", node.output)
        self._names.add(node.name)
        if node.output in self.tensors:
            raise UserError(f"{node}: its output '{node.output}' is defined twice")
        if shape is None:
            batched = len(onnx_shape) > 1 and onnx_shape[0] == 1
            shape = onnx_shape[1:] if batched else onnx_shape
        self.nodes.append(node)
        self.shapes[node.output] = onnx_shape
        self.tensors[node.output] = Tensor(node.output, shape, quant)

    def requantize(self, name: str, source: str, site: Site) -> None:
        """Tensor `source` in another quantization."""
        self.add(Concat(name, (source,), site.name), self.shapes[source], site.quant,
                 self.tensors[source].shape)

    def pass_on(self, name: str, source: Tensor, output: str, channels: np.ndarray | None = None,
                relu: bool = False, clip: int | None = None) -> Tensor:
        """The integers of some channels (default: all) by an identity convolution."""
        node = identity_conv(name, source, output, channels, relu, clip)
        shape = (len(node.weights), *source.shape[1:])
        self.add(node, (1, *shape), source.quant, shape)
        return self.tensors[output]

    def replace(self, node: Node, changed: Node) -> None:
        """Another node for one that nothing reads yet, perhaps with another output name."""
        self.nodes[self.nodes.index(node)] = changed
        tensor, shape = self.tensors.pop(node.output), self.shapes.pop(node.output)
        if changed.output in self.tensors:
            raise UserError(f"{changed}: its output '{changed.output}' is defined twice")
        self.tensors[changed.output] = dataclasses.replace(tensor, name=changed.output)
        self.shapes[changed.output] = shape

    # Reading

    def read(self, node: RawNode, name: str) -> Tensor:
        """The integer map that an accelerated operator reads."""
        tensor = self.integers(node, name)
        if any(isinstance(other, HostOp) and other.output == tensor.name for other in self.nodes):
            raise UserError(f"{node}: its input '{name}' is computed on the host; only operators "
                            "of the tail may follow")
        if len(tensor.shape) != 3:
            raise UserError(f"{node}: its input has shape {list(tensor.shape)}; C, H, W is needed")
        return tensor

    def integers(self, node: RawNode, name: str) -> Tensor:
        """The integer tensor behind a dequantized value."""
        site = self.quantization.reads.get(name)
        if site is None or site.name not in self.tensors:
            source = self._producers.get(name)
            is_constant = site or name in self.raw.constants or (
                source is not None and source.input(0) in self.raw.constants)
            raise UserError(f"{node}: its input '{name}' is "
                            f"{'a constant' if is_constant else 'not quantized'}; activations "
                            "between a QuantizeLinear and a DequantizeLinear are supported")
        return self.tensors[site.name]

    def written(self, node: RawNode) -> Site:
        site = self.quantization.writes.get(node.outputs[0])
        if site is None:
            raise UserError(f"{node}: no QuantizeLinear behind its output '{node.outputs[0]}'")
        for name in filter(None, node.outputs[1:]):
            if name in self.raw.outputs or any(self.raw.consumers(name)):
                raise UserError(f"{node}: its second output is used; that is not supported")
        return site

    def is_private(self, dequantized: str) -> bool:
        """Whether the integers behind a dequantized value have this one reader only."""
        raw = self.raw
        dequantize = self._producers[dequantized]
        quantize = self._producers.get(dequantize.inputs[0])
        names = [dequantized, dequantize.inputs[0], *(quantize.inputs[:1] if quantize else [])]
        return quantize is not None and not any(map(raw.is_shared, names))

    def is_floating(self, node: RawNode) -> bool:
        """Whether onnxruntime leaves it in float, as its neighbours are."""
        return any(name in self.quantization.floating for name in (*node.inputs, *node.outputs))

    def dequantized(self, name: str) -> str:
        """The float tensor `name`, read from its integers by the host."""
        if name not in self.tensors:
            site = self.quantization.reads[name]
            if site.name not in self.tensors:
                raise UserError(f"output '{name}' is a constant")
            shape = self.shapes[site.name]
            producer = self._producers[name]
            self.add(HostOp(producer.name if producer.op == "DequantizeLinear" else name,
                            (site.name,), name, "Dequantize", {"shape": shape}), shape, None)
        return name

    def _output(self, name: str) -> str:
        """Graph outputs: an integer tensor, or a float one of the tail."""
        same = self.quantization.aliases.get(name)
        if same in self.tensors and name not in self.tensors:
            self.requantize(name, same, Site(name, self.tensors[same].quant))  # a copy
        if name in self.tensors:
            return name
        if name in self.quantization.reads:
            return self.dequantized(name)
        raise UserError(f"output '{name}' is a float value before its quantization; put the output "
                        "behind a DequantizeLinear")


def identity_conv(name: str, source: Tensor, output: str, channels: np.ndarray | None = None,
                  relu: bool = False, clip: int | None = None) -> Conv:
    """A 1x1 convolution that gives channels of its input (default: all) as they are, limited."""
    weights = np.eye(source.shape[0], dtype=np.int8)
    weights = weights if channels is None else weights[channels]
    count = len(weights)
    return Conv(name, (source.name,), output, weights.reshape(count, -1, 1, 1),
                np.ones(count, np.float32), np.zeros(count, np.int32), (1, 1), (0, 0, 0, 0),
                relu, clip)
