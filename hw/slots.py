"""The parameters of the channels under way, in LUT RAM."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR, Config
from .interfaces import ParameterWrite
from .isa import ParameterKind
from .requantise import ADD_PLACES, Parameters, prepared

ZEROS = len(ParameterKind)
"""The kind of the slot for what needs no parameters; never written."""


class Slots(wiring.Component):
    """Parameters in LUT RAM, two slots for each kind, and one of zeros for an add (``ZEROS``).

    ``parameters[u]`` are those of channel ``phase * requantisers + u`` in the slot of ``kind`` and
    ``parity``, in the same cycle. Writes take one cycle. 54 * 12 * 16 bits.
    """

    def __init__(self, config: Config):
        self._lanes = config.requantisers
        super().__init__({
            "write": In(stream.Signature(ParameterWrite, always_ready=True)),
            "kind": In(range(ZEROS + 1)),
            "parity": In(1),
            "phase": In(range(config.phases)),
            "parameters": Out(data.ArrayLayout(Parameters, config.requantisers)),
        })

    def elaborate(self, platform):
        m = Module()
        # Channel c lives in memory c % count, row c // count: a pair has two memories.
        count = max(self._lanes, 2)
        rows = VECTOR // count
        row_bits, pair_bits = exact_log2(rows), exact_log2(count // 2)
        zeros = Parameters.const({"places": ADD_PLACES})
        pair = [prepared(record) for record in self.write.payload.records]
        read = []
        for n in range(count):
            m.submodules[f"memory_{n}"] = memory = Memory(
                shape=Parameters, depth=2 * rows * (ZEROS + 1),
                init=[{}] * (2 * rows * ZEROS) + [zeros] * (2 * rows))
            port = memory.write_port()
            m.d.comb += [
                port.addr.eq(Cat(self.write.payload.index[pair_bits:], self.write.payload.parity,
                                 self.write.payload.kind)),
                port.data.eq(pair[n % 2]),
                port.en.eq(self.write.valid
                           & (self.write.payload.index[:pair_bits] == n // 2)),
            ]
            port = memory.read_port(domain="comb")
            row = self.phase[len(self.phase) - row_bits:]
            m.d.comb += port.addr.eq(Cat(row, self.parity, self.kind))
            read.append(port.data.as_value())
        if self._lanes == 1:
            read = [Mux(self.phase[0], read[1], read[0])]
        for parameters, bits in zip(self.parameters, read, strict=True):
            m.d.comb += parameters.as_value().eq(bits)
        return m
