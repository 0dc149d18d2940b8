"""A model of what LiteDRAM's registers reach on an Artix-7: the PHY's delays, and the memory."""

from dataclasses import dataclass, field

from hw.litedram import Generated

CS, WE, CAS, RAS, WRDATA, RDDATA = 1, 2, 4, 8, 16, 32
PHASES, CHIPS = 4, 2
READ_PHASE, WRITE_PHASE = 2, 3
DELAYS, BITSLIPS = 32, 8


def register_map() -> dict[str, int]:
    """Names as LiteDRAM has them, one word after another."""
    names = ["ddrctrl_init_done", "ddrctrl_init_error", *(f"ddrphy_{name}" for name in (
        "rst", "dly_sel", "half_sys8x_taps", "wlevel_en", "wlevel_strobe", "rdly_dq_rst",
        "rdly_dq_inc", "rdly_dq_bitslip_rst", "rdly_dq_bitslip", "wdly_dq_bitslip_rst",
        "wdly_dq_bitslip", "rdphase", "wrphase")), "sdram_dfii_control"]
    names += [f"sdram_dfii_pi{phase}_{name}" for phase in range(PHASES) for name in (
        "command", "command_issue", "address", "baddress", "wrdata", "rddata")]
    return {name: 0x800 + 4 * number for number, name in enumerate(names)}


def generated(registers: dict[str, int]) -> Generated:
    """A controller of 64 KiB with these registers, and a start-up of one mode register."""
    sequence = [{"kind": "control", "value": 14, "address": 0, "bank": 0, "cycles": 10_000},
                {"kind": "command", "value": RAS | CAS | WE | CS, "address": 0x930, "bank": 2,
                 "cycles": 0}]
    return Generated(verilog="", row_bits=5, bank_bits=2, column_bits=8, port_bits=128,
                     registers=registers, sequence=sequence, constraints="")


@dataclass
class Phy:
    """`windows`: for each chip the bitslip and the delays, first and last, at which it reads well;
    elsewhere it gives what came one edge before, and within two delays of an edge of its window
    now the one, now the other."""

    windows: list[tuple[int, int, int]]
    modes: dict[int, int] = field(default_factory=dict)
    opened: bool = False
    delays: list[int] = field(default_factory=lambda: [5] * CHIPS)
    bitslips: list[int] = field(default_factory=lambda: [3] * CHIPS)

    def __post_init__(self):
        self.registers = register_map()
        self._names = {address: name for name, address in self.registers.items()}
        self._values = dict.fromkeys(self._names, 0)
        self._row_open = False
        self._stored: list[int] = []  # bytes: [edge][chip]
        self._flicker = 0

    def read(self, address: int) -> int:
        name = self._names[address]
        fixed = {"ddrphy_rdphase": READ_PHASE, "ddrphy_wrphase": WRITE_PHASE}
        return fixed.get(name, self._values[address])

    def write(self, address: int, value: int) -> None:
        name = self._names[address]
        self._values[address] = value
        if name == "ddrctrl_init_done":
            self.opened = bool(value) and self._value("sdram_dfii_control") == 1
        chips = [chip for chip in range(CHIPS) if self._value("ddrphy_dly_sel") >> chip & 1]
        for chip in chips:
            if name == "ddrphy_rdly_dq_rst":
                self.delays[chip] = 0
            elif name == "ddrphy_rdly_dq_inc":
                self.delays[chip] = (self.delays[chip] + 1) % DELAYS
            elif name == "ddrphy_rdly_dq_bitslip_rst":
                self.bitslips[chip] = 0
            elif name == "ddrphy_rdly_dq_bitslip":
                self.bitslips[chip] = (self.bitslips[chip] + 1) % BITSLIPS
        if name.endswith("_command_issue"):
            self._issue(int(name[len("sdram_dfii_pi")]))

    def _value(self, name: str) -> int:
        return self._values[self.registers[name]]

    def _issue(self, phase: int) -> None:
        def value(name: str) -> int:
            return self._value(f"sdram_dfii_pi{phase}_{name}")

        command = value("command")
        started = self._value("sdram_dfii_control") == 14
        if not started or not command & CS:
            return
        kind = command & (RAS | CAS | WE)
        if kind == RAS | CAS | WE:
            self.modes[value("baddress")] = value("address")
        elif kind == RAS:
            self._row_open = True
        elif kind == RAS | WE:
            self._row_open = False
        elif kind == CAS | WE and command & WRDATA and phase == WRITE_PHASE and self._row_open:
            self._stored = [self._value(f"sdram_dfii_pi{each}_wrdata") >> 8 * byte & 0xFF
                            for each in range(PHASES) for byte in range(2 * CHIPS)]
        elif kind == CAS and command & RDDATA and phase == READ_PHASE and self._row_open:
            self._answer()

    def _answer(self) -> None:
        edges = [self._stored[i:i + CHIPS] for i in range(0, len(self._stored), CHIPS)]
        seen = [0] * (2 * PHASES * CHIPS)
        for chip in range(CHIPS):
            for edge in range(2 * PHASES):
                source = edges[edge if self._reads_well(chip) else edge - 1]
                seen[edge * CHIPS + chip] = source[chip]
        for phase in range(PHASES):
            word = seen[phase * 2 * CHIPS:(phase + 1) * 2 * CHIPS]
            self._values[self.registers[f"sdram_dfii_pi{phase}_rddata"]] = int.from_bytes(
                bytes(word), "little")

    def _reads_well(self, chip: int) -> bool:
        bitslip, first, last = self.windows[chip]
        delay = self.delays[chip]
        if self.bitslips[chip] != bitslip or not first <= delay <= last:
            return False
        self._flicker += 1
        return min(delay - first, last - delay) >= 1 or self._flicker % 3 != 0
