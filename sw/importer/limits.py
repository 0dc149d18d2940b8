"""Limits of values (Relu, Clip) in integers, and Relu and Clip between two quantizations."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import UserError
from ..graph import Add, Conv, Quant, Tensor
from .activations import quantize
from .builder import Builder
from .quantization import Site
from .raw import RawNode

__all__ = ["integer_limits", "lower_activation"]


def integer_limits(node: RawNode, quant: Quant) -> tuple[bool, int | None]:
    """`relu` and `clip` of a Conv, from limits that were fused into it."""
    low, high = quantize(node.low, quant), quantize(node.high, quant)
    if low > quant.qmin and node.low != 0:
        raise UserError(f"{node}: a lower limit of {node.low:g} is not supported; 0 and what the "
                        "quantization behind it implies are")
    return node.low == 0, high if high < quant.qmax else None


def lower_activation(builder: Builder, node: RawNode) -> None:
    """On integers: limits in the input's quantization, then, if it changes, a requantization."""
    source, site = builder.read(node, node.inputs[0]), builder.written(node)
    if site.name == source.name:
        return  # it changes nothing
    relu, clip = _limits_between(node, source.quant, site.quant)
    changes = source.quant != site.quant
    limited = Site(f"{site.name}_limited" if changes else site.name, source.quant)
    if relu or clip is not None:
        _limit(builder, node, source, limited.name, relu, clip)
    else:
        limited = Site(source.name, source.quant)
    if changes:
        builder.requantize(node.name, limited.name, site)


def _limits_between(node: RawNode, source: Quant, result: Quant) -> tuple[bool, int | None]:
    """Limits on the input's integers that give what onnxruntime computes in float."""
    integers = np.arange(source.qmin, source.qmax + 1)
    real = (integers - source.zero_point).astype(np.float32) * source.scale
    limited = np.clip(real, np.float32(node.low), np.float32(node.high))
    wanted, plain = ([quantize(value, result) for value in values] for values in (limited, real))
    for relu in (False, True):
        least = source.zero_point if relu else source.qmin
        for most in range(source.qmax, least, -1):
            if plain[most - source.qmin] < wanted[-1]:
                break
            chosen = np.clip(integers, least, most) - source.qmin
            if [plain[index] for index in chosen] == wanted:
                return relu, most if most < source.qmax else None
    raise UserError(f"{node}: limits {node.low:g} to {node.high:g} between {source} and {result} "
                    "are not those of one integer; quantize its input with the scale of its "
                    "output")


def _limit(builder: Builder, node: RawNode, source: Tensor, output: str, relu: bool,
           clip: int | None) -> None:
    own = next(each for each in builder.nodes if each.output == source.name)
    if builder.is_private(node.inputs[0]):
        if isinstance(own, Conv) and not own.relu and own.clip is None:
            builder.replace(own, dataclasses.replace(own, output=output, relu=relu, clip=clip))
            return
        if isinstance(own, Add) and not own.relu and clip is None:
            builder.replace(own, dataclasses.replace(own, output=output, relu=relu))
            return
    builder.pass_on(node.name, source, output, None, relu, clip)
