"""The ports of a component as signals, for Verilog and RTLIL."""

from amaranth.hdl import Signal, Value
from amaranth.lib import wiring


def ports_of(component: wiring.Component) -> list[Signal]:
    """Every port that is a signal (an always-ready stream's ``ready`` is a constant)."""
    return [value for _, _, value in component.signature.flatten(component)
            for value in [Value.cast(value)] if isinstance(value, Signal)]
