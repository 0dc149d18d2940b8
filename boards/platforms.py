"""Amaranth platforms of the boards, with the pins that firecore's top level asks for."""

from amaranth_boards.arty_a7 import ArtyA7_35Platform, ArtyA7_100Platform
from amaranth_boards.ulx3s import ULX3S_45F_Platform, ULX3S_85F_Platform

from . import Board


class _Series7:
    """Design and pins alone: `hw.flow_vivado` has the scripts.

    Vivado and nextpnr-xilinx read the same file of pins and clocks; the latter takes neither quoted
    values nor escapes in names. `extra` are more lines of it; `loader` is openFPGALoader's name of
    the board.
    """

    extra = ""
    loader: str
    command_templates = ()
    file_templates = {
        "{{name}}.v": "{{emit_verilog()}}",
        "{{name}}.il": "{{emit_rtlil()}}",
        "{{name}}.xdc": """
            {% for port, pin, attributes in platform.iter_port_constraints_bits() -%}
                set_property LOC {{pin}} [get_ports {{'{'}}{{port}}{{'}'}}]
                {% for name, value in attributes.items() -%}
                    set_property {{name}} {{value}} [get_ports {{'{'}}{{port}}{{'}'}}]
                {% endfor %}
            {% endfor %}
            {% for port, hz in platform.iter_port_clock_constraints() -%}
                create_clock -name {{port.name}} -period {{1e9 / hz}} [get_ports {{port.name}}]
            {% endfor %}
            {{platform.extra}}
        """,
    }


class _ArtyA7(_Series7):
    extra = "set_property INTERNAL_VREF 0.675 [get_iobanks 34]"


class ArtyA7_35(_ArtyA7, ArtyA7_35Platform):
    loader = "arty_a7_35t"


class ArtyA7_100(_ArtyA7, ArtyA7_100Platform):
    loader = "arty_a7_100t"


class _OnlyTheDesign:
    """Of the files of a build plan those that `hw.flow_ecp5` reads: the design and its pins."""

    @property
    def file_templates(self):
        return {name: text for name, text in super().file_templates.items()
                if name in ("{{name}}.il", "{{name}}.lpf")}


class Ulx3s45F(_OnlyTheDesign, ULX3S_45F_Platform):
    pass


class Ulx3s85F(_OnlyTheDesign, ULX3S_85F_Platform):
    pass


PLATFORMS = {("arty_a7", "35"): ArtyA7_35, ("arty_a7", "100"): ArtyA7_100,
             ("ulx3s", "45f"): Ulx3s45F, ("ulx3s", "85f"): Ulx3s85F}


def platform_of(board: Board):
    """An Amaranth platform."""
    return PLATFORMS[board.name, board.variant]()
