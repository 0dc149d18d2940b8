"""The register map as a C header, from the same source as the hardware."""

from .config import Config
from .csr import ID, REGISTERS, VERSION, Register
from .isa import Error
from .profile import UNITS, UnitState

__all__ = ["register_header"]

PREFIX = "FIRECORE"


def register_header(config: Config) -> str:
    """Offsets, masks and shifts of all fields, error codes, names of units and states; ``config``
    gives the value that the register CONFIG has. C99, no other header needed.

    ``FIRECORE_<REGISTER>`` is a byte offset from the start of the AXI4-Lite port; fields that do
    not fill a register have ``FIRECORE_<REGISTER>_<FIELD>_MASK`` and ``_SHIFT``.
    """
    lines = [
        f"/* Registers of firecore {VERSION >> 16}.{VERSION & 0xFFFF}, {config.lanes} lanes.",
        "   Written by python -m hw.build from hw/csr.py: do not edit. */",
        f"#ifndef {PREFIX}_H", f"#define {PREFIX}_H", "",
        "/* What the registers ID, VERSION and CONFIG read. */",
        _define("ID_VALUE", ID), _define("VERSION_VALUE", VERSION),
        _define("CONFIG_VALUE", config.digest),
    ]
    for register in REGISTERS:
        lines += ["", f"/* {register.description} ({register.access}) */",
                  _define(register.name, register.offset)]
        if register.access != "ro" and register.reset:
            lines.append(_define(f"{register.name}_RESET", register.reset))
        lines += _fields(register)
    lines += ["", _enum("error", {error.name: error.value for error in Error},
                        "FIRECORE_STATUS_ERROR_CODE"),
              "", _enum("profile", {name.upper(): i for i, name in enumerate(UNITS)},
                        "FIRECORE_PROFILE_UNIT"),
              "", _enum("state", {state.name: state.value for state in UnitState},
                        "counters of a unit: FIRECORE_UNIT_IDLE + 4 * state"),
              "", "#endif", ""]
    return "\n".join(lines)


def _define(name: str, value: int) -> str:
    return f"#define {PREFIX}_{name} 0x{value:X}u"


def _fields(register: Register) -> list[str]:
    lines = []
    for field in register.fields:
        if field.width < 32:
            mask = ((1 << field.width) - 1) << field.low
            name = f"{register.name}_{field.name.upper()}"
            lines += [f"{_define(f'{name}_MASK', mask)} /* {field.description} */",
                      _define(f"{name}_SHIFT", field.low)]
    return lines


def _enum(name: str, values: dict[str, int], where: str) -> str:
    """An enumeration of the values of a field."""
    members = ",\n".join(f"    {PREFIX}_{name.upper()}_{key} = {value}"
                         for key, value in values.items())
    return f"/* {where} */\nenum {PREFIX.lower()}_{name} {{\n{members}\n}};"
