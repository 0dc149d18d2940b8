"""The memory engines together against a memory model of cocotbext-axi, on Verilator."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.act_memory import ActMemory
from hw.config import Config
from hw.interfaces import Axi4, Bytes, OutputVector, command
from hw.isa import ACT_ADDRESS, EXTERNAL_ADDRESS, Load, Weights
from hw.loader import Loader
from hw.read_arbiter import ReadArbiter
from hw.store import Command as StoreCommand
from hw.store import Store
from hw.weight_ring import WeightRing
from tests.cocotb_run import run_bench

from .axi_ids import WithIds

CONFIG = Config(co_lanes=8, act_vectors=512, weight_vectors=512, line_vectors=64, image_width=16,
                requantisers=1, burst=16)


class Dma(wiring.Component):
    """LOAD, WEIGHTS and the store around the activation memory and one AXI port."""

    load: In(stream.Signature(command(Load)))
    weights: In(stream.Signature(command(Weights)))
    store: In(stream.Signature(StoreCommand))
    results: In(stream.Signature(OutputVector))
    axi: Out(Axi4())
    window_base: In(32)
    window_vectors: In(EXTERNAL_ADDRESS)
    load_done: Out(1)
    store_done: Out(1)
    fault: Out(1)
    idle: Out(1)
    ring_available: Out(range(CONFIG.weight_vectors + 1))
    ring_offset: In(range(CONFIG.weight_vectors))
    ring_enable: In(1)
    ring_data: Out(Bytes)
    ring_release: In(1)
    ring_release_count: In(range(CONFIG.weight_vectors + 1))
    act_enable: In(1)
    act_address: In(ACT_ADDRESS)
    act_data: Out(Bytes)

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = ReadArbiter(CONFIG, 2)
        m.submodules.loader = loader = Loader(CONFIG)
        m.submodules.ring = ring = WeightRing(CONFIG)
        m.submodules.memory = memory = ActMemory(CONFIG)
        m.submodules.unit = store = Store(CONFIG)
        connect(m, flipped(self.load), loader.command)
        connect(m, flipped(self.weights), ring.command)
        connect(m, flipped(self.store), store.command)
        connect(m, flipped(self.results), store.input)
        connect(m, loader.client, arbiter.clients[0])
        connect(m, ring.client, arbiter.clients[1])
        connect(m, store.write, memory.writers[0])
        connect(m, loader.write, memory.load)
        m.d.comb += loader.spare.eq(memory.spare)
        for half in (arbiter.axi, store.axi):
            for name, member in half.signature.members.items():
                outer, unit = getattr(self.axi, name), getattr(half, name)
                m.d.comb += outer.eq(unit) if member.flow is Out else unit.eq(outer)
        for unit in (arbiter, store):
            m.d.comb += [
                unit.window_base.eq(self.window_base),
                unit.window_vectors.eq(self.window_vectors),
            ]
        m.d.comb += [
            self.load_done.eq(loader.done),
            self.store_done.eq(store.done),
            self.fault.eq(arbiter.fault | store.fault | memory.fault),
            self.idle.eq(arbiter.idle & loader.idle & ring.idle & store.idle),
            self.ring_available.eq(ring.available),
            ring.read_offset.eq(self.ring_offset),
            ring.read_enable.eq(self.ring_enable),
            self.ring_data.eq(ring.read_data),
            ring.release.eq(self.ring_release),
            ring.release_count.eq(self.ring_release_count),
            memory.read_enable.eq(self.act_enable),
            memory.read_address[0].eq(self.act_address),
            self.act_data.eq(memory.read_data[0]),
        ]
        return m


def test_dma(tmp_path):
    run_bench(WithIds(Dma()), "tests.hw.bench_dma", tmp_path)
