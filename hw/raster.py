"""How a pass moves over its output pixels: cursors, and jumps of one pixel or several at once."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data

from .config import Config
from .isa import ACT_ADDRESS

ROW = signed(13)
"""Row of the input map, a window beyond its edges included."""
COLUMN = 12
"""Output column times the stride; or a column of the input map and its right padding."""


class Cursor(data.Struct):
    """An output pixel: the column of its window's left edge, without padding, and where the tap at
    hand reads for it."""

    column: COLUMN
    row: ROW
    address: ACT_ADDRESS


class Jump(data.Struct):
    """From an output pixel to a later one: adds ``wrapped`` from column ``limit`` on, ``direct``
    before it (all modulo their widths), so that one of any length takes one compare and one
    addition."""

    limit: COLUMN
    direct: Cursor
    wrapped: Cursor


def jumped(m: Module, jump, cursor, name: str = "jumped", eager: bool = False) -> Signal:
    """The cursor after a jump. ``eager``: two additions that do not wait for the comparison."""
    wrap = Signal(name=f"{name}_wrap")
    result = Signal(Cursor, name=name)
    m.d.comb += wrap.eq(cursor.column >= jump.limit)
    for field in ("column", "row", "address"):
        before, wrapped, direct = cursor[field], jump.wrapped[field], jump.direct[field]
        m.d.comb += result[field].eq(
            Mux(wrap, (before + wrapped)[:len(before)], (before + direct)[:len(before)]) if eager
            else before + Mux(wrap, wrapped, direct))
    return result


def raster_layout(config: Config) -> data.StructLayout:
    """Constants of a pass by which a cursor moves and padding is found.

    ``step`` is the jump from a step to the next, ``lanes[n]`` that to the pixel of lane ``n + 1``
    of the same step.
    """
    return data.StructLayout({
        "step": Jump,
        "lanes": data.ArrayLayout(Jump, config.pixels - 1),
        "height": 11,
        "pad_value": 8,
        "single": 1,
    })
