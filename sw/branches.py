"""Parts of a layer from nodes of the graph: branches, pooling, addition, average, with checks."""

from __future__ import annotations

import numpy as np

from hw.config import VECTOR, Config
from hw.isa import PIXELS_PER_VECTOR

from . import exact
from .errors import UserError
from .graph import Add, Conv, GlobalAveragePool, MaxPool, Quant, Tensor
from .layers import Addition, Average, Branch, Place, Pooling, Window, unsigned_zero
from .tables import add_table, rescale_table

__all__ = ["build_addition", "build_average", "build_branch", "build_pooling", "build_rescale",
           "gather_info", "gathers", "pools", "same_quant"]

MAX_KERNEL = 15
MAX_STRIDE = 7
MAX_PAD = 7
MAX_GROUPS = 255
IMAGE_CHANNELS = 3
MAX_GATHERED = 7
"""Largest kernel that a gather takes."""
MAX_GATHER_STRIDE = 3
MAX_IMAGE_WIDTH = 255 * VECTOR // 4
"""Columns of the longest image row that `hw.isa.Gather` can describe."""
MAX_SIDE = (1 << 11) - 1
MAX_POOL = 4

Tensors = dict[str, Tensor]


def same_quant(a: Quant, b: Quant) -> bool:
    return a.scale == b.scale and unsigned_zero(a) == unsigned_zero(b)


def gathers(conv: Conv, tensors: Tensors, config: Config | None = None) -> bool:
    """Whether a convolution can take its input from a GATHER of this configuration (or any)."""
    channels, height, width = tensors[conv.inputs[0]].shape
    kernel = conv.weights.shape[2]
    return (channels <= IMAGE_CHANNELS and conv.weights.shape[3] == kernel <= MAX_GATHERED
            and conv.strides[0] == conv.strides[1] <= MAX_GATHER_STRIDE
            # Every window has a pixel of the image.
            and max(conv.pads) < kernel and height <= MAX_SIDE
            and width <= min(MAX_IMAGE_WIDTH, config.image_width if config else MAX_IMAGE_WIDTH)
            and (config is None or kernel <= config.image_lines))


def gather_info(conv: Conv, tensors: Tensors) -> Window:
    """The window of a convolution over the image."""
    _check_conv(conv, tensors)
    return Window(conv.weights.shape[2], conv.strides[0], conv.pads[0], conv.pads[1])


def build_branch(conv: Conv, tensors: Tensors, channel: int, gather: Window | None,
                 rescale: tuple[int, int, int] | None, planes: slice | None = None) -> Branch:
    """The convolution in the machine's terms; scales in onnxruntime's order of operations.

    `planes`: those of its input that it reads, if not all (the others have no weights)."""
    _check_conv(conv, tensors)
    x, y = tensors[conv.inputs[0]].quant, tensors[conv.output].quant
    weights = conv.weights
    if planes:
        weights = weights[:, planes.start * VECTOR:planes.stop * VECTOR]
    sums = weights.astype(np.int64).sum(axis=(1, 2, 3))
    bias = conv.bias.astype(np.int64) - unsigned_zero(x) * sums
    scales = np.float32(x.scale) * conv.weight_scale.astype(np.float32) / np.float32(y.scale)
    mantissa, shift = _records(conv, scales)
    co, ci, kh, kw = weights.shape
    out_rows, out_columns = tensors[conv.output].shape[1:]
    return Branch(
        name=str(conv), tensor=conv.output,
        weights=_gathered(weights, gather) if gather else weights,
        bias=bias, mantissa=mantissa, shift=shift,
        zero=unsigned_zero(y), low=unsigned_zero(y) if conv.relu else 0,
        channel=channel, macs=co * ci * kh * kw * out_rows * out_columns, rescale=rescale)


def build_rescale(conv: Conv, own: Quant, target: Quant) -> tuple[int, int, int]:
    """(bias, mantissa, shift) that takes a byte from one quantization to another."""
    if same_quant(own, target):
        return -unsigned_zero(own), *exact.scale_record(np.float32(1))
    return exact.rescale_record(
        own.scale, unsigned_zero(own), target.scale, unsigned_zero(target),
        rescale_table(own, target), where=f"{conv}, before its Concat")


def build_addition(node: Add, tensors: Tensors, own: str, other: str, place: Place) -> Addition:
    a, b, y = tensors[own].quant, tensors[other].quant, tensors[node.output].quant
    if tensors[own].shape != tensors[other].shape:
        raise UserError(f"{node}: adds {tensors[own].shape} and {tensors[other].shape}; tensors "
                        "of one shape are supported")
    table = add_table(*(tensors[name].quant for name in node.inputs), y, node.in_float)
    if node.inputs[0] != own:
        table = table.T
    add_a, add_b, add_c, corrections = exact.add_constants(
        a.scale, unsigned_zero(a), b.scale, unsigned_zero(b), y.scale, unsigned_zero(y), table,
        where=str(node))
    return Addition(node.output, place, add_a, add_b, add_c, tuple(corrections),
                    unsigned_zero(y) if node.relu else 0)


