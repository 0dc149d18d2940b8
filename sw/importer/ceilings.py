"""Pass `ceilings`: an upper limit of a Conv becomes the end of the integers' own range.

The results get a zero point so high that they saturate at the limit, and an identity convolution
brings them down again; both are exact.
"""

from __future__ import annotations

import dataclasses

from ..graph import Conv, Graph, Node, Quant
from .builder import identity_conv

__all__ = ["expand_ceilings"]


def expand_ceilings(graph: Graph) -> None:
    """Only a limit below the zero point stays, as no zero point is high enough for it."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, Conv) and node.clip is not None:
            tensor = graph.tensors[node.output]
            quant = tensor.quant
            zero_point = quant.zero_point + quant.qmax - node.clip
            if zero_point <= quant.qmax:
                raised = dataclasses.replace(
                    tensor, name=f"{tensor.name}_raised",
                    quant=Quant(quant.scale, zero_point, quant.signed))
                graph.tensors[raised.name] = raised
                nodes.append(dataclasses.replace(node, output=raised.name, clip=None))
                node = identity_conv(f"{node.name}_lowered", raised, tensor.name)
        nodes.append(node)
    graph.nodes = nodes
