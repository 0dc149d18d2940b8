"""A clock of the core's own on Series 7, made from that of the memory controller."""

from dataclasses import dataclass

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer

DOMAIN = "core"
TOLERANCE = 1e-3
"""Relative error of the clock that is good enough."""
VCO_HZ = 600e6, 1200e6
PHASE_DETECTOR_HZ = 10e6, 450e6
"""Limits of an MMCM of the slowest speed grade."""


@dataclass(frozen=True)
class Mmcm:
    """Output frequency = input frequency * ``multiply`` / ``divide`` / ``output_divide``; the first
    and the last count eighths."""

    multiply: float
    divide: int
    output_divide: float

    def output_hz(self, input_hz: float) -> float:
        return input_hz * self.multiply / self.divide / self.output_divide


def mmcm_for(input_hz: float, output_hz: float) -> Mmcm:
    """The setting with the smallest error; of several the one with the fastest phase detector, then
    the fastest oscillator. Raises ValueError if the error is above ``TOLERANCE``."""
    if output_hz <= 0:
        raise ValueError(f"core clock: {output_hz / 1e6:g} MHz, supported: above 0")
    found = []
    for divide in range(1, 107):
        if not PHASE_DETECTOR_HZ[0] <= input_hz / divide <= PHASE_DETECTOR_HZ[1]:
            continue
        for eighths in range(2 * 8, 64 * 8 + 1):
            vco = input_hz / divide * eighths / 8
            if VCO_HZ[0] <= vco <= VCO_HZ[1]:
                output_divide = round(8 * vco / output_hz) / 8
                if output_divide == 1 or 2 <= output_divide <= 128:
                    setting = Mmcm(eighths / 8, divide, output_divide)
                    error = abs(setting.output_hz(input_hz) / output_hz - 1)
                    found.append((round(error, 9), divide, -vco, setting))
    error, _, _, best = min(found, default=(1, 0, 0, None), key=lambda entry: entry[:3])
    if error > TOLERANCE:
        nearest = f"the nearest is {best.output_hz(input_hz) / 1e6:g} MHz" if best else "no setting"
        raise ValueError(
            f"core clock: {output_hz / 1e6:g} MHz from {input_hz / 1e6:g} MHz: {nearest}")
    return best


class CoreClock(wiring.Component):
    """Drives the domain ``core`` at ``output_hz`` from ``sync`` at ``input_hz``, whose reset it
    follows: it is reset until the clock is locked. Raises ValueError."""

    def __init__(self, input_hz: float, output_hz: float):
        self.input_hz, self.setting = input_hz, mmcm_for(input_hz, output_hz)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        made, feedback, locked = Signal(), Signal(), Signal()
        m.submodules.mmcm = Instance(
            "MMCME2_BASE",
            p_BANDWIDTH="OPTIMIZED",
            p_CLKIN1_PERIOD=1e9 / self.input_hz,
            p_CLKFBOUT_MULT_F=self.setting.multiply,
            p_DIVCLK_DIVIDE=self.setting.divide,
            p_CLKOUT0_DIVIDE_F=self.setting.output_divide,
            i_CLKIN1=ClockSignal(), i_RST=ResetSignal(), i_PWRDWN=0,
            i_CLKFBIN=feedback, o_CLKFBOUT=feedback,
            o_CLKOUT0=made, o_LOCKED=locked,
        )
        m.submodules.buffer = Instance("BUFG", i_I=made, o_O=ClockSignal(DOMAIN))
        m.submodules.reset = ResetSynchronizer(~locked, domain=DOMAIN)
        return m


def crossing_constraints(path: str, input_hz: float, output_hz: float) -> str:
    """For Vivado: no way between the domains may take longer than a period of the faster clock.
    ``path`` is the instance of ``CoreClock``."""
    period = 1e9 / max(input_hz, output_hz)
    clocks = [f"[get_clocks -of_objects [get_pins {path}/mmcm/{pin}]]"
              for pin in ("CLKIN1", "CLKOUT0")]
    return "".join(f"set_max_delay -datapath_only -from {source} -to {target} {period:.3f}\n"
                   for source, target in (clocks, clocks[::-1]))
