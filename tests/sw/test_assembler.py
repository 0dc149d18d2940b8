"""Instructions to bytes and back."""

import numpy as np
import pytest
from amaranth.lib import data

from hw.isa import (
    CORRECTIONS,
    HEADER_BITS,
    INSTRUCTION_BYTES,
    OPERANDS,
    Average,
    Fire,
    Header,
    Load,
    Opcode,
)
from sw.assembler import assemble, decode, disassemble, encode, listing


def random_values(layout, rng):
    """Random values of every field."""
    size = data.Layout.cast(layout).size
    return decode(layout, int.from_bytes(rng.bytes(size // 8 + 1), "little") & (1 << size) - 1)


@pytest.mark.parametrize("opcode", Opcode)
def test_round_trip(opcode):
    rng = np.random.default_rng(opcode.value)
    for _ in range(20):
        header = random_values(Header, rng)
        header.pop("opcode")
        operand = random_values(OPERANDS[opcode], rng) if opcode in OPERANDS else {}
        code = assemble(opcode, header, operand)
        assert len(code) == INSTRUCTION_BYTES
        assert list(disassemble(code)) == [(opcode, header, operand)]


def test_bits_are_those_of_the_struct():
    """The same as amaranth's own constant of the struct."""
    values = {"address": 0x1234567, "stride": 99, "target": 0xABCD, "count": 7, "planes": 255}
    assert encode(Load, values) == Load.const(values).as_value().value
    code = assemble(Opcode.LOAD, {"layer": 3, "reads": 500}, values)
    bits = int.from_bytes(code, "little")
    header = Header.from_bits(bits & (1 << HEADER_BITS) - 1)
    assert (header.opcode, header.layer, header.reads) == (Opcode.LOAD.value, 3, 500)
    assert bits >> HEADER_BITS == Load.const(values).as_value().value


def test_signed_fields_enums_and_arrays():
    operand = {"main": {"finish": {"add_c": -5, "average": Average.QUANTISED,
                                   "corrections": [{"valid": 1, "a": 200}]}}}
    fields = decode(Fire, encode(Fire, operand))["main"]["finish"]
    assert fields["add_c"] == -5 and fields["average"] == 2
    assert fields["corrections"][0] == {"valid": 1, "up": 0, "a": 200, "b": 0}


@pytest.mark.parametrize(("opcode", "header", "operand", "message"), [
    (Opcode.LOAD, {}, {"planes": 256}, "planes: 256 does not fit 8 bits"),
    (Opcode.LOAD, {}, {"count": -1}, "count: -1 does not fit 16 bits"),
    (Opcode.LOAD, {"layer": 1 << 16}, {}, "layer: 65536 does not fit 16 bits"),
    (Opcode.FIRE, {}, {"main": {"walk": {"steps": 128}}}, "main.walk.steps: 128"),
    (Opcode.CONV, {}, {"main": {"finish": {"add_c": 1 << 35}}}, "main.finish.add_c"),
    (Opcode.CONV, {}, {"main": {"finish": {"corrections": [{}] * (CORRECTIONS + 1)}}},
     f"main.finish.corrections.{CORRECTIONS}: no such field"),
    (Opcode.CONV, {}, {"walk": {}}, "walk: no such field"),
    (Opcode.END, {}, {"count": 1}, "END has no operand"),
])
def test_refuses_what_does_not_fit(opcode, header, operand, message):
    with pytest.raises(ValueError, match=message):
        assemble(opcode, header, operand)


def test_refuses_broken_code():
    end = assemble(Opcode.END)
    with pytest.raises(ValueError, match="instruction 1: unknown opcode 77"):
        list(disassemble(end + b"\x4d" + end[1:]))
    with pytest.raises(ValueError, match="127 bytes are not a multiple of 128"):
        list(disassemble(end[1:]))


def test_listing():
    text = listing(assemble(Opcode.LOAD, {"layer": 2, "reads": 3}, {"address": 7, "planes": 4})
                   + assemble(Opcode.END))
    assert text.splitlines() == [
        "    0  layer 2   LOAD    [reads>=3] address=7 planes=4", "    1  layer 0   END     []"]
