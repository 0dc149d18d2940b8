"""Clocks of a board with an ECP5: the core's, and that of an SDR SDRAM."""

from fractions import Fraction

from amaranth.hdl import Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

VCO_HZ = 400e6, 800e6
PFD_HZ = 3.125e6, 400e6
MEMORY_LEAD = 3.5e-9
"""Seconds that the memory's clock comes before ours. The memory takes commands and data, which
leave with our clock, that much before the next ones come; what it sends, which is there 5.5 ns at
the earliest and 10 ns at the latest after its clock with the ways through the pins, is taken 3.5 ns
after its next one (see `LateSdrPhy` of `hw.litedram_generator`)."""


def dividers(input_hz: float, output_hz: float) -> tuple[int, int, int]:
    """Of the input, the feedback and the output. Raises ValueError with both frequencies."""
    ratio = Fraction(output_hz / input_hz).limit_denominator(128)
    feedback, divider = ratio.numerator, ratio.denominator
    middle = sum(VCO_HZ) / 2
    outputs = [n for n in range(1, 129) if VCO_HZ[0] <= output_hz * n <= VCO_HZ[1]]
    exact = abs(ratio * input_hz - output_hz) < 1
    if not (exact and outputs and feedback <= 128 and input_hz / divider >= PFD_HZ[0]):
        raise ValueError(f"clock: no dividers of the PLL make {output_hz / 1e6:g} MHz of "
                         f"{input_hz / 1e6:g} MHz")
    return divider, feedback, min(outputs, key=lambda n: abs(output_hz * n - middle))


class Ecp5Clocks(wiring.Component):
    """``output_hz`` made of ``input_hz`` by a PLL; ``memory`` is the same, a ``MEMORY_LEAD`` early.

    Members
    -------
    source : In(1), the pin
    clock, memory : Out(1), clocks
    locked : Out(1), asynchronous
    """

    source: In(1)
    clock: Out(1)
    memory: Out(1)
    locked: Out(1)

    def __init__(self, input_hz: float, output_hz: float):
        self.input_hz, self.output_hz = input_hz, output_hz
        self.dividers = dividers(input_hz, output_hz)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        divider, feedback, output = self.dividers
        # An output can be put off by eighths of the VCO's period.
        late = round(8 * output * (1 - MEMORY_LEAD * self.output_hz)) % (8 * output)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.output_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS=f"{self.output_hz / 1e6:g}",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
            p_FEEDBK_PATH="CLKOP", p_CLKI_DIV=divider, p_CLKFB_DIV=feedback,
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=output,
            p_CLKOP_CPHASE=output - 1, p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED", p_CLKOS_DIV=output,
            p_CLKOS_CPHASE=output - 1 + late // 8, p_CLKOS_FPHASE=late % 8,
            i_CLKI=self.source, i_CLKFB=self.clock, i_RST=0, i_STDBY=0,
            i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1,
            i_PLLWAKESYNC=0, i_ENCLKOP=0, i_ENCLKOS=0,
            o_CLKOP=self.clock, o_CLKOS=self.memory, o_LOCK=self.locked)
        return m
