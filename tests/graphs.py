"""Typed graphs without ONNX: every operator of `sw.graph`, and random networks of them."""

from __future__ import annotations

import numpy as np

from sw.graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    Input,
    MaxPool,
    Quant,
    Tensor,
    window_outputs,
)

Pads = tuple[int, int, int, int]
NO_PADS = (0, 0, 0, 0)


class GraphBuilder:
    """Each operator gives the name of its result; what is not given is random."""

    def __init__(self, shape: tuple[int, int, int], seed: int = 0, signed: bool = False):
        self.rng, self.signed = np.random.default_rng(seed), signed
        self.nodes: list = []
        self.tensors: dict[str, Tensor] = {}
        self._tensor("image", shape, self.quant())
        self.nodes.append(Input("image", (), "image", "image"))

    def quant(self, scale: float | None = None, zero: int | None = None) -> Quant:
        low = -128 if self.signed else 0
        if scale is None:
            scale = self.rng.uniform(0.02, 0.06)
        if zero is None:
            zero = int(self.rng.choice([low, low + int(self.rng.integers(256))]))
        return Quant(np.float32(scale), zero, self.signed)

    def _tensor(self, name: str, shape: tuple[int, ...], quant: Quant | None) -> None:
        self.tensors[name] = Tensor(name, shape, quant)

    def _new(self, kind: str) -> str:
        return f"{kind}{len(self.nodes)}"

    def _windows(self, source: str, kernel, strides, pads, ceil_mode=False) -> tuple[int, int]:
        shape = self.tensors[source].shape
        return tuple(window_outputs(shape[1 + i], kernel[i], strides[i], pads[i], pads[2 + i],
                                    ceil_mode) for i in range(2))

    def conv(self, source: str, channels: int, kernel=(3, 3), strides=(1, 1),
             pads: Pads = NO_PADS, quant: Quant | None = None, relu: bool = False,
             groups: int = 1, clip: int | None = None) -> str:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        rng, tensor = self.rng, self.tensors[source]
        count = tensor.shape[0]
        # No sum may leave an accumulator of 24 bits.
        cells = count // groups * kernel[0] * kernel[1]
        largest = min(127, 30000 // cells)
        weights = rng.integers(-largest, largest + 1, (channels, count, *kernel)).astype(np.int8)
        group = np.arange(channels) * groups // channels
        weights[group[:, None] != (np.arange(count) * groups // count)[None]] = 0
        quant = quant or self.quant()
        spread = 70 * quant.scale / (tensor.quant.scale * largest * 74 * np.sqrt(cells))
        scale = (spread * rng.uniform(0.5, 1.5, channels)).astype(np.float32)
        name = self._new("conv")
        self._tensor(name, (channels, *self._windows(source, kernel, strides, pads)), quant)
        self.nodes.append(Conv(name, (source,), name, weights, scale,
                               rng.integers(-3000, 3000, channels).astype(np.int32),
                               tuple(strides), tuple(pads), relu, clip))
        return name

    def max_pool(self, source: str, kernel, strides=(1, 1), pads: Pads = NO_PADS,
                 ceil_mode: bool = False) -> str:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        name, tensor = self._new("pool"), self.tensors[source]
        self._tensor(name, (tensor.shape[0],
                            *self._windows(source, kernel, strides, pads, ceil_mode)),
                     tensor.quant)
        self.nodes.append(MaxPool(name, (source,), name, kernel, tuple(strides), tuple(pads),
                                  ceil_mode))
        return name

    def average_pool(self, source: str, kernel, strides=(1, 1), pads: Pads = NO_PADS,
                     ceil_mode: bool = False, count_include_pad: bool = False,
                     quant: Quant | None = None) -> str:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        name, tensor = self._new("mean"), self.tensors[source]
        self._tensor(name, (tensor.shape[0],
                            *self._windows(source, kernel, strides, pads, ceil_mode)),
                     quant or tensor.quant)
        self.nodes.append(AveragePool(name, (source,), name, kernel, tuple(strides), tuple(pads),
                                      ceil_mode, count_include_pad))
        return name

    def average(self, source: str, quant: Quant | None = None, is_float: bool = False) -> str:
        name, tensor = self._new("average"), self.tensors[source]
        self._tensor(name, (tensor.shape[0], 1, 1), None if is_float else quant or self.quant())
        self.nodes.append(GlobalAveragePool(name, (source,), name))
        return name

    def add(self, a: str, b: str, quant: Quant | None = None, relu: bool = False) -> str:
        name = self._new("add")
        self._tensor(name, self.tensors[a].shape, quant or self.quant())
        self.nodes.append(Add(name, (a, b), name, relu))
        return name

    def concat(self, parts: list[str], quant: Quant | None = None) -> str:
        name = self._new("concat")
        shapes = [self.tensors[part].shape for part in parts]
        self._tensor(name, (sum(shape[0] for shape in shapes), *shapes[0][1:]),
                     quant or self.quant())
        self.nodes.append(Concat(name, tuple(parts), name))
        return name

    def graph(self, *outputs: str) -> Graph:
        return Graph(self.nodes, self.tensors, "image", outputs)

    def image(self) -> np.ndarray:
        tensor = self.tensors["image"]
        return self.rng.integers(tensor.quant.qmin, tensor.quant.qmax + 1,
                                 tensor.shape).astype(tensor.quant.dtype)


def random_graph(seed: int) -> tuple[GraphBuilder, Graph]:
    """One to three operators, with any kernels, strides, pads, groups and channels, on a small map;
    one or two outputs."""
    return _RandomGraph(seed).make()


class _RandomGraph:
    def __init__(self, seed: int):
        self.rng = rng = np.random.default_rng(seed)
        channels = int(rng.choice([1, 2, 3, 4, 5, 7, 16, 17, 33, 40, 64]))
        self.builder = GraphBuilder((channels, self._upto(3, 24), self._upto(3, 24)), seed,
                                    bool(rng.integers(2)))

    def _upto(self, first: int, end: int) -> int:
        return int(self.rng.integers(first, end))

    def _pair(self, first: int, end: int) -> tuple[int, int]:
        """Often twice the same."""
        value = self._upto(first, end)
        return (value, value) if self.rng.random() < .6 else (value, self._upto(first, end))

    def make(self) -> tuple[GraphBuilder, Graph]:
        builder, rng = self.builder, self.rng
        here = builder.conv("image", self._upto(1, 40), 1)
        if rng.random() < .5:
            here = "image"
        for _ in range(self._upto(1, 4)):
            make = rng.choice([self._conv, self._conv, self._conv, self._pool, self._concat,
                               self._add])
            here = make(here) or here
        if here == "image":
            here = builder.max_pool(here, 1)
        if rng.random() < .3:
            here = builder.average(here, is_float=bool(rng.integers(2)))
        outputs = [here]
        others = [name for name in builder.tensors if name not in ("image", here)]
        dead = [name for name in others if not any(name in node.inputs for node in builder.nodes)]
        outputs += dead or ([str(rng.choice(others))] if others and rng.random() < .4 else [])
        return builder, builder.graph(*outputs)

    def _window(self, source: str, kernel: tuple[int, int]) -> Pads | None:
        """Random pads, with which the kernel fits."""
        _, height, width = self.builder.tensors[source].shape
        pads = tuple(self._upto(0, size) for size in kernel * 2)
        fits = height + pads[0] + pads[2] >= kernel[0] and width + pads[1] + pads[3] >= kernel[1]
        return pads if fits else None

    def _conv(self, source: str) -> str | None:
        rng, channels = self.rng, self.builder.tensors[source].shape[0]
        kernel = (int(rng.choice([1, 1, 2, 3, 3, 3, 4, 5, 7, 11])),) * 2
        if rng.random() < .3:
            kernel = (kernel[0], self._upto(1, 8))
        pads = self._window(source, kernel)
        if pads is None:
            return None
        count, groups = int(rng.choice([1, 5, 16, 24, 40])), 1
        if rng.random() < .3:
            groups = int(rng.choice([d for d in range(1, channels + 1) if channels % d == 0]))
            count = groups * self._upto(1, 3)
        clip = int(rng.integers(200, 255)) - 128 * self.builder.signed \
            if rng.random() < .1 else None
        quant = self.builder.quant(zero=self.builder.quant(0.1).qmin) if clip is not None else None
        return self.builder.conv(source, count, kernel, self._pair(1, 5), pads,
                                 relu=bool(rng.integers(2)), groups=groups, quant=quant, clip=clip)

    def _pool(self, source: str) -> str | None:
        kernel = self._pair(1, 8)
        pads = self._window(source, kernel)
        if pads is None:
            return None
        return self.builder.max_pool(source, kernel, self._pair(1, 5), pads,
                                     bool(self.rng.integers(2)))

    def _concat(self, source: str) -> str:
        parts = [self.builder.conv(source, self._upto(1, 40), 1)
                 for _ in range(self._upto(1, 4))]
        if self.rng.random() < .5:
            parts.insert(self._upto(0, len(parts) + 1), source)
        return self.builder.concat(parts)

    def _add(self, source: str) -> str:
        other = self.builder.conv(source, self.builder.tensors[source].shape[0], 3,
                                  pads=(1, 1, 1, 1))
        operands = [source, other] if self.rng.integers(2) else [other, source]
        return self.builder.add(*operands, self.builder.quant(0.0813), bool(self.rng.integers(2)))
