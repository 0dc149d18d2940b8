"""Ranges of activations, by onnxruntime's own calibrators."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..errors import UserError

__all__ = ["PERCENTILE", "channel_magnitudes", "tensor_ranges"]

PERCENTILE = 99.999
_CHUNK = 1 << 26
"""Values that are held at once before they go into the histograms."""
_BINS = 2048


def tensor_ranges(model: onnx.ModelProto, tensors: Sequence[str], images: Iterable[np.ndarray],
                  shapes: dict[str, tuple[int, ...]], percentile: float = PERCENTILE,
                  ) -> dict[str, tuple[float, float]]:
    """(lowest, highest) value of each tensor of a float model, without the outermost
    100 - `percentile` percent. `images` are inputs (1, C, H, W).

    The calibrator's own way to bound its memory (CalibMaxIntermediateOutputs) drops the images of
    each full chunk; giving it one chunk after the other does not.
    """
    size = sum(math.prod(shapes[name]) for name in tensors)
    each = max(1, _CHUNK // max(size, 1))
    source, rest = model.graph.input[0].name, iter(images)
    with _calibrator("PercentileCalibrater", model, tensors, num_bins=_BINS,
                     percentile=percentile) as calibrator:
        while chunk := list(islice(rest, each)):
            calibrator.collect_data(_Reader(source, chunk))
        ranges = calibrator.compute_data()
    found = {name: tuple(float(end) for end in ranges[name].range_value) for name in tensors}
    for name, ends in found.items():
        if not all(map(math.isfinite, ends)):
            raise UserError(f"'{name}': calibration gives values that are not finite")
    return found


def channel_magnitudes(model: onnx.ModelProto, tensors: Sequence[str],
                       images: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """The largest magnitude of each channel of each tensor, float64 [c]."""
    with _calibrator("MinMaxCalibrater", model, tensors, per_channel=True) as calibrator:
        calibrator.collect_data(_Reader(model.graph.input[0].name, images))
        ranges = calibrator.compute_data()
    return {name: np.abs(np.array(ranges[name].range_value, np.float64)).max(axis=0)
            for name in tensors}


@contextlib.contextmanager
def _calibrator(kind: str, model: onnx.ModelProto, tensors: Sequence[str],
                **options) -> Iterator[Any]:
    """A calibrator of the library for just these tensors; it prints nothing."""
    try:
        from onnxruntime.quantization import calibrate as library
    except ImportError:
        raise UserError("onnxruntime is needed for calibration: install it with pip") from None

    class Calibrator(getattr(library, kind)):
        """Its own choice are all inputs and outputs of all operators."""

        def select_tensors_to_calibrate(self, model: onnx.ModelProto):
            infos = {info.name: info for info in (*model.graph.value_info, *model.graph.input,
                                                  *model.graph.output)}
            return set(tensors), {name: infos[name] for name in tensors}

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "float.onnx"
        onnx.save(model, path)
        calibrator = Calibrator(
            path, augmented_model_path=str(Path(folder) / "augmented.onnx"), **options)
        calibrator.augment_graph()
        calibrator.create_inference_session()
        yield calibrator


class _Reader:
    """What a calibrator takes its inputs from."""

    def __init__(self, source: str, images: Iterable[np.ndarray]) -> None:
        self._source, self._images = source, iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {self._source: image}
