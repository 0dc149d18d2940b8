"""Options that several command lines share, in the same words everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .cycle_model.memory import Memory
from .image import PREPROCESS

__all__ = ["MEMORY_KINDS", "STATUS", "add_check", "add_folder", "add_images", "add_memory_kind",
           "add_memory_model", "add_model", "add_preprocess"]

MEMORY_KINDS = ("model", "litedram")
STATUS = "Exit status: 0 all equal, 1 a mismatch or a failure of core or link, 2 bad input."


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="quantized model (QDQ ONNX)")


def add_images(parser: argparse.ArgumentParser, more: str) -> None:
    parser.add_argument("--image", nargs="+", required=True, metavar="FILE", dest="images",
                        help=f"photographs or tensors (.npy, .npz){more}")


def add_folder(parser: argparse.ArgumentParser) -> None:
    """`--images` and `--count`, as `sw.accuracy.image_files` takes them."""
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of photographs")
    parser.add_argument("--count", type=int, metavar="N", help="only the first N images")


def add_preprocess(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preprocess", default="auto", metavar="NAME",
                        help="from pixels to the network's input (default: what the model's "
                             f"metadata say, else a guess): {', '.join(PREPROCESS)}")


def add_check(parser: argparse.ArgumentParser, checks: Sequence[str]) -> None:
    parser.add_argument("--check", choices=checks, default=checks[0],
                        help=f"reference for every value compared (default {checks[0]})")


def add_memory_kind(parser: argparse.ArgumentParser, default: str | None = "model") -> None:
    """`--memory`; without `default` it is that of the board."""
    parser.add_argument("--memory", choices=MEMORY_KINDS, default=default, dest="kind",
                        help="a model, or LiteDRAM's controller with a DDR3 memory (default "
                             f"{default or 'the memory of the board'})")


def add_memory_model(parser: argparse.ArgumentParser, default: bool = True) -> None:
    """What the memory model can be told; without `default` an option not given is None."""
    parser.add_argument("--memory-latency", type=int, default=Memory.latency if default else None,
                        metavar="CYCLES",
                        help=f"from a read address to the first beat (default {Memory.latency})")
    parser.add_argument("--memory-width", type=int, default=Memory.width if default else None,
                        metavar="BYTES", help="bytes a cycle, reads and writes together, 1 to 32 "
                        f"(default {Memory.width})")
