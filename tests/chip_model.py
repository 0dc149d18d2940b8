"""A model of a whole chip: the link's, registers as `hw.csr` has them, and the golden machine."""

from dataclasses import replace

import numpy as np

from hw import csr
from hw.config import Config
from hw.isa import INSTRUCTION_BYTES, Opcode
from hw.link import Space
from sim.golden.machine import Machine
from sw.runtime.accelerator import BUSY, DONE, ERROR
from sw.runtime.chip import Chip
from tests.link_model import BusFault, LinkModel, Words
from tests.phy_model import generated


class Core:
    """Registers of a core whose runs are those of the golden machine. `delay`: looks at the status
    that find it busy; `fault` ends a run with an error at instruction 1, `stuck` never ends it."""

    def __init__(self, memory: Words, config: Config):
        self.memory, self.config = memory, config
        self.delay, self.fault, self.stuck = 0, None, False
        self.values = dict.fromkeys(csr.OFFSETS, 0) | {
            "ID": csr.ID, "VERSION": csr.VERSION, "CONFIG": config.digest, "PROFILE_UNITS": 1}
        self.names = {offset: name for name, offset in csr.OFFSETS.items()}
        self.busy = 0
        self.log: list[str] = []

    def read(self, address: int) -> int:
        if address not in self.names:
            raise BusFault
        name = self.names[address]
        if name == "STATUS" and self.busy and not self.stuck:
            self.busy -= 1
            return BUSY
        return BUSY if name == "STATUS" and self.stuck else self.values[name]

    def write(self, address: int, value: int) -> None:
        name = self.names[address]
        self.log.append(name)
        self.values[name] = value
        if name == "CONTROL" and value & 2:
            self.values["STATUS"], self.stuck = 0, False
        if name == "CONTROL" and value & 1:
            self.run()

    def run(self) -> None:
        self.busy = self.delay
        if self.fault:
            self.values |= {"STATUS": ERROR | self.fault.value << 8, "ERROR_INSTRUCTION": 1}
            return
        values = self.values
        base, count = values["WINDOW_BASE"] // 4, values["WINDOW_VECTORS"] * 4
        words = [self.memory.words.get(4 * (base + i), 0) for i in range(count)]
        window = np.array(words, "<u4").view(np.uint8).reshape(-1, 16)
        code = window[values["PROGRAM"]:].tobytes()
        end = next(i for i in range(0, len(code), INSTRUCTION_BYTES) if code[i] == Opcode.END.value)
        Machine(self.config, window).run(code[:end + INSTRUCTION_BYTES])
        for i, word in enumerate(window.reshape(-1).view("<u4").tolist()):
            self.memory.words[4 * (base + i)] = word
        values |= {"STATUS": DONE, "CYCLES": 1234}


class Board:
    """A chip on `LinkModel` with 2 MiB of memory that is ready."""

    def __init__(self, config: Config):
        self.memory = Words(1 << 21)
        self.core = Core(self.memory, config)
        self.line = LinkModel(core=self.core, memory=self.memory)
        self.generated = replace(generated({}), row_bits=10)
        self.chip = Chip(lambda config, progress: self.line, lambda: self.generated, 100e6, 100e6)

    def writes(self):
        return [request for request in self.line.requests
                if request.write and request.space == Space.MEMORY]
