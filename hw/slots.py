"""The parameters of the channels under way, in LUT RAM."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR, Config
from .ecp5 import copies
from .interfaces import ParameterWrite
from .isa import ParameterKind
from .requantise import ADD_PLACES, Parameters, prepared

ZEROS = len(ParameterKind)
"""The kind of the slot for what needs no parameters; never written."""


def place_layout(config: Config) -> data.StructLayout:
    """Which parameters."""
    return data.StructLayout({
        "kind": range(ZEROS + 1), "parity": 1, "phase": range(config.phases)})


class Slots(wiring.Component):
    """Parameters in LUT RAM, two slots for each kind, and one of zeros for an add (``ZEROS``).

    ``parameters[u]`` are those of channel ``phase * requantisers + u`` in the slot of ``kind`` and
    ``parity``, in the same cycle; each of ``shares`` equal numbers of lanes has its own place of
    ``places``. Writes take one cycle, on an ECP5 two. 54 * 12 * 16 bits.
    """

    def __init__(self, config: Config):
        self._lanes = config.requantisers
        self._late = config.vendor == "ecp5"
        self.shares = max(self._lanes // 2, 1) if self._late else 1
        super().__init__({
            "write": In(stream.Signature(ParameterWrite, always_ready=True)),
            "places": In(data.ArrayLayout(place_layout(config), self.shares)),
            "parameters": Out(data.ArrayLayout(Parameters, config.requantisers)),
        })

    def elaborate(self, platform):
        m = Module()
        # Channel c lives in memory c % count, row c // count: a pair has two memories.
        count = max(self._lanes, 2)
        rows = VECTOR // count
        row_bits, pair_bits = exact_log2(rows), exact_log2(count // 2)
        zeros = Parameters.const({"places": ADD_PLACES})
        # Which memories take the pair: known before the registers on their way.
        given = Cat(self.write.payload, *(
            self.write.valid & (self.write.payload.index[:pair_bits] == i)
            for i in range(count // 2)))
        size = len(self.write.payload.as_value())
        writes = copies(m, "write", given, self.shares) if self._late else [given]
        read = []
        for n in range(count):
            m.submodules[f"memory_{n}"] = memory = Memory(
                shape=Parameters, depth=2 * rows * (ZEROS + 1),
                init=[{}] * (2 * rows * ZEROS) + [zeros] * (2 * rows))
            share = n * self.shares // count
            write = data.View(ParameterWrite, writes[share][:size])
            port = memory.write_port()
            m.d.comb += [
                port.addr.eq(Cat(write.index[pair_bits:], write.parity, write.kind)),
                port.data.eq(prepared(write.records[n % 2])),
                port.en.eq(writes[share][size + n // 2]),
            ]
            port = memory.read_port(domain="comb")
            place = self.places[share]
            row = place.phase[len(place.phase) - row_bits:]
            m.d.comb += port.addr.eq(Cat(row, place.parity, place.kind))
            read.append(port.data.as_value())
        if self._lanes == 1:
            read = [Mux(self.places[0].phase[0], read[1], read[0])]
        for parameters, bits in zip(self.parameters, read, strict=True):
            m.d.comb += parameters.as_value().eq(bits)
        return m
