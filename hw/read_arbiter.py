"""One AXI read channel for all engines that read, behind the window check."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import VECTOR, Config
from .interfaces import Axi4, BurstRequest, Bytes, ReadClient
from .isa import EXTERNAL_ADDRESS, Error

OUTSTANDING = 16
"""Bursts that may be under way at once."""
PAGE_BITS = exact_log2(4096 // VECTOR)
"""Low bits of a vector's address inside a page of 4 KiB."""


class Axi4Read(wiring.Signature):
    """The address and data channels of reads of ``Axi4``, under the same names."""

    def __init__(self):
        super().__init__({
            name: member for name, member in Axi4().members.items()
            if name.startswith(("ar", "r"))
        })


class ReadArbiter(wiring.Component):
    """Sends the bursts of ``clients`` clients to memory in turn and their beats back in order.

    A burst goes to byte address ``window_base + 16 * address`` if it ends inside the window;
    otherwise it is dropped and ``fault`` pulses with WINDOW. A beat with an error response is
    delivered and ``fault`` pulses with READ. ``fault_client`` tells whose burst it was.

    The client that had its turn longest ago goes first. Throughput: one burst a cycle and one beat
    a cycle. Latency: three cycles from request to AR, one from R to client.

    Members
    -------
    clients : requests, and beats in the order of the requests of each client
    axi : AXI4 read channels; RREADY is always set
    window_base : byte address of vector 0, a multiple of 4 KiB so that no burst crosses a page
    window_vectors : vectors in the window
    fault, fault_code, fault_client : one cycle for each fault
    halt : take no request and raise no new AR; what is under way goes on
    idle : no burst is on AXI and no beat on its way to a client
    beats : a beat came
    """

    def __init__(self, config: Config, clients: int):
        super().__init__({
            "clients": In(ReadClient()).array(clients),
            "axi": Out(Axi4Read()),
            "window_base": In(32),
            "window_vectors": In(EXTERNAL_ADDRESS),
            "fault": Out(1),
            "fault_code": Out(Error),
            "fault_client": Out(range(clients)),
            "halt": In(1),
            "idle": Out(1),
            "beats": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        count = len(self.clients)
        axi = self.axi
        client_bits = len(self.fault_client)
        m.submodules.order = order = fifo.SyncFIFO(width=max(client_bits, 1), depth=OUTSTANDING)

        # Pick: the next client after the last one, into a register.
        picked = Signal(data.StructLayout({"client": range(count), "request": BurstRequest}))
        picked_valid, pick = Signal(), Signal()
        chosen, any_request = Signal(range(count)), Signal()
        m.d.comb += any_request.eq(Cat(c.request.valid for c in self.clients).any())
        with m.Switch(picked.client):
            for last in range(count):
                with m.Case(last):
                    # The latest assignment wins: nearest successor last.
                    for distance in reversed(range(1, count + 1)):
                        index = (last + distance) % count
                        with m.If(self.clients[index].request.valid):
                            m.d.comb += chosen.eq(index)
        with m.Switch(chosen):
            for index, client in enumerate(self.clients):
                with m.Case(index):
                    m.d.comb += client.request.ready.eq(pick & client.request.valid)
                    with m.If(pick & client.request.valid):
                        m.d.sync += picked.request.eq(client.request.p)
        with m.If(pick & any_request):
            m.d.sync += picked.client.eq(chosen)

        # Check the window: no burst crosses a page, so the page of its end is that of its start.
        checked, checked_valid, inside = Signal.like(picked), Signal(), Signal()
        check, free, issue, refuse = Signal(), Signal(), Signal(), Signal()
        request = picked.request
        in_page = Signal(PAGE_BITS)
        m.d.comb += [
            in_page.eq(request.address[:PAGE_BITS] + request.beats_minus_1),
            check.eq(~checked_valid | issue | refuse),
            pick.eq(~self.halt & (~picked_valid | check)),
        ]
        with m.If(pick):
            m.d.sync += picked_valid.eq(any_request)
        with m.If(check & ~self.halt):
            m.d.sync += [
                checked_valid.eq(picked_valid),
                checked.eq(picked),
                inside.eq(Cat(in_page, request.address[PAGE_BITS:]) < self.window_vectors),
            ]

        # To AR and the order FIFO, or drop.
        m.d.comb += [
            free.eq((~axi.arvalid | axi.arready) & order.w_rdy),
            issue.eq(checked_valid & inside & free & ~self.halt),
            refuse.eq(checked_valid & ~inside & ~self.halt),
            order.w_data.eq(checked.client),
            order.w_en.eq(issue),
        ]
        with m.If(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        with m.If(issue):
            m.d.sync += [
                axi.arvalid.eq(1),
                axi.araddr.eq(Cat(
                    Const(0, exact_log2(VECTOR)), checked.request.address[:PAGE_BITS],
                    self.window_base[PAGE_BITS + exact_log2(VECTOR):]
                    + checked.request.address[PAGE_BITS:])),
                axi.arlen.eq(checked.request.beats_minus_1),
            ]
        m.d.comb += [
            axi.arsize.eq(exact_log2(VECTOR)),
            axi.arburst.eq(1),  # INCR
            axi.arcache.eq(0b0011),  # bufferable, modifiable
        ]

        # Beats back to the client at the head of the order, through a register.
        beat = Signal(Bytes)
        beat_valid = Signal(count)
        m.d.comb += [
            axi.rready.eq(1),
            order.r_en.eq(axi.rvalid & axi.rlast),
            self.beats.eq(axi.rvalid),
            self.idle.eq((order.level == 0) & ~axi.arvalid & ~beat_valid.any()),
        ]
        m.d.sync += [
            beat.as_value().eq(axi.rdata),
            beat_valid.eq(0),
        ]
        with m.If(axi.rvalid):
            m.d.sync += beat_valid.eq(1 << order.r_data)
        for index, client in enumerate(self.clients):
            m.d.comb += [client.data.p.eq(beat), client.data.valid.eq(beat_valid[index])]

        # A bad response precedes a bad address: its burst is the older one.
        m.d.comb += self.fault_client.eq(checked.client)
        with m.If(axi.rvalid & (axi.rresp != 0)):
            m.d.comb += [
                self.fault.eq(1),
                self.fault_code.eq(Error.READ),
                self.fault_client.eq(order.r_data),
            ]
        with m.Elif(refuse):
            m.d.comb += [self.fault.eq(1), self.fault_code.eq(Error.WINDOW)]
        return m
