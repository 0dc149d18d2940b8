"""QDQ ONNX models to the typed graph of `sw.graph`: an ordered list of passes, one per file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from ..errors import UserError
from ..graph import Graph
from ..verify import verify
from .attributes import check_operators
from .constants import fold_constants
from .dead import drop_dead
from .identities import remove_identities
from .load import load_file, load_model
from .lower import lower
from .quantization import find_quantization
from .raw import RawGraph
from .relu import fuse_relu

__all__ = ["PASSES", "import_model", "import_proto"]

PASSES: tuple[Callable[[RawGraph], None], ...] = (
    drop_dead, check_operators, fold_constants, remove_identities, fuse_relu)
"""What happens to the raw graph, in order, before its quantization is found and it is lowered."""


def import_model(path: str | Path) -> Graph:
    """Read a QDQ model; raises UserError, one line with the file and the node."""
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
        graph.source = source
        verify(graph)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return graph
