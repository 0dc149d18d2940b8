"""Command line: quantize a float ONNX model for the accelerator.

    python -m sw.quantize FLOAT.onnx --calibration DIR -o INT8.onnx
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hw.command import add_json, command_parser, run_command
from hw.files import check_writable, write_bytes, write_json
from hw.progress import TerminalProgress

from .accuracy import LABELS, image_files, read_labels
from .classifier import OnnxRuntime
from .errors import UserError
from .evaluate import evaluate
from .image import PREPROCESS
from .quantizer import ACC_WIDTH, NO_PREPROCESS, PERCENTILE, quantize_file

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sw.quantize",
        "Quantize a float (or fp16) ONNX model to 8 bits, in the QDQ format that onnxruntime runs "
        "unchanged and the accelerator runs exactly alike. The result takes raw pixels; its "
        "metadata say in which order. Exit status: 0, or 2 for bad input.",
        "squeezenet1.1.onnx --calibration photographs -o squeezenet1.1_int8.onnx")
    parser.add_argument("model", help="float ONNX model")
    parser.add_argument("--calibration", required=True, metavar="DIR",
                        help="folder of photographs like those the model will see")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="ONNX",
                        help="the quantized model")
    parser.add_argument("--preprocess", default="auto",
                        choices=("auto", NO_PREPROCESS, *PREPROCESS), metavar="NAME",
                        help="from pixels to the float model's input: "
                             f"{', '.join(PREPROCESS)}; {NO_PREPROCESS} for tensors in .npy files; "
                             "auto (default): what the model's metadata name, else bgr-mean, or "
                             "grey-unit for one channel")
    parser.add_argument("--count", type=int, metavar="N",
                        help="calibrate with the first N images only")
    parser.add_argument("--percentile", type=float, default=PERCENTILE, metavar="P",
                        help="share of an activation's values inside its range (default "
                             f"{PERCENTILE}; 100: all)")
    parser.add_argument("--acc-width", type=int, default=ACC_WIDTH, metavar="BITS",
                        help=f"accumulators of the core (default {ACC_WIDTH})")
    parser.add_argument("--evaluation", metavar="DIR",
                        help="folder of labelled photographs: print the accuracy before and after")
    parser.add_argument("--labels", type=Path, metavar="CSV",
                        help=f"their classes (default: {LABELS} in that folder)")
    add_json(parser, "what was printed, accuracy in percent,")
    return parser


def _evaluate(options: argparse.Namespace, preprocess: str, progress: TerminalProgress) -> dict:
    """Prints the accuracy of both models; returns its figures."""
    files = image_files(options.evaluation)
    labels = read_labels(options.labels or Path(options.evaluation) / LABELS, files)
    before = OnnxRuntime(options.model, "auto" if preprocess == NO_PREPROCESS else preprocess)
    after = OnnxRuntime(options.output)
    tallies = [evaluate(before, files, labels, progress=progress),
               evaluate(after, files, labels, before, progress)]
    progress.close()
    print(f"float:     {tallies[0]}\nquantized: {tallies[1]}")
    return {"float": tallies[0].figures(), "quantized": tallies[1].figures()}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress):
        if options.labels and not options.evaluation:
            raise UserError("--labels needs --evaluation, the folder of the labelled photographs")
        if not 50 < options.percentile <= 100:
            raise UserError(f"--percentile {options.percentile:g}; above 50 to 100 is supported")
        if not 20 <= options.acc_width <= 25:
            raise UserError(f"--acc-width {options.acc_width}; 20 to 25 is supported")
        if options.evaluation:  # what is wrong there is told before the work
            read_labels(options.labels or Path(options.evaluation) / LABELS,
                        image_files(options.evaluation))
        check_writable(options.output)
        check_writable(options.json)
        files = image_files(options.calibration, options.count)
        result = quantize_file(
            options.model, files, preprocess=options.preprocess, percentile=options.percentile,
            acc_width=options.acc_width, progress=progress)
        write_bytes(options.output, result.model.SerializeToString())
        progress.close()
        print(f"{options.output}: quantized with {len(files)} images, preprocessing "
              f"{result.preprocess}")
        report = {"calibration_images": len(files), "preprocess": result.preprocess}
        if options.evaluation:
            report |= _evaluate(options, result.preprocess, progress)
        if options.json:
            write_json(options.json, report)

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
