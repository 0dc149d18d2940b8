"""Arithmetic of one pass: windows, tiles, sums, stages and pooling, on whole arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hw.config import VECTOR, Config
from hw.isa import ACT_ADDRESS, MANTISSA, SHIFT, Average

from .arithmetic import add_bytes, requantise
from .order import MachineError

__all__ = ["Pooler", "Records", "Windows", "finish_branch", "read_records", "sums_of"]

Records = tuple[np.ndarray, np.ndarray, np.ndarray]
"""bias, mantissa, shift, each int64 [16]."""


def read_records(block: np.ndarray) -> Records:
    """A parameter block, uint8 [RECORD_VECTORS, 16]."""
    words = np.ascontiguousarray(block).reshape(-1).view("<u4").reshape(VECTOR, 2)
    upper = words[:, 1].astype(np.int64)
    return (words[:, 0].view(np.int32).astype(np.int64), upper & (1 << MANTISSA) - 1,
            upper >> MANTISSA & (1 << SHIFT) - 1)


class Windows:
    """Where a pass reads: for each tap the address of every output pixel, and whether it is inside.
    """

    def __init__(self, source: dict[str, int], walk: dict[str, int], config: Config):
        self.source, self.kernel = source, walk["kernel"]
        pixel = np.arange(source["pixels"])
        row, column = np.divmod(pixel, source["out_width"])
        self.base = source["address"] + (row * source["width"] + column) * source["stride"]
        self.row = (source["row"] + row) * source["stride"] - source["pad_top"]
        self.column = column * source["stride"] - source["pad_left"]
        self.pixels_per_step = 1 if source["single"] else config.pixels

    def tap(self, ky: int, kx: int) -> tuple[np.ndarray, np.ndarray]:
        """(addresses in plane 0 modulo 2**16, inside), one for each pixel; checks the banks."""
        source = self.source
        inside = ((self.row + ky >= 0) & (self.row + ky < source["height"])
                  & (self.column + kx >= 0) & (self.column + kx < source["width"]))
        addresses = self.base + ky * source["width"] + kx
        self._check_banks(addresses, inside)
        return addresses, inside

    def _check_banks(self, addresses: np.ndarray, inside: np.ndarray) -> None:
        count = self.pixels_per_step
        if count == 1:
            return
        size = -(-len(addresses) // count) * count
        banks = np.full(size, -1)
        banks[:len(addresses)] = np.where(inside, addresses % count, -1)
        banks = np.sort(banks.reshape(-1, count), axis=1)
        if ((banks[:, 1:] == banks[:, :-1]) & (banks[:, 1:] >= 0)).any():
            raise MachineError("two pixels of a step read one bank of the activation memory")

    def read(self, ky: int, kx: int, planes: int,
             fetch: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """float64 [pixels, planes * 16] at a tap; `fetch` reads the activation memory."""
        addresses, inside = self.tap(ky, kx)
        values = np.full((len(addresses), planes, VECTOR), self.source["pad_value"], np.uint8)
        offsets = np.arange(planes) * self.source["plane"]
        wanted = (addresses[inside][:, None] + offsets) % (1 << ACT_ADDRESS)
        values[inside] = fetch(wanted)
        return values.reshape(len(addresses), -1).astype(np.float64)


def sums_of(columns: list[np.ndarray], tiles: np.ndarray, config: Config) -> np.ndarray:
    """int64 [pixels, 16] of one group from windows by tap and its tiles, uint8 [vectors, 16].

    The products are summed in float64, exact below 2**53. Raises MachineError beyond acc_width.
    """
    lanes, halves = config.co_lanes, VECTOR // config.co_lanes
    planes = columns[0].shape[1] // VECTOR
    weights = tiles.view(np.int8).reshape(halves, len(columns), planes * VECTOR, lanes)
    result = np.zeros((len(columns[0]), VECTOR))
    for half in range(halves):
        for tap, column in enumerate(columns):
            result[:, half * lanes:(half + 1) * lanes] += \
                column @ weights[half, tap].astype(np.float64)
    limit = 1 << config.acc_width - 1
    if result.max() >= limit or result.min() < -limit:
        raise MachineError(f"a sum of {result.max():.0f} or {result.min():.0f} leaves the "
                           f"accumulator of {config.acc_width} bits")
    return result.astype(np.int64)


def finish_branch(sums: np.ndarray, group: Records, suffix: str, finish: dict,
                  rescale: Records | None, residual: np.ndarray | None,
                  average: Records | None,
                  observe: Callable[[str, np.ndarray], None]) -> np.ndarray:
    """Stages of one branch and group: sums [pixels, 16] to uint8 vectors [n, 16]."""
    bias, mantissa, shift = group
    values = requantise(sums + bias, mantissa, shift, finish[f"zero_{suffix}"],
                        finish[f"low_{suffix}"])
    observe("CONV", values)
    if finish["rescale"]:
        bias, mantissa, shift = rescale
        values = requantise(values.astype(np.int64) + bias, mantissa, shift, finish["zero_c"],
                            finish["low_c"])
        observe("RESCALE", values)
    if finish["add"]:
        values = add_bytes(values, residual, finish)
        observe("ADD", values)
    if finish["average"] == Average.NONE.value:
        return values
    total = values.astype(np.int64).sum(axis=0)
    if finish["average"] == Average.SUMS.value:
        return total.astype("<i4").view(np.uint8).reshape(4, VECTOR)
    bias, mantissa, shift = average
    values = requantise((total + bias)[None], mantissa, shift, finish["zero_g"], finish["low_g"])
    observe("AVERAGE", values)
    return values


@dataclass
class Pooler:
    """Max pooling with windows that stay open from one pass to the next."""

    open: dict[tuple[int, int], tuple[int, np.ndarray]] = field(default_factory=dict)
    """For a branch and group: rows in the open window, and their maxima [columns, 16]."""
    closed: bool = True

    def begin(self, pool: dict[str, int], pixels: int, groups: int, config: Config) -> None:
        """Check the operands of a pass; forget windows that do not continue."""
        if pool["kernel"] - pool["stride"] not in (0, 1) or pool["stride"] == 0:
            raise MachineError(f"pooling {pool['kernel']} with stride {pool['stride']}")
        if pool["width"] * pool["rows"] != pixels:
            raise MachineError(f"pooling {pool['width']} x {pool['rows']} of {pixels} pixels")
        if pool["out_width"] * groups > config.line_vectors:
            raise MachineError("pooling: the line buffer is too small")
        if self.closed or pool["phase"] == 0:
            self.open.clear()
        elif any(rows != pool["phase"] for rows, _ in self.open.values()):
            raise MachineError(f"pooling continues at phase {pool['phase']}, but "
                               f"{[rows for rows, _ in self.open.values()]} rows are there")
        self.closed = bool(pool["close_bottom"])

    def run(self, pool: dict[str, int], key: tuple[int, int], values: np.ndarray) -> np.ndarray:
        """uint8 [rows * width, 16] of one branch and group to pooled vectors [n, 16]."""
        rows = values.reshape(pool["rows"], pool["width"], VECTOR)
        columns = np.stack([self._columns(pool, rows, x) for x in range(pool["out_width"])], 1)
        kernel, overlaps = pool["kernel"], pool["kernel"] > pool["stride"]
        position, running = self.open.get(key, (pool["phase"], None))
        out = []
        for index, row in enumerate(columns):
            running = row if running is None else np.maximum(running, row)
            last = index == len(columns) - 1 and pool["close_bottom"]
            position += 1
            if position == kernel or last:
                out.append(running)
                position, running = (1, row) if overlaps else (0, None)
        if running is not None:
            self.open[key] = position, running
        else:
            self.open.pop(key, None)
        if not out:
            raise MachineError("pooling: a pass closes no row")
        return np.concatenate(out)

    @staticmethod
    def _columns(pool: dict[str, int], rows: np.ndarray, x: int) -> np.ndarray:
        """Maxima [rows, 16] over the columns of window `x`."""
        first = x * pool["stride"] - pool["pad_left"]
        end = first + pool["kernel"]
        if end > pool["width"] and not (pool["close_right"] and x == pool["out_width"] - 1):
            raise MachineError(f"pooling: window {x} is not complete")
        return rows[:, max(first, 0):end].max(axis=1)
