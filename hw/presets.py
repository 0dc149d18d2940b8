"""Configurations that a user names or writes."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from .config import Config
from .errors import UserError

__all__ = ["DEFAULT_PRESET", "PRESETS", "add_config", "parse_config"]

PRESETS = {
    "128-lanes": Config(co_lanes=8),
    "256-lanes": Config(),
    "512-lanes": Config(pixels=2, requantisers=16),
    "256-lanes-sdram": Config(act_vectors=20992, weight_vectors=2048),
    "1024-lanes": Config(pixels=4, requantisers=16, act_vectors=16384, weight_vectors=2048),
}
DEFAULT_PRESET = "256-lanes"


def add_config(parser: argparse.ArgumentParser, what: str, **options) -> None:
    """`--config`, as `parse_config` takes it."""
    parser.add_argument("--config", metavar="JSON", **options,
                        help=f"{what}: a JSON object of hw.config.Config's fields, a file with "
                             f"one, or one of {', '.join(PRESETS)}")


def parse_config(text: str) -> Config:
    """A preset's name, a JSON object, or the name of a file that holds one. Raises `UserError`."""
    if text in PRESETS:
        return PRESETS[text]
    try:
        fields = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except OSError as error:
        raise UserError(f"configuration {text}: {error.strerror}; presets are "
                        f"{', '.join(PRESETS)}") from None
    except ValueError as error:
        raise UserError(f"configuration {text}: not JSON: {error}") from None
    known = {field.name: field.type for field in dataclasses.fields(Config)}
    if not isinstance(fields, dict):
        raise UserError(f"configuration {text}: a JSON object is needed")
    for name, value in fields.items():
        if name not in known:
            raise UserError(f"configuration {text}: '{name}' is unknown; fields are "
                            f"{', '.join(known)}")
        kind = {"str": str, "bool": bool}.get(getattr(known[name], "__name__", known[name]), int)
        if type(value) is not kind:
            raise UserError(f"configuration {text}: {name} is {value!r}, needed: {kind.__name__}")
    try:
        return Config(**fields)
    except ValueError as error:
        raise UserError(str(error)) from None
