"""Command line: the Deep-Compressed SqueezeNet v1.0 as published, to a float ONNX model.

    python -m sw.decompress FILE.net -o MODEL.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx

from hw.command import command_parser, run_command
from hw.files import check_writable, write_bytes

from .deep_compression import read
from .models import FAMILY, float_model, parameter_shapes

__all__ = ["decompress", "main"]

ARCHITECTURE = FAMILY["squeezenet1.0"].replace(softmax=False)


def decompress(path: str | Path) -> onnx.ModelProto:
    """`squeezenet1.0` of `sw.models`, without a Softmax, with the container's parameters; its
    input is BGR minus (104, 117, 123). Raises UserError, one line with the file."""
    return float_model(ARCHITECTURE, _parameters(path), "squeezenet1.0")


def _parameters(path: str | Path) -> dict[str, np.ndarray]:
    suffix = ".weight"
    shapes = {name.removesuffix(suffix): shape for name, shape in
              parameter_shapes(ARCHITECTURE).items() if name.endswith(suffix)}
    parameters = {}
    for name, (weights, biases) in read(path, shapes).items():
        parameters |= {f"{name}{suffix}": weights, f"{name}.bias": biases}
    return parameters


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = command_parser(
        "sw.decompress",
        "Decode the Deep-Compressed SqueezeNet v1.0 (compressed_SqueezeNet.net) to float ONNX. "
        "Exit status: 0 done, 2 bad input.",
        "compressed_SqueezeNet.net -o squeezenet1.0.onnx")
    parser.add_argument("file", metavar="FILE", help="the published container")
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="the ONNX file")
    options = parser.parse_args(arguments)

    def work(progress):
        check_writable(options.output)
        parameters = _parameters(options.file)
        model = float_model(ARCHITECTURE, parameters, "squeezenet1.0")
        write_bytes(options.output, model.SerializeToString())
        weights = [values for name, values in parameters.items() if name.endswith(".weight")]
        kept = sum(np.count_nonzero(values) for values in weights)
        total = sum(values.size for values in weights)
        print(f"{options.output}: {total:,} weights in {len(weights)} layers, {kept:,} are not "
              f"zero ({100 * kept / total:.1f} %)")

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
