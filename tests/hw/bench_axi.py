"""For cocotb benches: cocotbext-axi's memory with pauses and faults, and what was asked of it."""

import numpy as np
from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiBus, AxiRam

PAGE = 4096
CHANNELS = (("write_if", "aw"), ("write_if", "w"), ("write_if", "b"),
            ("read_if", "ar"), ("read_if", "r"))


class Storage(bytearray):
    """Bytes of the memory; an access of the bus that touches a broken range fails."""

    broken_reads = range(0)
    broken_writes = range(0)

    def __getitem__(self, place):
        if isinstance(place, slice) and place.start in self.broken_reads:
            raise ValueError("broken")
        return super().__getitem__(place)

    def __setitem__(self, place, value):
        if isinstance(place, slice) and place.start in self.broken_writes:
            raise ValueError("broken")
        super().__setitem__(place, value)


class Ram:
    """The memory at port ``axi`` of ``dut``, and a log of the bursts (address, beats) of both
    directions; a burst that crosses a page, is not whole vectors, or changes before it is taken
    fails the test."""

    def __init__(self, dut, size: int):
        self.dut = dut
        self.storage = Storage(size)
        self.model = AxiRam(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, mem=self.storage)
        for interface, channel in CHANNELS:
            getattr(getattr(self.model, interface), f"{channel}_channel").log.setLevel("WARNING")
            getattr(self.model, interface).log.setLevel("ERROR")
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []

    @property
    def contents(self) -> np.ndarray:
        """uint8 [size], shared with the memory."""
        return np.frombuffer(self.storage, np.uint8)

    def pause(self, rng, percent: int):
        """Random pauses of every channel; 0 ends them."""
        def pauses(seed):
            random = np.random.default_rng(seed)
            while True:
                yield bool(random.integers(100) < percent)
        for interface, name in CHANNELS:
            channel = getattr(getattr(self.model, interface), f"{name}_channel")
            channel.clear_pause_generator()
            channel.pause = False
            if percent:
                channel.set_pause_generator(pauses(int(rng.integers(1 << 32))))

    async def watch(self):
        """Checks and logs the address channels, for ever."""
        dut = self.dut
        before = {"ar": None, "aw": None}
        while True:
            await RisingEdge(dut.clk)
            await ReadOnly()
            if dut.rst.value:
                before = dict.fromkeys(before)
                continue
            for channel, log in (("ar", self.reads), ("aw", self.writes)):
                valid, ready, address, length, size, burst = (
                    int(getattr(dut, f"axi__{channel}{name}").value)
                    for name in ("valid", "ready", "addr", "len", "size", "burst"))
                if before[channel]:
                    assert (valid, address, length) == before[channel], f"{channel} changed"
                before[channel] = (valid, address, length) if valid and not ready else None
                if valid and ready:
                    assert address % 16 == 0 and size == 4 and burst == 1
                    assert address % PAGE + 16 * (length + 1) <= PAGE, "a burst crosses a page"
                    log.append((address, length + 1))
