"""The host's tail: reshapes and Softmax in float, and quantizations between them."""

from __future__ import annotations

from ..errors import UserError
from ..graph import HostOp, Tensor
from .attributes import read_integer
from .builder import Builder
from .raw import RawNode
from .shapes import reshaped

__all__ = ["flattened", "lower_host", "lower_quantize"]

_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def lower_host(builder: Builder, node: RawNode) -> None:
    if node.op not in (*_RESHAPES, "Softmax"):
        raise UserError(f"{node}: {node.op} is supported on constants only; its input "
                        f"'{node.input(0)}' is computed")
    source = _input(builder, node, node.inputs[0])
    shape = builder.shapes[source]
    attributes = {}
    if node.op == "Softmax":
        attributes["axes"] = _softmax_axes(node, len(shape), builder.raw.opset)
    else:
        shape = reshaped(builder.raw, node, shape)
    builder.add(HostOp(node.name, (source,), node.outputs[0], node.op,
                       {"shape": shape, **attributes}), shape, None)


def lower_quantize(builder: Builder, node: RawNode) -> None:
    """Only behind a float tensor of the tail it is an operator of its own."""
    source, site = node.inputs[0], builder.quantization.writes.get(node.inputs[0])
    if source in builder.tensors and builder.tensors[source].quant is None \
            and site and site.name == node.outputs[0]:
        shape = builder.shapes[source]
        builder.add(HostOp(node.name, (source,), site.name, "Quantize", {"shape": shape}),
                    shape, site.quant)


def flattened(builder: Builder, node: RawNode, name: str) -> Tensor:
    """The map (C, H, W) of the accelerator whose values, in order, are those of float `name`.

    Between them may be reshapes, and quantizations that are the map's own.
    """
    tensor = builder.tensors.get(name) or builder.integers(node, name)
    shape = builder.shapes[tensor.name]
    if len(shape) != 2 or shape[0] != 1:
        raise UserError(f"{node}: its input has shape {list(shape)}; [1, K] is supported")
    producers = {other.output: other for other in builder.nodes}
    quants = []
    while isinstance(step := producers[tensor.name], HostOp):
        quants.append(tensor.quant)
        if step.kind == "Softmax":
            raise UserError(f"{node}: its input '{name}' is computed on the host ({step}); only "
                            "operators of the tail may follow")
        tensor = builder.tensors[step.inputs[0]]
    if tensor.quant is None or len(tensor.shape) != 3:
        raise UserError(f"{node}: its input '{name}' is not quantized (it comes from {step}); "
                        "activations between a QuantizeLinear and a DequantizeLinear are "
                        "supported")
    for quant in filter(None, quants):
        if quant != tensor.quant:
            raise UserError(f"{node}: '{tensor.name}' is {tensor.quant}, but {quant} behind its "
                            "reshape; one quantization is supported")
    return tensor


def _input(builder: Builder, node: RawNode, name: str) -> str:
    if name in builder.quantization.reads:
        builder.integers(node, name)
        return builder.dequantized(name)
    if name in builder.tensors and builder.tensors[name].quant is None:
        return name
    raise UserError(f"{node}: its input '{name}' is not behind a DequantizeLinear; the host "
                    "computes only the tail of a model")


def _softmax_axes(node: RawNode, rank: int, opset: int) -> tuple[int, ...]:
    """One axis; before opset 13 it meant that axis and all behind it."""
    axis = read_integer(node, "axis", -1 if opset >= 13 else 1)
    if not -rank <= axis < rank:
        raise UserError(f"{node}: axis {axis} of a tensor with {rank} dimensions")
    return (axis % rank,) if opset >= 13 else tuple(range(axis % rank, rank))
