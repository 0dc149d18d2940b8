"""Command line: write a network of the SqueezeNet family as ONNX.

    python -m sw.models NAME -o FILE.onnx [--weights NPZ | --seed N] [--squeeze-ratio R] ...
"""

from __future__ import annotations

import argparse
import sys

from hw.command import run_command
from hw.files import check_writable, write_bytes

from ..errors import UserError
from .architecture import FAMILY
from .float_model import float_model
from .options import add_architecture, architecture_of
from .parameters import load_parameters, random_parameters
from .synthetic import quantized

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sw.models",
        description="Write a network of the SqueezeNet family (arXiv 1602.07360) as float ONNX.",
        epilog="Names in an .npz of weights are those of the ONNX initializers: conv1.weight, "
               "conv1.bias, fire2/squeeze1x1.weight, and so on; with batch normalisation "
               "conv1.norm.scale, .norm.bias, .norm.mean and .norm.variance stand in place of "
               "conv1.bias. Example: python -m sw.models squeezenet1.0 --squeeze-ratio 0.75 "
               "--share-3x3 25 -o wide.onnx")
    parser.add_argument("name", choices=FAMILY, metavar="NAME",
                        help=f"one of {', '.join(FAMILY)}")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the ONNX file")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--weights", metavar="NPZ", help="take the parameters from an .npz file")
    source.add_argument("--seed", type=int, default=0, metavar="N",
                        help="of the random parameters (default 0)")
    parser.add_argument("--quantized", action="store_true",
                        help="write the QDQ model with scales of a run on random images: for "
                             "measurements; sw.quantize is for accuracy")
    add_architecture(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work(progress):
        if options.seed < 0:
            raise UserError(f"seed {options.seed}: supported: 0 and above")
        architecture = architecture_of(options)
        check_writable(options.output)
        if options.weights is None:
            parameters = random_parameters(architecture, options.seed)
        else:
            parameters = load_parameters(architecture, options.weights)
        model = float_model(architecture, parameters, options.name)
        if options.quantized:
            model = quantized(model, options.seed)
        write_bytes(options.output, model.SerializeToString())
        print(f"{options.output}: {options.name}, {architecture.parameters:,} parameters, "
              f"{architecture.macs:,} multiply-accumulates an image")

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
