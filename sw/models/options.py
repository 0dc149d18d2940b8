"""Hyper-parameters on a command line: an option each, named like the field of `Architecture`."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from .architecture import BYPASSES, FAMILY, Architecture

__all__ = ["add_architecture", "architecture_of"]


def add_architecture(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    """An option for every hyper-parameter but those named in `without`."""
    group = parser.add_argument_group("hyper-parameters (default: those of NAME)")
    for field in dataclasses.fields(Architecture):
        if field.name in without:
            continue
        options: dict[str, Any] = {"help": field.metadata["help"], "default": None}
        if field.name == "bypass":
            options["choices"] = BYPASSES
        elif isinstance(field.default, bool):
            options["action"] = argparse.BooleanOptionalAction
        elif isinstance(field.default, tuple):
            options |= {"type": int, "nargs": "*", "metavar": "N"}
        elif isinstance(field.default, float):
            options |= {"type": float, "metavar": "X"}
        else:
            options |= {"type": int, "metavar": "N"}
        group.add_argument(f"--{field.name.replace('_', '-')}", **options)


def architecture_of(options: argparse.Namespace, without: tuple[str, ...] = ()) -> Architecture:
    """The network `options.name` of the family, changed by the options of `add_architecture`.
    Raises UserError."""
    changes = {field.name: getattr(options, field.name) for field in
               dataclasses.fields(Architecture) if field.name not in without}
    return FAMILY[options.name].replace(
        **{name: value for name, value in changes.items() if value is not None})
