"""Passes over a `FloatNetwork`: after them only Conv and Add have a Relu, and no Affine is left."""

from __future__ import annotations

import numpy as np

from .network import FloatNetwork, Op

__all__ = ["drop_dead", "fold_affine", "fold_relu", "pointwise", "simplify"]


def simplify(network: FloatNetwork) -> None:
    """All passes. An Affine that reads the input stays: it becomes part of the preprocessing."""
    drop_dead(network)
    fold_affine(network)
    fold_relu(network)


def drop_dead(network: FloatNetwork) -> None:
    """Takes out what no output depends on."""
    needed = {output.tensor for output in network.outputs}
    for op in reversed(network.ops):
        if op.output in needed:
            needed.update(op.inputs)
    network.ops = [op for op in network.ops if op.output in needed]


def fold_affine(network: FloatNetwork) -> None:
    """BatchNormalization and constant factors go into the Conv before them, or become a pointwise
    convolution of each channel where there is none."""
    for op in [op for op in network.ops if op.kind == "Affine"]:
        producer = network.producer(op.inputs[0])
        if producer is None and network.only_reader(network.input) is op:
            continue
        if producer and producer.kind in ("Conv", "Affine") and not producer.relu \
                and network.only_reader(producer.output) is op:
            shape = (-1,) + (1,) * (producer.weights.ndim - 1)
            producer.weights = producer.weights * op.weights.reshape(shape)
            producer.bias = producer.bias * op.weights + op.bias
            network.absorb(producer, op)
        else:
            pointwise(op, op.weights, op.bias)


def fold_relu(network: FloatNetwork) -> None:
    """A Relu goes into the Conv or Add before it; past a MaxPool or Concat it is moved up first."""
    while relu := next((op for op in network.ops if op.kind == "Relu"), None):
        producer = network.producer(relu.inputs[0])
        alone = producer is not None and network.only_reader(producer.output) is relu
        if alone and producer.kind in ("Conv", "Add"):
            limits = [op.limit for op in (producer, relu) if op.limit is not None]
            producer.relu, producer.limit = True, min(limits, default=None)
            network.absorb(producer, relu)
        elif alone and producer.kind in ("MaxPool", "Concat"):
            _move_up(network, producer, relu)
        else:
            pointwise(relu, np.ones(network.shapes[relu.output][0]), None)
            relu.relu = True


def _move_up(network: FloatNetwork, producer: Op, relu: Op) -> None:
    at = network.ops.index(producer)
    network.absorb(producer, relu)
    for number, source in enumerate(producer.inputs):
        name = f"{source}_relu_of_{producer.output}_{number}"
        network.ops.insert(at, Op("Relu", name, [source], name, limit=relu.limit))
        network.shapes[name] = network.shapes[source]
        producer.inputs[number] = name
        at += 1


def pointwise(op: Op, factor: np.ndarray, offset: np.ndarray | None) -> None:
    """Makes an operator the depthwise 1x1 convolution that multiplies each channel."""
    count = len(factor)
    op.kind = "Conv"
    op.weights = np.asarray(factor, np.float64).reshape(count, 1, 1, 1)
    op.bias = np.zeros(count) if offset is None else np.asarray(offset, np.float64)
    op.attributes = {"strides": (1, 1), "pads": (0, 0, 0, 0), "group": count}
