"""Command line: accuracy of a model over a folder of labelled photographs.

    python -m sw.evaluate MODEL.onnx --images DIR [--reference FLOAT.onnx] [--backend rtl]
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hw.command import add_json, command_parser, run_command
from hw.files import check_writable, write_json
from hw.presets import add_config

from .accuracy import LABELS, Tally, image_files, read_labels
from .classifier import Classifier, OnnxRuntime
from .errors import UserError
from .image import PREPROCESS
from .options import add_folder, add_preprocess

__all__ = ["BACKENDS", "evaluate", "main", "open_backend"]

BACKENDS = {"onnxruntime": "sw.classifier:OnnxRuntime", "golden": "sim.backends:Golden",
            "rtl": "sim.backends:Rtl"}
"""Where each engine is. Those of `sim` are imported when they are asked for: the compiler and its
tools do not depend on the simulation."""


def open_backend(name: str, path: str | Path, preprocess: str = "auto",
                 config: str | None = None) -> Classifier:
    """Raises UserError. `config` of the core, as in `sim.run`, is for `rtl`."""
    if name not in BACKENDS:
        raise UserError(f"backend '{name}' is unknown; there are {', '.join(BACKENDS)}")
    if config is not None and name != "rtl":
        raise UserError(f"a configuration is for the backend rtl, not for {name}")
    module, attribute = BACKENDS[name].split(":")
    backend = getattr(importlib.import_module(module), attribute)
    return backend(path, preprocess) if config is None else backend(path, preprocess, config)


def evaluate(model: Classifier, files: Sequence[Path], labels: Sequence[int] | None = None,
             reference: Classifier | None = None,
             progress: Callable[[str, float], None] = lambda what, fraction: None) -> Tally:
    """Runs all files; `labels` are their classes. Raises UserError for files that do not fit."""
    tally = Tally()
    for number, file in enumerate(files):
        progress(f"image {number + 1} of {len(files)}", number / len(files))
        tally.add(model.scores(file), labels[number] if labels is not None else None,
                  reference.scores(file) if reference else None)
    return tally


def _labels(options: argparse.Namespace, files: Sequence[Path]) -> list[int] | None:
    """None where there are none, and a reference makes them needless."""
    path = options.labels or Path(options.images) / LABELS
    if options.labels is None and options.reference and not path.exists():
        return None
    return read_labels(path, files)


def _reference(options: argparse.Namespace) -> OnnxRuntime | None:
    """Its own metadata say what it takes; else those of the model that was made from it."""
    if options.reference is None:
        return None
    named = options.reference_preprocess
    if named == "auto":
        probe = OnnxRuntime(options.reference)
        origin = OnnxRuntime(options.model).float_preprocess
        if origin is None or "firecore.preprocess" in probe.metadata:
            return probe
        named = origin
    return OnnxRuntime(options.reference, named)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sw.evaluate",
        "Top-1 and top-5 accuracy of a model over a folder of photographs, and how often it agrees "
        "with a reference. Exit status: 0, 1 if an engine failed, 2 for bad input.",
        "squeezenet1.1_int8.onnx --images photographs --reference squeezenet1.1.onnx --json "
        "accuracy.json")
    parser.add_argument("model", help="ONNX model, float or quantized")
    add_folder(parser)
    parser.add_argument("--labels", type=Path, metavar="CSV",
                        help=f"columns filename and index (default: {LABELS} in the folder)")
    add_preprocess(parser)
    parser.add_argument("--backend", choices=tuple(BACKENDS), default="onnxruntime",
                        help="onnxruntime (default), golden: the integer operators in NumPy, rtl: "
                             "the core, simulated")
    add_config(parser, "the core for rtl")
    parser.add_argument("--reference", metavar="ONNX",
                        help="model to compare the best class with, on onnxruntime")
    parser.add_argument("--reference-preprocess", default="auto", choices=("auto", *PREPROCESS),
                        metavar="NAME", help="what the reference takes (default: what the "
                        "metadata say, else a guess)")
    add_json(parser, "images, top1, top5 and agreement (percent)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress):
        check_writable(options.json)
        files = image_files(options.images, options.count)
        labels = _labels(options, files)
        reference = _reference(options)
        model = open_backend(options.backend, options.model, options.preprocess, options.config)
        try:
            tally = evaluate(model, files, labels, reference, progress)
        finally:
            model.close()
        if options.json:
            write_json(options.json, tally.figures())
        progress.close()
        print(tally)

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
