"""What a network of the SqueezeNet family is: its hyper-parameters, its layers and their costs.

Section 5 of the paper: Fire module i (from 0) has `base_e + incr_e * floor(i / freq)` expand
filters, of which `share_3x3` percent are 3x3, and `squeeze_ratio` times as many squeeze filters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import UserError
from ..graph import window_outputs

__all__ = ["BYPASSES", "FAMILY", "INPUT", "OUTPUT", "Architecture", "Layer"]

BYPASSES = ("none", "simple", "complex")
INPUT, OUTPUT = "data", "scores"
LIMIT = 1 << 13
"""No size or count of an architecture is larger."""
MAX_PARAMETERS = 500_000_000
"""What an ONNX file without external data holds, 2 GB."""


@dataclass(frozen=True)
class Layer:
    """One operator. `op` is its ONNX name, `shape` (C, H, W) that of its result, whose name is
    `name`; `kernel`, `stride` and `pad` are those of both axes; `norm` and `relu` follow a Conv."""

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: tuple[int, int, int]
    channels: int
    """Of its first input."""
    kernel: int = 1
    stride: int = 1
    pad: int = 0
    norm: bool = False
    relu: bool = False

    @property
    def weights(self) -> int:
        """Weights of a Conv; 0 for others."""
        return self.shape[0] * self.channels * self.kernel**2 if self.op == "Conv" else 0

    @property
    def biases(self) -> int:
        """Biases of a Conv, batch normalisation folded into it; 0 for others."""
        return self.shape[0] if self.op == "Conv" else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.weights * self.shape[1] * self.shape[2]


def _parameter(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Architecture:
    """Hyper-parameters; the defaults are SqueezeNet v1.0. Raises UserError for impossible ones."""

    input_size: int = _parameter(227, "pixels of a side of the input")
    input_channels: int = _parameter(3, "channels of the input")
    classes: int = _parameter(1000, "classes")
    conv1_filters: int = _parameter(96, "filters of the first convolution")
    conv1_kernel: int = _parameter(7, "its kernel")
    conv1_stride: int = _parameter(2, "its stride")
    conv1_pad: int = _parameter(0, "its padding")
    fires: int = _parameter(8, "Fire modules")
    base_e: int = _parameter(128, "expand filters of the first Fire module")
    incr_e: int = _parameter(128, "expand filters added after every FREQ modules")
    freq: int = _parameter(2, "Fire modules of one size")
    share_3x3: float = _parameter(50.0, "percent of the expand filters that are 3x3, 1 to 99")
    squeeze_ratio: float = _parameter(0.125, "squeeze filters to expand filters, 0.125 to 1")
    pool_after: tuple[int, ...] = _parameter(
        (1, 4, 8), "max pooling behind these: 1 is conv1, N is fireN, 2 being the first")
    pool_kernel: int = _parameter(3, "window of the max pooling, of stride 2, in ceil mode")
    conv10_pad: int = _parameter(1, "padding of the 1x1 classifier")
    bypass: str = _parameter("none", "around every second Fire module (simple), and through 1x1 "
                             "convolutions around those that change the channels (complex)")
    batch_norm: bool = _parameter(
        False, "batch normalisation behind every convolution but the classifier")
    softmax: bool = _parameter(True, "end in a Softmax")

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool_after", tuple(sorted(set(self.pool_after))))

        def need(ok: bool, name: str, supported: str) -> None:
            if not ok:
                raise UserError(f"{name.replace('_', '-')} {getattr(self, name)}: supported: "
                                f"{supported}")

        for name, least in (
                ("input_size", 1), ("input_channels", 1), ("classes", 1), ("conv1_filters", 1),
                ("conv1_kernel", 1), ("conv1_stride", 1), ("conv1_pad", 0), ("fires", 1),
                ("base_e", 2), ("incr_e", 0), ("freq", 1), ("pool_kernel", 2), ("conv10_pad", 0)):
            need(least <= getattr(self, name) <= LIMIT, name, f"{least} to {LIMIT}")
        need(1 <= self.share_3x3 <= 99, "share_3x3", "1 to 99 percent")
        need(0.125 <= self.squeeze_ratio <= 1, "squeeze_ratio", "0.125 to 1")
        need(self.bypass in BYPASSES, "bypass", ", ".join(BYPASSES))
        need(all(1 <= place <= self.fires + 1 for place in self.pool_after), "pool_after",
             f"1 to {self.fires + 1}")
        if self.parameters > MAX_PARAMETERS:
            raise UserError(f"{self.parameters:,} parameters: supported: up to "
                            f"{MAX_PARAMETERS:,}")

    def replace(self, **changes: Any) -> Architecture:
        """A copy with other hyper-parameters."""
        return dataclasses.replace(self, **changes)

    def fire_filters(self, index: int) -> tuple[int, int, int]:
        """Filters of Fire module `index` (from 0): squeeze, expand 1x1, expand 3x3. Rounded, and
        at least one of each."""
        expand = self.base_e + self.incr_e * (index // self.freq)
        large = min(max(_round(expand * self.share_3x3 / 100), 1), expand - 1)
        return max(_round(expand * self.squeeze_ratio), 1), expand - large, large

    def layers(self) -> list[Layer]:
        """All operators in topological order; the last one gives the tensor `OUTPUT`."""
        return _Layers(self).build()

    @property
    def weights(self) -> int:
        """Weights of all convolutions."""
        return sum(layer.weights for layer in self.layers())

    @property
    def parameters(self) -> int:
        """Weights and biases, batch normalisation folded."""
        return self.weights + sum(layer.biases for layer in self.layers())

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(layer.macs for layer in self.layers())


class _Layers:
    """Collects layers; every method takes and gives the names of tensors."""

    def __init__(self, architecture: Architecture) -> None:
        self.arch = architecture
        self.shapes = {INPUT: (architecture.input_channels, *[architecture.input_size] * 2)}
        self.done: list[Layer] = []

    def build(self) -> list[Layer]:
        arch = self.arch
        x = self.conv("conv1", INPUT, arch.conv1_filters, arch.conv1_kernel, arch.conv1_stride,
                      arch.conv1_pad)
        x = self.pool(1, x)
        for index in range(arch.fires):
            x = self.pool(index + 2, self.module(index, x))
        last = f"{arch.fires + 2}"
        x = self.conv(f"conv{last}", x, arch.classes, pad=arch.conv10_pad, norm=False)
        x = self.add("GlobalAveragePool", f"pool{last}" if arch.softmax else OUTPUT, (x,),
                     (arch.classes, 1, 1))
        if arch.softmax:
            self.add("Softmax", OUTPUT, (x,), (arch.classes, 1, 1))
        return self.done

    def module(self, index: int, x: str) -> str:
        """A Fire module and what leads around it."""
        name = f"fire{index + 2}"
        squeeze, small, large = self.arch.fire_filters(index)
        same = self.shapes[x][0] == small + large
        around = x if same and self.arch.bypass != "none" and index % 2 else None
        if not same and self.arch.bypass == "complex":
            around = self.conv(f"{name}/bypass1x1", x, small + large, relu=False)
        x = self.conv(f"{name}/squeeze1x1", x, squeeze)
        parts = (self.conv(f"{name}/expand1x1", x, small),
                 self.conv(f"{name}/expand3x3", x, large, 3, pad=1))
        x = self.add("Concat", f"{name}/concat", parts, (small + large, *self.shapes[x][1:]))
        return self.add("Add", f"{name}/add", (around, x), self.shapes[x]) if around else x

    def conv(self, name: str, x: str, filters: int, kernel: int = 1, stride: int = 1,
             pad: int = 0, norm: bool | None = None, relu: bool = True) -> str:
        norm = self.arch.batch_norm if norm is None else norm
        return self.add("Conv", name, (x,), (filters, *self._sizes(name, x, kernel, stride, pad)),
                        kernel=kernel, stride=stride, pad=pad, norm=norm, relu=relu)

    def pool(self, place: int, x: str) -> str:
        if place not in self.arch.pool_after:
            return x
        name, kernel = f"pool{place}", self.arch.pool_kernel
        return self.add("MaxPool", name, (x,),
                        (self.shapes[x][0], *self._sizes(name, x, kernel, 2, 0, True)),
                        kernel=kernel, stride=2)

    def add(self, op: str, name: str, inputs: tuple[str, ...], shape: tuple[int, int, int],
            **options: Any) -> str:
        self.done.append(Layer(name, op, inputs, shape, self.shapes[inputs[0]][0], **options))
        self.shapes[name] = shape
        return name

    def _sizes(self, name: str, x: str, kernel: int, stride: int, pad: int,
               ceil_mode: bool = False) -> tuple[int, int]:
        size = self.shapes[x][1]
        result = window_outputs(size, kernel, stride, pad, pad, ceil_mode)
        if result < 1:
            raise UserError(f"input-size {self.arch.input_size}: nothing is left behind {name}, "
                            f"whose input is {size}x{size} and whose window {kernel}x{kernel}")
        return result, result


def _round(value: float) -> int:
    return int(value + 0.5)


_V1_1 = Architecture(input_size=224, conv1_filters=64, conv1_kernel=3, pool_after=(1, 3, 5),
                     conv10_pad=0)
_CIFAR = Architecture(input_size=32, classes=10, conv1_kernel=3, conv1_stride=1, conv1_pad=1,
                      pool_kernel=2, conv10_pad=0, batch_norm=True)

FAMILY: Mapping[str, Architecture] = MappingProxyType({
    "squeezenet1.0": Architecture(),
    "squeezenet1.1": _V1_1,
    "squeezenet1.0-simple-bypass": Architecture(bypass="simple"),
    "squeezenet1.0-complex-bypass": Architecture(bypass="complex"),
    "squeezenet-cifar": _CIFAR,
})
"""The published networks by name."""
