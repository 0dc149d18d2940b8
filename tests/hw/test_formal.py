"""Contracts of small blocks, proved for every input in all their first cycles."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Elaboratable, Module, Signal
from amaranth.lib.wiring import Out

from hw.axi_share import AxiShare
from hw.fifo import HeadFifo, TwoPlaces
from hw.interfaces import Axi4
from hw.ports import ports_of
from hw.resources import SynthesisError
from tests.formal import before, constant, prove

NUMBER = 4
"""Bits of a count of entries or bursts: more than there are cycles in a proof."""


class Order(Elaboratable):
    """A queue of ``places``: what went in as number n comes out as number n, for every n, and there
    is something to take, and room, just when there must be."""

    def __init__(self, dut, i, o, places):
        """``i`` and ``o``: payload, valid and ready; no ``ready`` of ``i``: the writer counts."""
        self.dut, self.i, self.o, self.places = dut, i, o, places
        self.watched = Signal(NUMBER)
        self.ports = [*ports_of(dut), self.watched]

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        constant(m, self.watched)
        i_payload, i_valid, i_ready = self.i
        o_payload, o_valid, o_ready = self.o
        given, taken = (Signal(NUMBER, name=name) for name in ("given", "taken"))
        seen = Signal.like(i_payload)
        held = Signal(NUMBER)
        m.d.comb += held.eq(given - taken)
        if i_ready is None:
            m.d.comb += Assume(~i_valid | (held < self.places))
            i_ready = 1
        else:
            m.d.comb += Assert(i_ready == (held < self.places))
        m.d.comb += Assert(o_valid == (held > 0))
        with m.If(i_valid & i_ready):
            m.d.sync += given.eq(given + 1)
            with m.If(given == self.watched):
                m.d.sync += seen.eq(i_payload)
        with m.If(o_valid & o_ready):
            m.d.sync += taken.eq(taken + 1)
            with m.If(taken == self.watched):
                m.d.comb += Assert(o_payload == seen)
        return m


def two_places(places=2):
    dut = TwoPlaces(2, piece=1)
    return Order(dut, (dut.i.payload, dut.i.valid, dut.i.ready),
                 (dut.o.payload, dut.o.valid, dut.o.ready), places)


def head_fifo(places=3):
    dut = HeadFifo(1, depth=2)
    return Order(dut, (dut.w_data, dut.w_en, None), (dut.r_data, dut.r_rdy, dut.r_en), places)


class Sharing(Elaboratable):
    """Two managers that keep to AXI before any subordinate that answers only what was asked.

    ``idle`` names a manager that gets no answer: wrong, to see that either gets one.
    """

    def __init__(self, idle=None):
        self.dut, self.idle = AxiShare(), idle
        self.ports = ports_of(self.dut)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        axi, managers = dut.axi, {"core": dut.core, "guest": dut.guest}

        def steady(port, name, claim):
            """What has been shown and not taken stays."""
            for channel in ("ar", "aw", "w"):
                payload = Cat(getattr(port, member) for member, flow in Axi4().members.items()
                              if flow.flow is Out and member.startswith(channel)
                              and member != f"{channel}valid")
                valid, ready = (getattr(port, f"{channel}{end}") for end in ("valid", "ready"))
                waits = before(m, valid & ~ready, f"{name}_{channel}_waits")
                past = before(m, payload, f"{name}_{channel}_past")
                m.d.comb += claim(~waits | (valid & (payload == past)))

        def count(port, name):
            """Bursts not answered: reads, writes, writes without their last word."""
            counts = []
            for kind, up, down in (
                    ("reads", port.arvalid & port.arready, port.rvalid & port.rready & port.rlast),
                    ("writes", port.awvalid & port.awready, port.bvalid & port.bready),
                    ("data", port.awvalid & port.awready, port.wvalid & port.wready & port.wlast)):
                number = Signal(NUMBER, name=f"{name}_{kind}")
                m.d.sync += number.eq(number + up - down)
                counts.append(number)
            return counts

        reads, writes, data = count(axi, "axi")
        m.d.comb += [Assume(~axi.rvalid | (reads > 0)), Assume(~axi.bvalid | (writes > data)),
                     Assume(~axi.wready | (data > 0) | ~axi.wvalid)]
        steady(axi, "axi", Assert)
        owners = {}
        for name, port in managers.items():
            steady(port, name, Assume)
            own_reads, own_writes, _ = count(port, name)
            owners[name] = (own_reads > 0) | (own_writes > 0)
            # Answers come to whom has asked.
            m.d.comb += [Assert(~port.rvalid | (own_reads > 0)),
                         Assert(~port.bvalid | (own_writes > 0))]
        m.d.comb += [
            Assert(~(owners["core"] & owners["guest"])),
            Assert(axi.rvalid == (dut.core.rvalid | dut.guest.rvalid)),
            Assert(axi.bvalid == (dut.core.bvalid | dut.guest.bvalid)),
        ]
        if self.idle:
            m.d.comb += Assert(~managers[self.idle].rvalid & ~managers[self.idle].bvalid)
        for channel in ("ar", "aw", "w"):
            # What the subordinate takes is taken from one manager.
            taken = [getattr(port, f"{channel}valid") & getattr(port, f"{channel}ready")
                     for port in (axi, *managers.values())]
            m.d.comb += [Assert(taken[0] == (taken[1] | taken[2])),
                         Assert(~(taken[1] & taken[2]))]
        return m


@pytest.mark.parametrize("contract, cycles", [
    pytest.param(two_places, 14, id="two_places"), pytest.param(head_fifo, 14, id="head_fifo"),
    pytest.param(Sharing, 10, id="axi_share")])
def test_contract(contract, cycles, tmp_path):
    """More cycles than the FIFOs have states; for the share enough for bursts of both managers."""
    contract = contract()
    prove(contract, contract.ports, cycles, tmp_path)


@pytest.mark.parametrize("wrong", [
    pytest.param(lambda: two_places(places=3), id="two_places"),
    pytest.param(lambda: head_fifo(places=4), id="head_fifo"),
    pytest.param(lambda: Sharing(idle="core"), id="core"),
    pytest.param(lambda: Sharing(idle="guest"), id="guest")])
def test_a_wrong_contract_is_refuted(wrong, tmp_path):
    contract = wrong()
    with pytest.raises(SynthesisError, match="proof did fail"):
        prove(contract, contract.ports, 10, tmp_path)
