"""Instructions for benches: their bits, and operands that every check accepts."""

from amaranth.lib import data

from hw.config import Config
from hw.isa import HEADER_BITS, OPERANDS, Header, Opcode


def bits_of(layout, values: dict) -> int:
    """The bits of a struct from nested dictionaries; ValueError if a field does not fit."""
    layout = data.Layout.cast(layout)
    total = 0
    for name, value in values.items():
        field = layout[name]
        if isinstance(value, dict):
            part = bits_of(field.shape, value)
        else:
            part = getattr(value, "value", value)
            if part >> field.width:
                raise ValueError(f"{name} is {part}, more than {field.width} bits")
        total |= part << field.offset
    return total


def instruction(opcode, operand: dict | None = None, layer: int = 0, **depends) -> int:
    """The bits of an instruction; ``depends`` are the counters of its header."""
    code = getattr(opcode, "value", opcode)
    header = bits_of(Header, {"opcode": code, "layer": layer, **depends})
    body = bits_of(OPERANDS[opcode], operand) if operand else 0
    return header | body << HEADER_BITS


def vectors(program: list[int]) -> list[int]:
    """The program as vectors of memory."""
    return [each >> 128 * i & (1 << 128) - 1 for each in program for i in range(8)]


def good(opcode, config: Config) -> dict:
    """An operand with all rules kept, every field of a loop above its least value."""
    if opcode == Opcode.END:
        return {}
    if opcode == Opcode.WEIGHTS:
        return {"address": 100, "count": 3}
    if opcode == Opcode.LOAD:
        return {"address": 100, "stride": 50, "target": 7, "target_stride": 40, "count": 9,
                "planes": 2}
    if opcode == Opcode.GATHER:
        return {"address": 5, "row_vectors": 8, "width": 30, "height": 20, "out_width": 14,
                "row": 2, "rows": 3, "kernel": 3, "stride": 2, "target": 64}
    # 12 x 10 pixels; 120 pixels are 120 / pixels steps, in 6 strips.
    steps, more = divmod(120 // config.pixels, 6)
    walk = {"groups_a": 2, "groups_b": 3, "planes": 3, "kernel": 3, "strips": 6,
            "long_strips": more, "steps": steps}
    source = {"width": 12, "height": 10, "out_width": 12, "row": 1, "pixels": 120, "stride": 1,
              "pad_top": 1, "pad_left": 1}
    main = {
        "walk": walk, "source": source,
        "pool": {"enable": 1, "kernel": 3, "stride": 2, "phase": 1, "width": 12, "rows": 10,
                 "out_width": 6},
        "target": {"to_act": 1, "address_a": 100, "address_b": 200, "plane": 60},
    }
    if opcode == Opcode.CONV:
        return {"main": main}
    squeeze = {"walk": {**walk, "groups_a": 0, "kernel": 1}, "source": dict(source),
               "target": 9}
    return {"main": main, "squeeze": squeeze}
