"""The nodes of a float ONNX model to the operators of a `FloatNetwork`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..errors import UserError
from ..graph import window_outputs
from ..importer.raw import RawGraph, RawNode
from .load import constant_value
from .network import FloatNetwork, Op, Output

__all__ = ["build"]

_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
_PASSED = ("Identity", "Dropout", "Cast")


def build(raw: RawGraph) -> FloatNetwork:
    """Raises UserError for an operator that cannot be quantized."""
    return _Builder(raw).run()


class _Builder:
    """Reshapes are views: they give no operator, only another shape for readers that look at one
    (`views`), until the tail or an output needs it."""

    def __init__(self, raw: RawGraph) -> None:
        self.raw = raw
        self.constants = raw.constants
        self.ops: list[Op] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.views: dict[str, tuple[str, tuple[int, ...]]] = {}  # tensor behind, ONNX shape
        self.padded: dict[str, tuple[int, ...]] = {}

    def run(self) -> FloatNetwork:
        raw = self.raw
        self._define(raw.input, raw.input_shape[1:])
        for node in raw.nodes:
            if all(name in self.constants for name in node.inputs if name):
                self.constants[node.outputs[0]] = constant_value(node, self.constants, raw.opset)
            elif node.op == "Shape":
                self.constants[node.outputs[0]] = self._shape_of(node)
            else:
                self._node(node)
        outputs = []
        for name in raw.outputs:
            if name in self.constants or name == raw.input:
                raise UserError(f"output '{name}' does not depend on an operator")
            outputs.append(Output(name, *self._viewed(name)))
        network = FloatNetwork(self.ops, self.shapes, raw.input, outputs, raw.metadata)
        for output in outputs:
            # A Reshape gives the output, the tensor behind it needs a name of its own.
            if output.name == output.tensor and output.shape != (1, *self.shapes[output.tensor]):
                network.rename(output.tensor, f"{output.tensor}_map")
        return network

    # Tensors

    def _define(self, name: str, shape: tuple[int, ...],
                view: tuple[int, ...] | None = None) -> None:
        self.shapes[name] = tuple(shape)
        self.views[name] = name, view or (1, *shape)

    def _viewed(self, name: str) -> tuple[str, tuple[int, ...]]:
        if name in self.padded:
            raise UserError(f"the Pad in front of '{name}' is read by something other than a Conv")
        return self.views[name]

    def _source(self, node: RawNode, index: int = 0) -> tuple[str, tuple[int, ...]]:
        """An input that is an activation: the tensor behind it, and its ONNX shape."""
        name = node.input(index)
        if name in self.constants or not name:
            raise UserError(f"{node}: its input '{name}' is a constant; an activation is needed")
        return self._viewed(name)

    def _map(self, node: RawNode, index: int = 0) -> str:
        """An input that is a map (C, H, W) as it stands."""
        tensor, view = self._source(node, index)
        if view != (1, *self.shapes[tensor]) or len(view) != 4:
            raise UserError(f"{node}: its input has shape {list(view)}; a map [1, C, H, W] that "
                            "was not reshaped is needed")
        return tensor

    def _constant(self, node: RawNode, index: int, what: str) -> np.ndarray:
        value = self.constants.get(node.input(index))
        if value is None:
            raise UserError(f"{node}: its {what} '{node.input(index)}' is not a constant")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise UserError(f"{node}: its {what} holds values that are not finite")
        return value

    def _integers(self, node: RawNode, index: int, name: str) -> list[int] | None:
        """A list that is an attribute or, in newer opsets, an input; None where it is absent."""
        if name in node.attributes:
            return list(node.attributes[name])
        if not node.input(index):
            return None
        return [int(value) for value in self._constant(node, index, name).reshape(-1)]

    def _emit(self, kind: str, node: RawNode, inputs: list[str], shape: tuple[int, ...],
              view: tuple[int, ...] | None = None, **fields) -> None:
        if min(shape, default=0) < 1:
            raise UserError(f"{node}: its window is larger than its input")
        self.ops.append(Op(kind, node.name, inputs, node.outputs[0], **fields))
        self._define(node.outputs[0], shape, view)

    # Operators

    def _node(self, node: RawNode) -> None:
        handlers: dict[str, Callable[[RawNode], None]] = {
            "Conv": self._conv, "Gemm": self._gemm, "MatMul": self._gemm,
            "BatchNormalization": self._normalisation, "Relu": self._relu, "Clip": self._clip,
            "MaxPool": self._pool, "AveragePool": self._pool, "GlobalMaxPool": self._global_max,
            "GlobalAveragePool": self._global, "ReduceMean": self._reduce_mean,
            "Concat": self._concat, "Add": self._arithmetic, "Sum": self._arithmetic,
            "Sub": self._arithmetic, "Mul": self._arithmetic, "Div": self._arithmetic,
            "Pad": self._pad, "Softmax": self._softmax}
        if node.op in _PASSED or (node.op in _RESHAPES):
            tensor, view = self._source(node)
            self.views[node.outputs[0]] = tensor, self._reshaped(node, view)
        elif node.op in handlers:
            if any(node.outputs[1:]):
                raise UserError(f"{node}: its second output is not supported")
            handlers[node.op](node)
        else:
            raise UserError(f"{node}: operator {node.op} cannot be quantized; supported are "
                            f"{', '.join([*handlers, *_RESHAPES, *_PASSED])}")

    def _conv(self, node: RawNode) -> None:
        name = node.inputs[0]
        pending = self.padded.get(name, (0, 0, 0, 0))
        source = self.views[name][0] if name in self.padded else self._map(node)
        weights = self._constant(node, 1, "weights").astype(np.float64)
        if weights.ndim != 4:
            raise UserError(f"{node}: its weights have {weights.ndim} dimensions; two-dimensional "
                            "convolutions are supported")
        group = node.attributes.get("group", 1)
        if weights.shape[1] * group != self.shapes[source][0] or weights.shape[0] % group:
            raise UserError(f"{node}: weights {list(weights.shape)} in {group} groups do not fit "
                            f"{self.shapes[source][0]} channels")
        bias = np.zeros(len(weights))
        if node.input(2):
            bias = self._constant(node, 2, "bias").astype(np.float64).reshape(-1)
        strides, pads = self._window(node, source, weights.shape[2:])
        pads = tuple(a + b for a, b in zip(pads, pending, strict=True))
        self._emit("Conv", node, [source],
                   (len(weights), *self._sizes(source, weights.shape[2:], strides, pads)),
                   attributes={"strides": strides, "pads": pads, "group": group},
                   weights=weights, bias=bias)

    def _gemm(self, node: RawNode) -> None:
        """A fully connected layer is a convolution with a window as large as the map."""
        tensor, view = self._source(node)
        shape = self.shapes[tensor]
        attributes = node.attributes
        if len(shape) != 3 or view != (1, math.prod(shape)) or attributes.get("transA"):
            raise UserError(f"{node}: its input has shape {list(view)}; a flattened map [1, K] is "
                            "supported")
        weights = self._constant(node, 1, "weights").astype(np.float64)
        if weights.ndim != 2:
            raise UserError(f"{node}: its weights have {weights.ndim} dimensions; 2 are supported")
        weights = attributes.get("alpha", 1.0) * (
            weights if attributes.get("transB") else weights.T)
        bias = np.zeros(len(weights))
        if node.op == "Gemm" and node.input(2):
            bias = bias + attributes.get("beta", 1.0) * self._constant(
                node, 2, "bias").astype(np.float64).reshape(-1)
        if weights.shape[1] != view[1]:
            raise UserError(f"{node}: weights for {weights.shape[1]} values do not fit {view[1]}")
        self._emit("Conv", node, [tensor], (len(weights), 1, 1), (1, len(weights)),
                   attributes={"strides": (1, 1), "pads": (0, 0, 0, 0), "group": 1},
                   weights=weights.reshape(-1, *shape), bias=bias)

    def _affine(self, node: RawNode, tensor: str, view: tuple[int, ...], factor: np.ndarray,
                offset: np.ndarray) -> None:
        shape = self.shapes[tensor]
        self._emit("Affine", node, [tensor], shape, view,
                   weights=np.broadcast_to(factor, shape[:1]).astype(np.float64),
                   bias=np.broadcast_to(offset, shape[:1]).astype(np.float64))

    def _normalisation(self, node: RawNode) -> None:
        tensor, view = self._source(node)
        if view[:2] != (1, self.shapes[tensor][0]) or node.attributes.get("training_mode"):
            raise UserError(f"{node}: inference over the channels of a map is supported")
        gamma, beta, mean, variance = (
            self._constant(node, i, what).astype(np.float64)
            for i, what in enumerate(("scale", "bias", "mean", "variance"), 1))
        factor = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        if not np.isfinite(factor).all():
            raise UserError(f"{node}: its variance is negative or zero")
        self._affine(node, tensor, view, factor, beta - mean * factor)

    def _relu(self, node: RawNode) -> None:
        tensor, view = self._source(node)
        self._emit("Relu", node, [tensor], self.shapes[tensor], view)

    def _clip(self, node: RawNode) -> None:
        tensor, view = self._source(node)
        ends = [node.attributes.get(name, default) if not node.input(i) else
                float(self._constant(node, i, name).reshape(-1)[0])
                for i, (name, default) in enumerate((("min", -math.inf), ("max", math.inf)), 1)]
        if ends[0] != 0 or ends[1] <= 0:
            raise UserError(f"{node}: limits {ends[0]:g} to {ends[1]:g}; a Clip from 0 to a "
                            "positive limit is supported")
        self._emit("Relu", node, [tensor], self.shapes[tensor], view,
                   limit=ends[1] if ends[1] < 1e30 else None)

    def _pool(self, node: RawNode) -> None:
        source = self._map(node)
        kernel = tuple(node.attributes["kernel_shape"])
        strides, pads = self._window(node, source, kernel)
        ceil_mode = bool(node.attributes.get("ceil_mode", 0))
        self._emit(node.op, node, [source],
                   (self.shapes[source][0],
                    *self._sizes(source, kernel, strides, pads, ceil_mode)),
                   attributes={"kernel_shape": kernel, "strides": strides, "pads": pads,
                               "ceil_mode": ceil_mode, "count_include_pad": bool(
                                   node.attributes.get("count_include_pad", 0))})

    def _global_max(self, node: RawNode) -> None:
        source = self._map(node)
        channels, *size = self.shapes[source]
        self._emit("MaxPool", node, [source], (channels, 1, 1),
                   attributes={"kernel_shape": tuple(size), "strides": (1, 1),
                               "pads": (0, 0, 0, 0), "ceil_mode": False,
                               "count_include_pad": False})

    def _global(self, node: RawNode) -> None:
        source = self._map(node)
        self._emit("GlobalAveragePool", node, [source], (self.shapes[source][0], 1, 1))

    def _reduce_mean(self, node: RawNode) -> None:
        source = self._map(node)
        axes = self._integers(node, 1, "axes")
        if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
            raise UserError(f"{node}: axes {axes}; the mean over height and width is supported")
        channels = self.shapes[source][0]
        view = (1, channels, 1, 1) if node.attributes.get("keepdims", 1) else (1, channels)
        self._emit("GlobalAveragePool", node, [source], (channels, 1, 1), view)

    def _concat(self, node: RawNode) -> None:
        sources = [self._map(node, i) for i in range(len(node.inputs))]
        shapes = [self.shapes[source] for source in sources]
        if node.attributes.get("axis") not in (1, -3) or len({s[1:] for s in shapes}) != 1:
            raise UserError(f"{node}: a concatenation of channels of maps of one size is supported")
        self._emit("Concat", node, sources, (sum(s[0] for s in shapes), *shapes[0][1:]))

    def _arithmetic(self, node: RawNode) -> None:
        constant = [name in self.constants for name in node.inputs]
        if len(node.inputs) == 2 and any(constant):
            self._with_constant(node, constant.index(True))
            return
        if node.op not in ("Add", "Sum") or any(constant) or len(node.inputs) < 2:
            raise UserError(f"{node}: a {node.op} of activations cannot be quantized; their Add "
                            "can")
        sources = [self._map(node, i) for i in range(len(node.inputs))]
        if len({self.shapes[source] for source in sources}) != 1:
            raise UserError(f"{node}: its inputs have different shapes")
        total, shape = sources[0], self.shapes[sources[0]]
        for number, source in enumerate(sources[1:], 2):
            last = number == len(sources)
            name = node.outputs[0] if last else f"{node.outputs[0]}_sum{number}"
            self.ops.append(Op("Add", node.name if last else name, [total, source], name))
            self._define(name, shape)
            total = name

    def _with_constant(self, node: RawNode, index: int) -> None:
        """A factor or an offset for each channel."""
        tensor, view = self._source(node, 1 - index)
        channels = self.shapes[tensor][0]
        value = self._constant(node, index, "constant").astype(np.float64)
        shape = (1,) * (len(view) - value.ndim) + value.shape
        fits = value.size == 1 or (len(shape) == len(view) and value.size == channels
                                   and shape[1] == channels == view[1])
        if not fits or (node.op == "Div" and (index == 0 or (value == 0).any())):
            raise UserError(f"{node}: a constant of shape {list(value.shape)} for an input of "
                            f"{list(view)}; one value, or one for each channel is supported")
        value = value.reshape(-1)
        factor, offset = np.float64(1), np.float64(0)
        match node.op:
            case "Mul":
                factor = value
            case "Div":
                factor = 1 / value
            case "Sub" if index == 0:
                factor, offset = np.float64(-1), value
            case "Sub":
                offset = -value
            case _:
                offset = value
        self._affine(node, tensor, view, factor, offset)

    def _pad(self, node: RawNode) -> None:
        source = self._map(node)
        pads = self._integers(node, 1, "pads")
        value = float(self._constant(node, 2, "value").reshape(-1)[0]) if node.input(2) else 0.0
        mode = node.attributes.get("mode", b"constant")
        if mode not in (b"constant", "constant") or value or pads is None or len(pads) != 8 \
                or any(pads[i] for i in (0, 1, 4, 5)) or min(pads) < 0:
            raise UserError(f"{node}: zeros around height and width are supported")
        self.padded[node.outputs[0]] = pads[2], pads[3], pads[6], pads[7]
        self.views[node.outputs[0]] = source, (1, *self.shapes[source])

    def _softmax(self, node: RawNode) -> None:
        tensor, view = self._source(node)
        if view != (1, *self.shapes[tensor]):
            reshaped = f"{node.outputs[0]}_view"
            self.ops.append(Op("Reshape", reshaped, [tensor], reshaped,
                               attributes={"shape": view}))
            self.shapes[reshaped] = view[1:]
            tensor = reshaped
        axis = node.attributes.get("axis", -1)
        if not -len(view) <= axis < len(view) or len(view) < 2 or view[0] != 1:
            raise UserError(f"{node}: axis {axis} of a tensor of shape {list(view)}")
        self._emit("Softmax", node, [tensor], view[1:], attributes={"axis": axis})

    # Shapes

    def _shape_of(self, node: RawNode) -> np.ndarray:
        view = self._source(node)[1]
        return np.array(view[node.attributes.get("start", 0):
                             node.attributes.get("end", len(view))], np.int64)

    def _window(self, node: RawNode, source: str, kernel: tuple[int, ...]) -> tuple:
        """Strides and pads (top, left, bottom, right)."""
        attributes = node.attributes
        if any(size != 1 for size in attributes.get("dilations", (1, 1))):
            raise UserError(f"{node}: dilations {list(attributes['dilations'])}; 1 is supported")
        strides = tuple(attributes.get("strides", (1, 1)))
        auto = attributes.get("auto_pad", b"NOTSET")
        auto = auto.decode() if isinstance(auto, bytes) else auto
        if auto.startswith("SAME"):
            before, after = [], []
            for size, window, stride in zip(self.shapes[source][1:], kernel, strides, strict=True):
                total = max((-(-size // stride) - 1) * stride + window - size, 0)
                before.append(total // 2 if auto == "SAME_UPPER" else -(-total // 2))
                after.append(total - before[-1])
            return strides, (*before, *after)
        pads = (0, 0, 0, 0) if auto == "VALID" else attributes.get("pads", (0, 0, 0, 0))
        if len(strides) != 2 or len(pads) != 4 or min(strides) < 1 or min(pads) < 0:
            raise UserError(f"{node}: strides {list(strides)}, pads {list(pads)}; two strides and "
                            "four pads that are not negative are supported")
        return strides, tuple(pads)

    def _sizes(self, source: str, kernel, strides, pads, ceil_mode: bool = False) -> tuple:
        return tuple(window_outputs(self.shapes[source][1 + i], kernel[i], strides[i], pads[i],
                                    pads[2 + i], ceil_mode) for i in range(2))

    def _reshaped(self, node: RawNode, view: tuple[int, ...]) -> tuple[int, ...]:
        rank = len(view)
        match node.op:
            case "Flatten":
                axis = node.attributes.get("axis", 1) % (rank + 1)
                return math.prod(view[:axis]), math.prod(view[axis:])
            case "Reshape":
                wanted = [int(size) for size in self._constant(node, 1, "shape").reshape(-1)]
                wanted = [view[i] if not size and i < rank else size
                          for i, size in enumerate(wanted)]
                known = math.prod(size for size in wanted if size != -1)
                result = tuple(math.prod(view) // max(known, 1) if size == -1 else size
                               for size in wanted)
                if wanted.count(-1) > 1 or math.prod(result) != math.prod(view):
                    raise UserError(f"{node}: shape {wanted} does not fit {list(view)}")
                return result
            case "Squeeze":
                axes = self._integers(node, 1, "axes")
                gone = {i for i in range(rank) if view[i] == 1} if axes is None else {
                    axis % rank for axis in axes}
                return tuple(size for i, size in enumerate(view) if i not in gone)
            case "Unsqueeze":
                axes = self._integers(node, 1, "axes") or []
                result = list(view)
                for axis in sorted(axis % (rank + len(axes)) for axis in axes):
                    result.insert(axis, 1)
                return tuple(result)
        return view
