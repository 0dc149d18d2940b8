"""Weights of more than 8 bits: uint8 or int8 minus a zero point may reach from -255 to 255."""

from __future__ import annotations

import numpy as np

from ..graph import Tensor
from .builder import Builder
from .raw import RawNode

__all__ = ["fit_weights"]


def fit_weights(builder: Builder, node: RawNode, source: Tensor,
                weights: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """int8 [co, more, kh, kw] of int16 [co, ci, kh, kw], and the map that they are for.

    A weight that does not fit is a sum of some that do, and its channel is in the map as often.
    """
    parts, channels = [], []
    which = np.arange(weights.shape[1])
    while len(which) or not parts:
        fitting = np.clip(weights[:, which], -128, 127)
        parts.append(fitting.astype(np.int8))
        channels.append(which)
        weights = weights.copy()
        weights[:, which] -= fitting
        which = np.flatnonzero(weights.any(axis=(0, 2, 3)))
    if len(parts) > 1:
        source = builder.pass_on(f"{node.name}_copies", source, f"{node.outputs[0]}_copies",
                                 np.concatenate(channels))
    return source, np.concatenate(parts, axis=1)
