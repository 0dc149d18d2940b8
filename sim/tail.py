"""The host's part of a network: from what the core writes to the model's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sw.graph import Graph, HostOp

from .golden.graph import evaluate

__all__ = ["host_tail", "labels_of", "name_classes", "same_ranking", "top_classes"]

LABELS_KEY = "firecore.labels"
CLOSE = 1e-5
"""Relative difference of scores that a float tail may make."""


def host_tail(graph: Graph, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's outputs by name, from the tensors read back (`Run.tensors`)."""
    values = dict(tensors)
    for node in graph.nodes:
        if isinstance(node, HostOp) and all(name in values for name in node.inputs):
            result = evaluate(graph, node, [values[name] for name in node.inputs])
            values[node.output] = result.reshape(graph.tensors[node.output].shape)
    return {name: values[name] for name in graph.outputs}


def top_classes(values: np.ndarray, count: int = 5) -> list[list[int | float]]:
    """[[class, score], ...], best first; ties go to the lower class."""
    scores = np.asarray(values).reshape(-1)
    best = np.argsort(-scores.astype(np.float64), kind="stable")[:count]
    return [[int(i), scores[i].item()] for i in best]


def same_ranking(found: np.ndarray, reference: np.ndarray, count: int = 5) -> bool:
    """Whether the best classes agree, where scores that differ by rounding only count as equal."""
    scores = np.asarray(reference, np.float64).reshape(-1)
    limit = CLOSE * max(float(np.abs(scores).max()), 1e-30)
    return all(abs(scores[ours] - scores[theirs]) <= limit for (ours, _), (theirs, _) in zip(
        top_classes(found, count), top_classes(reference, count), strict=True))


def name_classes(best: Sequence[Sequence[int | float]], labels: Sequence[str]) -> str:
    """What `top_classes` gives, in words; a class without a label is its number."""
    return ", ".join(f"{labels[index] if index < len(labels) else index} {score:.4g}"
                     for index, score in best)


def labels_of(graph: Graph) -> list[str]:
    """Names of the classes from the model's metadata (`firecore.labels`, separated by commas or
    lines); empty if it has none."""
    text = graph.metadata.get(LABELS_KEY, "")
    separator = "\n" if "\n" in text.strip() else ","
    return [label.strip() for label in text.strip().split(separator)] if text.strip() else []