def pools(node: MaxPool, tensors: Tensors) -> bool:
    """Whether the hardware pools these windows itself."""
    return not _pool_problem(node, tensors)


def build_pooling(node: MaxPool, tensors: Tensors) -> Pooling:
    problem = _pool_problem(node, tensors)
    if problem:
        raise UserError(f"{node}: {problem}")
    (_, rows, width), out = tensors[node.inputs[0]].shape, tensors[node.output].shape[1:]
    return Pooling(str(node), node.output, node.kernel[0], node.strides[0], *node.pads[:2], rows,
                   width, out)


def _pool_problem(node: MaxPool, tensors: Tensors) -> str:
    """Why `hw.pool` cannot do it; empty if it can."""
    kernel, stride = node.kernel[0], node.strides[0]
    top, left = node.pads[:2]
    if (node.kernel[1] != kernel or node.strides[1] != stride
            or kernel - stride not in (0, 1) or not 2 <= kernel <= MAX_POOL):
        return (f"kernel {_by(node.kernel)} with stride {_by(node.strides)}; supported are square "
                f"kernels of 2 to {MAX_POOL} with a stride equal to the kernel or one less")
    if max(node.pads) >= kernel:
        return f"pads {node.pads} reach the kernel of {kernel}"
    (_, rows, width), out = tensors[node.inputs[0]].shape, tensors[node.output].shape[1:]
    for size, pad, count in ((rows, top, out[0]), (width, left, out[1])):
        opened = (size - 1 + pad) // stride + 1
        if not 1 <= count <= opened or count > max(0, (size + pad - kernel) // stride + 1) + 1:
            return (f"{count} windows along {size} pixels with pad {pad}, stride {stride}, kernel "
                    f"{kernel}; at most one partial window is supported")
        if kernel > stride and count > 1 and (count - 1) * stride - pad == size - 1:
            return (f"its last window begins in the last of {size} pixels, where another ends; "
                    "such padding with ceil mode is not supported")
    return ""


def build_average(node: GlobalAveragePool, tensors: Tensors) -> Average:
    source, result = tensors[node.inputs[0]], tensors[node.output]
    count = source.shape[1] * source.shape[2]
    if result.quant is None:
        return Average(str(node), node.output, None)
    scale = np.float32(source.quant.scale) / (np.float32(result.quant.scale) * np.float32(count))
    mantissa, shift = _records(node, np.array([scale], np.float32))
    return Average(str(node), node.output,
                   (-count * unsigned_zero(source.quant), int(mantissa[0]), int(shift[0])),
                   unsigned_zero(result.quant))


def _records(node, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = [exact.scale_record(scale, str(node)) for scale in scales]
    return (np.array([int(m) for m, _ in pairs], np.int64),
            np.array([int(s) for _, s in pairs], np.int64))


def _gathered(weights: np.ndarray, gather: Window) -> np.ndarray:
    """[co, c, k, k] to [co, vectors*16, 1, 1] in the byte order of a gathered window."""
    co, channels = weights.shape[:2]
    taps = weights.reshape(co, channels, -1).transpose(0, 2, 1)     # [co, tap, c]
    pixels = np.zeros((co, gather.vectors * PIXELS_PER_VECTOR, 3), np.int8)
    pixels[:, :taps.shape[1], :channels] = taps
    vectors = np.zeros((co, gather.vectors, VECTOR), np.int8)
    vectors[:, :, :3 * PIXELS_PER_VECTOR] = pixels.reshape(co, gather.vectors, -1)
    return vectors.reshape(co, -1, 1, 1)


def _check_conv(conv: Conv, tensors: Tensors) -> None:
    co, ci, kh, kw = conv.weights.shape
    if kh != kw or kh > MAX_KERNEL:
        raise UserError(f"{conv}: kernel {kh}x{kw}; kernels up to {MAX_KERNEL}x{MAX_KERNEL} are "
                        "supported")
    if conv.clip is not None:
        raise UserError(f"{conv}: an upper limit of {conv.clip} is not supported")
    if min(conv.strides) < 1 or max(conv.strides) > MAX_STRIDE:
        raise UserError(f"{conv}: strides {_by(conv.strides)}; 1x1 to "
                        f"{MAX_STRIDE}x{MAX_STRIDE} are supported")
    if max(co, ci) > MAX_GROUPS * VECTOR:
        raise UserError(f"{conv}: {ci} to {co} channels; at most {MAX_GROUPS * VECTOR} are "
                        "supported")
    if max(conv.pads[:2]) > MAX_PAD:
        raise UserError(f"{conv}: pads {conv.pads}; at most {MAX_PAD} above and on the left are "
                        "supported")
    for name in (conv.inputs[0], conv.output):
        shape = tensors[name].shape
        if len(shape) != 3:
            raise UserError(f"{conv}: tensor {name} has shape {shape}; channels, rows and columns "
                            "are supported")
        if max(shape[1:]) > MAX_SIDE:
            raise UserError(f"{conv}: tensor {name} is {shape[1]}x{shape[2]}; sides up to "
                            f"{MAX_SIDE} are supported")


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"
