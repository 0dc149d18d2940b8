"""Parameters of a network by name: their shapes, He's random ones, and those of an .npz file.

Names are those of the ONNX initializers: `LAYER.weight` [co, ci, k, k] and `LAYER.bias` [co] for a
convolution; with batch normalisation behind it `LAYER.norm.scale`, `.norm.bias`, `.norm.mean` and
`.norm.variance` [co] stand in place of the bias. Layers: `conv1`, `fire2/squeeze1x1`,
`fire2/expand1x1`, `fire2/expand3x3`, `fire2/bypass1x1`, and so on, `conv10`.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import UserError
from .architecture import Architecture

__all__ = ["NORM", "Parameters", "check_parameters", "load_parameters", "parameter_shapes",
           "random_parameters"]

Parameters = dict[str, np.ndarray]

NORM = ("norm.scale", "norm.bias", "norm.mean", "norm.variance")
"""In the order of BatchNormalization's inputs."""


def parameter_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Every parameter's shape, in the order of the layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in architecture.layers():
        if layer.op != "Conv":
            continue
        count = layer.shape[0]
        shapes[f"{layer.name}.weight"] = (count, layer.channels, layer.kernel, layer.kernel)
        for suffix in NORM if layer.norm else ("bias",):
            shapes[f"{layer.name}.{suffix}"] = (count,)
    return shapes


def random_parameters(architecture: Architecture, seed: int = 0) -> Parameters:
    """float32 arrays: weights normal with variance 2 / fan-in (He; half of that without a Relu),
    which keeps the range of the activations from layer to layer, small biases, normalisations near
    the identity."""
    rng = np.random.default_rng(seed)
    gains = {f"{layer.name}.weight": 2 if layer.relu else 1 for layer in architecture.layers()}
    parameters = {}
    for name, shape in parameter_shapes(architecture).items():
        kind = name.rsplit(".", 1)[1]
        if kind == "weight":
            values = rng.normal(0, np.sqrt(gains[name] / np.prod(shape[1:])), shape)
        elif kind in ("scale", "variance"):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.normal(0, 0.1, shape)
        parameters[name] = values.astype(np.float32)
    return parameters


def load_parameters(architecture: Architecture, path: str | Path) -> Parameters:
    """float32 arrays of an .npz file; raises UserError if one is missing, unknown or misfits."""
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                raise UserError(f"{path}: not an .npz file")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile,
            zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: a damaged .npz file: {reason}") from None
    try:
        return check_parameters(architecture, arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def check_parameters(architecture: Architecture, arrays: Mapping[str, np.ndarray]) -> Parameters:
    """`arrays` as float32, in the order of the layers; raises UserError if they do not fit."""
    shapes = parameter_shapes(architecture)
    missing = [name for name in shapes if name not in arrays]
    if missing:
        raise UserError(f"'{missing[0]}' is missing ({len(missing)} of {len(shapes)} arrays are)")
    for name in arrays:
        if name not in shapes:
            raise UserError(f"'{name}' is not a parameter of this network; the first one is "
                            f"'{next(iter(shapes))}'")
    parameters = {}
    for name, shape in shapes.items():
        values = np.asarray(arrays[name])
        if values.dtype.kind != "f":
            raise UserError(f"'{name}' has the type {values.dtype}; floating point is needed")
        if values.shape != shape:
            raise UserError(f"'{name}' has shape {list(values.shape)}; needed: {list(shape)}")
        with np.errstate(over="ignore"):
            parameters[name] = values.astype(np.float32)
        if not np.isfinite(parameters[name]).all():
            raise UserError(f"'{name}' holds values that are not finite in float32")
        if name.endswith(".norm.variance") and (values < 0).any():
            raise UserError(f"'{name}' holds negative variances")
    return parameters
