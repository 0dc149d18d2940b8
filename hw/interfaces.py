"""Payloads and ports between the units of the core."""

from amaranth.hdl import signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import VECTOR, Config
from .isa import ACT_ADDRESS, EXTERNAL_ADDRESS, ParameterKind, Record

Bytes = data.ArrayLayout(8, VECTOR)
"""One vector: byte ``c`` is channel ``c`` of a pixel, and byte ``c`` of the memory word."""


class Transfer(data.Struct):
    """A linear run of vectors in external memory."""

    address: EXTERNAL_ADDRESS
    count: 24


class ActWrite(data.Struct):
    """A vector for the activation memory.

    ``skip``: it is not written, and its writer reports why.
    """

    address: ACT_ADDRESS
    data: Bytes
    skip: 1


class OutputVector(data.Struct):
    """A finished vector on its way to the store.

    ``branch``: 0 is A, 1 is B. ``last``: the last one of this branch's group in this pass.
    """

    data: Bytes
    branch: 1
    last: 1


class ParameterWrite(data.Struct):
    """Two records (channels ``2*index`` and ``2*index + 1``) for one slot of the requantiser.

    ``parity`` alternates with every group of branch parameters (both branches share it) and,
    for the rescale and average kinds, with every pass; both start at 0 after reset.
    """

    kind: ParameterKind
    parity: 1
    index: 3
    records: data.ArrayLayout(Record, 2)


class Stage(enum.Enum, shape=2):
    """Where a byte of the probe comes from."""

    CONV = 0
    RESCALE = 1
    ADD = 2
    AVERAGE = 3


class ResultProbe(data.Struct):
    """Every vector that leaves a stage of the requantiser, for the testbench."""

    valid: 1
    stage: Stage
    branch: 1
    data: Bytes


class OutputProbe(data.Struct):
    """Every vector handed to the store (after pooling), for the testbench."""

    valid: 1
    branch: 1
    data: Bytes


def result_layout(config: Config) -> data.StructLayout:
    """Sums of one pixel for one group of output channels, on the way to the requantisers.

    ``sums`` are raw accumulators without bias; ``parity`` selects the parameter slot of the group;
    ``last`` marks the last pixel of this branch's group in this pass.
    """
    return data.StructLayout({
        "sums": data.ArrayLayout(signed(config.acc_width), VECTOR),
        "branch": 1,
        "last": 1,
        "parity": 1,
    })


class Axi4(wiring.Signature):
    """AXI4 manager port, one ID, 128-bit data; ``size`` is always 4, ``burst`` always INCR."""

    def __init__(self, address_width: int = 32, data_width: int = 8 * VECTOR):
        self.address_width, self.data_width = address_width, data_width
        super().__init__({
            "awvalid": Out(1), "awready": In(1), "awaddr": Out(address_width), "awlen": Out(8),
            "awsize": Out(3), "awburst": Out(2), "awcache": Out(4), "awprot": Out(3),
            "wvalid": Out(1), "wready": In(1), "wdata": Out(data_width),
            "wstrb": Out(data_width // 8), "wlast": Out(1),
            "bvalid": In(1), "bready": Out(1), "bresp": In(2),
            "arvalid": Out(1), "arready": In(1), "araddr": Out(address_width), "arlen": Out(8),
            "arsize": Out(3), "arburst": Out(2), "arcache": Out(4), "arprot": Out(3),
            "rvalid": In(1), "rready": Out(1), "rdata": In(data_width), "rresp": In(2),
            "rlast": In(1),
        })


class AxiLite(wiring.Signature):
    """AXI4-Lite manager port of 32 bits; the core's CSR port is its flipped form."""

    def __init__(self, address_width: int = 8):
        self.address_width = address_width
        super().__init__({
            "awvalid": Out(1), "awready": In(1), "awaddr": Out(address_width), "awprot": Out(3),
            "wvalid": Out(1), "wready": In(1), "wdata": Out(32), "wstrb": Out(4),
            "bvalid": In(1), "bready": Out(1), "bresp": In(2),
            "arvalid": Out(1), "arready": In(1), "araddr": Out(address_width), "arprot": Out(3),
            "rvalid": In(1), "rready": Out(1), "rdata": In(32), "rresp": In(2),
        })


class BurstRequest(data.Struct):
    """One read burst: ``beats_minus_1 + 1`` vectors that do not cross a 4 KiB boundary."""

    address: EXTERNAL_ADDRESS
    beats_minus_1: 8


class ReadClient(wiring.Signature):
    """A client of the read arbiter: bursts out, beats back in order.

    A client asks only for what it has room for, so ``data`` is never refused (no ready).
    """

    def __init__(self):
        super().__init__({
            "request": Out(stream.Signature(BurstRequest)),
            "data": In(stream.Signature(Bytes, always_ready=True)),
        })


def command(operand) -> data.StructLayout:
    """An instruction on its way to an engine: its place in the program, its layer, its operand."""
    return data.StructLayout({"index": 16, "layer": 16, "operand": operand})
