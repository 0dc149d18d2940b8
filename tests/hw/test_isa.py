"""The instruction formats: sizes, ranges, and one meaning of every bit for all tools."""

import random

import pytest
from amaranth.lib import data

from hw import isa
from hw.config import VECTOR, Config
from hw.isa import OPERANDS, Average, Error, Header, Opcode, ParameterKind, Record
from sw.assembler import assemble, decode, disassemble, encode


def size(layout) -> int:
    return data.Layout.cast(layout).size


def plain(value):
    """A constant of a layout as nested dicts of numbers, as the assembler gives them."""
    if isinstance(value, data.Const):
        return {key: plain(value[key]) for key, _ in value.shape()}
    return int(getattr(value, "value", value))


def test_header_fills_its_place():
    assert size(Header) == isa.HEADER_BITS
    assert isa.HEADER_BITS + isa.OPERAND_BITS == 8 * isa.INSTRUCTION_BYTES
    assert isa.INSTRUCTION_BYTES % VECTOR == 0


def test_operands_fit():
    assert set(OPERANDS) == set(Opcode) - {Opcode.END}
    for opcode, layout in OPERANDS.items():
        assert 0 < size(layout) <= isa.OPERAND_BITS, f"{opcode}: {size(layout)} bits"


def test_conv_is_the_beginning_of_fire():
    """The decoder has one view for both."""
    main = data.Layout.cast(isa.Fire)["main"]
    assert main.offset == 0 and main.shape is data.Layout.cast(isa.Conv)["main"].shape


def test_parameter_block():
    """Sixteen records of eight bytes."""
    assert size(Record) == 64
    assert VECTOR * size(Record) // 8 == isa.RECORD_VECTORS * VECTOR


@pytest.mark.parametrize("kind", [Opcode, Average, ParameterKind, Error])
def test_enumerations(kind):
    """Values are distinct and fit; no opcode is 0, which empty memory gives."""
    values = [each.value for each in kind]
    assert len(set(values)) == len(kind.__members__) == len(values)
    assert all(0 <= value < 256 for value in values)
    assert kind is not Opcode or 0 not in values
    assert kind is not Error or Error.NONE.value == 0


def test_fields_hold_the_largest_configuration():
    largest = Config(pixels=4, act_vectors=1 << 16, image_width=1024, strip_steps=64)
    widths = {name: field.width for layout in (isa.Walk, isa.Source, isa.Gather)
              for name, field in data.Layout.cast(layout)}
    assert largest.act_vectors <= 1 << isa.ACT_ADDRESS
    assert largest.strip_steps < 1 << widths["steps"]
    assert largest.image_width < 1 << widths["width"]
    assert largest.image_width // 4 < 1 << widths["row_vectors"] + 1


@pytest.mark.parametrize("opcode", list(Opcode))
def test_hardware_and_tools_read_the_same(opcode):
    """Random bits: views of the hardware, the assembler and the disassembler agree."""
    rng = random.Random(opcode.value)
    for _ in range(20):
        header_bits = rng.getrandbits(size(Header)) & ~0xFF | opcode.value
        header = plain(data.Layout.cast(Header).from_bits(header_bits))
        assert decode(Header, header_bits) == header
        operand = {}
        if opcode in OPERANDS:
            layout = OPERANDS[opcode]
            bits = rng.getrandbits(size(layout))
            operand = decode(layout, bits)
            assert encode(layout, operand) == bits
            # An undefined value of an enumeration has no constant.
            if "main" in operand and operand["main"]["finish"]["average"] == 3:
                operand["main"]["finish"]["average"] = 2
                bits = encode(layout, operand)
            assert plain(data.Layout.cast(layout).from_bits(bits)) == operand
        del header["opcode"]
        code = assemble(opcode, header, operand)
        assert len(code) == isa.INSTRUCTION_BYTES
        assert list(disassemble(code)) == [(opcode, header, operand)]
        assert code[0] == opcode.value


def test_too_large_values_are_refused_by_name():
    with pytest.raises(ValueError, match="target: 65536 does not fit 16 bits"):
        assemble(Opcode.LOAD, {}, {"target": 1 << 16})
    with pytest.raises(ValueError, match=r"main.walk.steps: 128 does not fit 7 bits"):
        assemble(Opcode.CONV, {}, {"main": {"walk": {"steps": 128}}})
    with pytest.raises(ValueError, match="plans: no such field"):
        assemble(Opcode.LOAD, {}, {"plans": 1})
    with pytest.raises(ValueError, match="END has no operand"):
        assemble(Opcode.END, {}, {"count": 1})
