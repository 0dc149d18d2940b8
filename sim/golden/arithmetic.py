"""The requantiser's rounding in NumPy integers, straight from the text of `hw.isa.Finish`."""

from __future__ import annotations

import numpy as np

from hw.isa import ADD_POINT, MANTISSA, POINT

__all__ = ["add_bytes", "requantise", "round_scaled"]


def _shift_right(value: np.ndarray, places: np.ndarray) -> np.ndarray:
    """value / 2**places (value >= 0, 0 <= places < 62) to the nearest integer, half to even."""
    places = np.asarray(places, np.int64)
    whole = value >> places
    rest = value & ((np.int64(1) << places) - 1)
    # Comparing twice the rest with the divisor avoids halves.
    twice, divisor = rest << 1, np.int64(1) << places
    up = (twice > divisor) | ((twice == divisor) & (whole & 1 == 1))
    return whole + (up & (places > 0))


def round_scaled(value: np.ndarray, point: np.ndarray | int) -> np.ndarray:
    """value * 2**-point rounded to 24 significant bits, then to an integer, both half to even.

    `value` int64 below 2**53 in magnitude, `point` 0 to 61. The sign is kept aside.
    """
    value = np.asarray(value, np.int64)
    size = np.abs(value)
    _, bits = np.frexp(size.astype(np.float64))
    dropped = np.maximum(bits.astype(np.int64) - MANTISSA, 0)
    kept = _shift_right(size, dropped)
    rest = np.asarray(point, np.int64) - dropped
    integer = np.where(rest >= 0, _shift_right(kept, np.maximum(rest, 0)),
                       kept << np.maximum(-rest, 0))
    return np.sign(value) * integer


def requantise(sums: np.ndarray, mantissa: np.ndarray, shift: np.ndarray, zero: int,
               low: int) -> np.ndarray:
    """uint8 of int64 sums (below 2**29) with their bias; parameters broadcast over channels."""
    rounded = round_scaled(sums * np.asarray(mantissa, np.int64),
                           POINT - np.asarray(shift, np.int64))
    return np.clip(rounded + zero, low, 255).astype(np.uint8)


def add_bytes(a: np.ndarray, b: np.ndarray, finish: dict) -> np.ndarray:
    """Stage ADD on two uint8 arrays."""
    a, b = a.astype(np.int64), b.astype(np.int64)
    result = round_scaled(a * finish["add_a"] + b * finish["add_b"] + finish["add_c"], ADD_POINT)
    for pair in finish["corrections"].values():
        if pair["valid"]:
            result += np.where((a == pair["a"]) & (b == pair["b"]), 1 if pair["up"] else -1, 0)
    return np.clip(result, finish["low_d"], 255).astype(np.uint8)
