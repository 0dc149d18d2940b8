"""Quantized ONNX models (QDQ or QOperator form) to the typed graph of `sw.graph`: an ordered list
of passes, one per file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from ..errors import UserError
from ..graph import Graph
from ..verify import verify
from .activations import fuse_activations
from .attributes import check_operators
from .ceilings import expand_ceilings
from .constants import fold_constants
from .dead import drop_dead
from .fully_connected import add_bias
from .identities import remove_identities
from .integers import wrap_integers
from .load import load_file, load_model
from .lower import lower
from .operator_form import expand_operator_form
from .quantization import find_quantization
from .raw import RawGraph

__all__ = ["PASSES", "import_model", "import_proto"]

PASSES: tuple[Callable[[RawGraph], None], ...] = (
    drop_dead, check_operators, fold_constants, drop_dead, remove_identities, expand_operator_form,
    wrap_integers, add_bias, fuse_activations)
"""What happens to the raw graph, in order, before its quantization is found and it is lowered."""


def import_model(path: str | Path) -> Graph:
    """Read a quantized model; raises UserError, one line with the file and the node."""
    return _import(str(path), lambda: load_file(path))


def import_proto(model: onnx.ModelProto, source: str = "model") -> Graph:
    """The same for a model in memory; `source` stands for the file in messages."""
    return _import(source, lambda: load_model(model))


def _import(source: str, load: Callable[[], RawGraph]) -> Graph:
    try:
        raw = load()
        for rewrite in PASSES:
            rewrite(raw)
        graph = lower(raw, find_quantization(raw))
        expand_ceilings(graph)
        graph.source = source
        verify(graph)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return graph
