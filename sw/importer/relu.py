"""Pass `relu`: fuse each Relu into the Conv or Add before it."""

from __future__ import annotations

from ..errors import UserError
from .parameters import read_quant
from .raw import RawGraph, RawNode

__all__ = ["fuse_relu"]

_TAKES_RELU = ("Conv", "Add")


def fuse_relu(graph: RawGraph) -> None:
    for node in [node for node in graph.nodes if node.op == "Relu"]:
        producers = graph.producers()
        producer = producers.get(node.inputs[0])
        if producer is not None and producer.op == "DequantizeLinear":
            producer = _drop_requantization(graph, node, producer, producers)
        if producer is None or producer.op not in _TAKES_RELU:
            raise UserError(f"{node}: a Relu directly behind a Conv or an Add is supported, here "
                            f"it reads {producer or 'the input'}")
        if _is_shared(graph, producer.outputs[0]):
            raise UserError(f"{node}: the value before it is used elsewhere too; not supported")
        producer.relu = True
        producer.outputs = [node.outputs[0]]
        graph.nodes.remove(node)


def _drop_requantization(graph: RawGraph, relu: RawNode, dequantize: RawNode,
                         producers: dict[str, RawNode]) -> RawNode | None:
    """Conv, Q, DQ, Relu, Q of one scale is Conv, Relu, Q: clipping commutes with rounding."""
    quantize = producers.get(dequantize.inputs[0])
    if quantize is None or quantize.op != "QuantizeLinear":
        return dequantize
    behind = list(graph.consumers(relu.outputs[0]))
    if not behind or any(node.op != "QuantizeLinear" for node in behind):
        raise UserError(f"{relu}: no QuantizeLinear behind it")
    before = read_quant(graph, quantize)
    for node in behind:
        if read_quant(graph, node) != before:
            raise UserError(f"{relu}: it changes the quantization from {before} to "
                            f"{read_quant(graph, node)}; quantize Conv and Relu as one")
    for name in (*quantize.inputs[:1], *quantize.outputs, *dequantize.outputs):
        if _is_shared(graph, name):
            raise UserError(f"{relu}: the value before it is used elsewhere too; not supported")
    graph.nodes.remove(quantize)
    graph.nodes.remove(dequantize)
    return producers.get(quantize.inputs[0])


def _is_shared(graph: RawGraph, tensor: str) -> bool:
    return tensor in graph.outputs or sum(1 for _ in graph.consumers(tensor)) > 1
