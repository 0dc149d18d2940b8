"""Instructions as bytes and back, from the structs of `hw.isa`."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from hw.isa import HEADER_BITS, INSTRUCTION_BYTES, OPERANDS, Header, Opcode

__all__ = ["Instruction", "assemble", "decode", "disassemble", "encode", "listing"]

Instruction = tuple[Opcode, dict[str, Any], dict[str, Any]]
"""Opcode, header without it, operand."""

_LAYOUTS: dict[Any, list] = {}


def _fields(layout) -> list:
    """[(key, offset, width, signed, inner layout or None)] of a struct or array layout."""
    if layout not in _LAYOUTS:
        fields = []
        for key, item in data.Layout.cast(layout):
            shape = item.shape
            inner = None
            if isinstance(shape, data.Layout) or (
                    isinstance(shape, type) and issubclass(shape, data.Struct)):
                inner = shape
            fields.append((key, item.offset, item.width, Shape.cast(shape).signed, inner))
        _LAYOUTS[layout] = fields
    return _LAYOUTS[layout]


def encode(layout, values: Mapping[str, Any], where: str = "") -> int:
    """The bits of a struct from nested dicts and lists; missing fields are zero.

    Raises ValueError naming the field if one is unknown or does not fit.
    """
    if not isinstance(values, Mapping):
        values = dict(enumerate(values))
    known = {key for key, *_ in _fields(layout)}
    for key in values:
        if key not in known:
            raise ValueError(f"{where}{key}: no such field")
    bits = 0
    for key, offset, width, signed, inner in _fields(layout):
        if key not in values:
            continue
        value = values[key]
        if inner is not None:
            bits |= encode(inner, value, f"{where}{key}.") << offset
            continue
        value = int(value.value if isinstance(value, enum.Enum) else value)
        low, high = (-(1 << width - 1), 1 << width - 1) if signed else (0, 1 << width)
        if not low <= value < high:
            raise ValueError(f"{where}{key}: {value} does not fit {width} bits "
                             f"({low} to {high - 1})")
        bits |= (value & (1 << width) - 1) << offset
    return bits


def decode(layout, bits: int) -> dict[Any, Any]:
    """Nested dicts of all fields, arrays as dicts of their indices."""
    values = {}
    for key, offset, width, signed, inner in _fields(layout):
        value = bits >> offset & (1 << width) - 1
        if inner is not None:
            value = decode(inner, value)
        elif signed and value >> width - 1:
            value -= 1 << width
        values[key] = value
    return values


def assemble(opcode: Opcode, header: Mapping[str, int] | None = None,
             operand: Mapping[str, Any] | None = None) -> bytes:
    """One instruction. Raises ValueError naming a field that does not fit."""
    bits = encode(Header, {"opcode": opcode, **(header or {})})
    if opcode in OPERANDS:
        bits |= encode(OPERANDS[opcode], operand or {}) << HEADER_BITS
    elif operand:
        raise ValueError(f"{opcode.name} has no operand")
    return bits.to_bytes(INSTRUCTION_BYTES, "little")


def disassemble(code: bytes) -> Iterator[Instruction]:
    """All instructions. Raises ValueError for an unknown opcode or a broken length."""
    if len(code) % INSTRUCTION_BYTES:
        raise ValueError(f"{len(code)} bytes are not a multiple of {INSTRUCTION_BYTES}")
    for at in range(0, len(code), INSTRUCTION_BYTES):
        bits = int.from_bytes(code[at:at + INSTRUCTION_BYTES], "little")
        header = decode(Header, bits & (1 << HEADER_BITS) - 1)
        try:
            opcode = Opcode(header.pop("opcode"))
        except ValueError:
            raise ValueError(f"instruction {at // INSTRUCTION_BYTES}: unknown opcode "
                             f"{code[at]}") from None
        layout = OPERANDS.get(opcode)
        yield opcode, header, decode(layout, bits >> HEADER_BITS) if layout else {}


def listing(code: bytes) -> str:
    """One line for each instruction: what it waits for, then its operand (zero fields omitted)."""
    lines = []
    for index, (opcode, header, operand) in enumerate(disassemble(code)):
        waits = " ".join(f"{name}>={header[name]}" for name in
                         ("loads", "gathers", "reads", "writes") if header[name])
        line = (f"{index:5d}  layer {header['layer']:<3d} {opcode.name:<8s}"
                f"[{waits}] {_text(operand)}")
        lines.append(line.rstrip())
    return "\n".join(lines) + "\n"


def _text(values: Mapping[Any, Any]) -> str:
    parts = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = _text(value)
            if inner:
                parts.append(f"{key}({inner})")
        elif value:
            parts.append(f"{key}={value}")
    return " ".join(parts)
