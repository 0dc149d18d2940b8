"""cocotb bench of the memory engines: loads, weights and stores at once, pauses on all channels."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hw.interfaces import OutputVector, command
from hw.isa import Load, Weights
from hw.store import Command as StoreCommand
from sw.assembler import encode

from .bench_axi import Ram
from .test_dma import CONFIG

BASE = 0x3000
WINDOW = 4096
"""Vectors of the window; a page on each side is guarded."""
GUARD = 4096
SOURCE = range(0, 2048)
"""Vectors that are read; stores go behind them."""
DEADLINE = 60_000


async def send(dut, name, items, rng, percent=100):
    """Offers payloads on a stream input, one after the other, with random gaps."""
    valid, ready = (getattr(dut, f"{name}__{part}") for part in ("valid", "ready"))
    for item in items:
        while rng.integers(100) >= percent:
            await RisingEdge(dut.clk)
        getattr(dut, f"{name}__payload").value = item
        valid.value = 1
        taken = False
        while not taken:
            await ReadOnly()
            taken = bool(ready.value)
            await RisingEdge(dut.clk)
        valid.value = 0


class Pulses:
    """Counts the cycles of one-cycle outputs, and stops the test at a fault or after too long."""

    def __init__(self, dut, *names):
        self.dut, self.count = dut, dict.fromkeys(names, 0)

    async def watch(self):
        for _ in range(DEADLINE):
            await RisingEdge(self.dut.clk)
            await ReadOnly()
            assert not self.dut.fault.value
            for name in self.count:
                self.count[name] += int(getattr(self.dut, name).value)
        raise AssertionError(f"the bench did not end in {DEADLINE} cycles")


async def start(dut, rng, percent):
    """Clock, reset, memory of random bytes."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for name in ("load__valid", "weights__valid", "store__valid", "results__valid", "ring_enable",
                 "ring_release", "act_enable"):
        getattr(dut, name).value = 0
    dut.rst.value = 1
    ram = Ram(dut, BASE + 16 * WINDOW + GUARD)
    ram.contents[:] = rng.integers(0, 256, len(ram.contents))
    ram.pause(rng, percent)
    dut.window_base.value = BASE
    dut.window_vectors.value = WINDOW
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    pulses = Pulses(dut, "load_done", "store_done")
    cocotb.start_soon(ram.watch())
    cocotb.start_soon(pulses.watch())
    return ram, pulses


async def until(dut, condition):
    while not condition():
        await RisingEdge(dut.clk)


def loads(rng, memory, act):
    """Random LOADs into distinct places of the upper half of ``act``, which gets their data."""
    target = CONFIG.act_vectors // 2
    while True:
        planes, count = int(rng.integers(1, 4)), int(rng.choice([1, 3, 13, 31]))
        gap = int(rng.integers(0, 5))
        size = planes * (count + gap)
        if target + size > CONFIG.act_vectors:
            return
        stride = int(rng.integers(count, 300))
        address = int(rng.integers(0, len(SOURCE) - (planes - 1) * stride - count))
        for plane in range(planes):
            first = target + plane * (count + gap)
            act[first:first + count] = memory[address + plane * stride:][:count]
        yield encode(command(Load), {"index": 0, "layer": 0, "operand": {
            "address": address, "stride": stride, "target": target, "target_stride": count + gap,
            "count": count, "planes": planes}})
        target += size


def stores(rng, passes, memory, act):
    """Random passes over maps in memory and activations, which get their vectors:
    (command, its results)."""
    places = {0: len(SOURCE), 1: 0}
    out = []
    for index in range(passes):
        to_act = int(rng.integers(2))
        a, b = map(int, rng.integers(0, 3, 2))
        b = b if a + b else 1
        count = int(rng.choice([1, 7, 25, 60]))
        if to_act:
            count = min(count, 12)
        plane = count + int(rng.integers(0, 9))
        size = max(a, b) * plane
        bases = [places[to_act] + int(rng.integers(0, 20)) * (not to_act)]
        bases.append(bases[0] + size + int(rng.integers(0, 20)) * (not to_act))
        end = bases[1] + size
        if end > (CONFIG.act_vectors // 2 if to_act else WINDOW):
            continue
        places[to_act] = end
        results, written = [], act if to_act else memory
        for group in range(max(a, b)):
            strips = np.array_split(np.arange(count), -(-count // 13))
            for strip in strips:
                for branch, groups in ((0, a), (1, b)):
                    if group < groups:
                        for i in strip:
                            data = rng.integers(0, 256, 16).astype(np.uint8)
                            written[bases[branch] + group * plane + i] = data
                            results.append(encode(OutputVector, {
                                "data": data.tolist(), "branch": branch,
                                "last": int(i == count - 1)}))
        out.append((encode(StoreCommand, {
            "target": {"to_act": to_act, "address_a": bases[0], "address_b": bases[1],
                       "plane": plane},
            "groups_a": a, "groups_b": b, "index": index}), results))
    return out


async def drain_ring(dut, rng, total):
    """Reads and releases ``total`` vectors of the ring in random portions; returns them."""
    seen = []
    while len(seen) < total:
        await ReadOnly()
        available = int(dut.ring_available.value)
        await RisingEdge(dut.clk)
        portion = int(rng.integers(1, 40))
        if available < min(portion, total - len(seen)) or rng.integers(100) < 30:
            continue
        portion = min(portion, available)
        values = []
        for cycle in range(portion + 2):
            dut.ring_enable.value = int(cycle < portion)
            dut.ring_offset.value = min(cycle, portion - 1)
            await ReadOnly()
            if cycle >= 2:
                values.append(int(dut.ring_data.value).to_bytes(16, "little"))
            await RisingEdge(dut.clk)
        dut.ring_release.value, dut.ring_release_count.value = 1, portion
        await RisingEdge(dut.clk)
        dut.ring_release.value = 0
        seen += values
    return b"".join(seen)


async def read_act(dut):
    """The activation memory, uint8 [act_vectors, 16]."""
    rows = []
    for address in range(CONFIG.act_vectors + 2):
        dut.act_enable.value = int(address < CONFIG.act_vectors)
        dut.act_address.value = min(address, CONFIG.act_vectors - 1)
        await ReadOnly()
        if address >= 2:
            rows.append(list(int(dut.act_data.value).to_bytes(16, "little")))
        await RisingEdge(dut.clk)
    return np.array(rows, np.uint8)


async def everything_at_once(dut, seed, percent):
    """One random workload; all bytes of both memories, the ring's stream and the pulses."""
    rng = np.random.default_rng(seed)
    ram, pulses = await start(dut, rng, percent)
    expected = ram.contents.copy()
    memory = expected[BASE:BASE + 16 * WINDOW].reshape(-1, 16)
    act = np.zeros((CONFIG.act_vectors, 16), np.uint8)
    known = np.zeros(CONFIG.act_vectors, bool)
    before = act.copy()
    load_items = list(loads(rng, memory, act))
    store_items = stores(rng, 30, memory, act)
    known |= (act != before).any(axis=1)

    streams, weights = [], []
    for _ in range(6):
        count = int(rng.choice([1, 17, 200, 700]))
        address = int(rng.integers(0, len(SOURCE) - count))
        streams.append(memory[address:address + count].tobytes())
        weights.append(encode(command(Weights), {
            "index": 0, "layer": 0, "operand": {"address": address, "count": count}}))
    stream = b"".join(streams)

    for name, items in (("load", load_items), ("weights", weights),
                        ("store", [item for item, _ in store_items]),
                        ("results", [result for _, results in store_items for result in results])):
        cocotb.start_soon(send(dut, name, items, np.random.default_rng(seed + len(name)),
                               90 if name == "results" else 100))
    assert await drain_ring(dut, rng, len(stream) // 16) == stream
    await until(dut, lambda: pulses.count["load_done"] == len(load_items)
                and pulses.count["store_done"] == len(store_items))
    await until(dut, lambda: bool(dut.idle.value))

    np.testing.assert_array_equal(ram.contents, expected)
    found = await read_act(dut)
    np.testing.assert_array_equal(found[known], act[known])
    assert pulses.count == {"load_done": len(load_items), "store_done": len(store_items)}
    assert len(load_items) > 3 and len(store_items) > 8 and known.sum() > 150
    lengths = {beats for _, beats in ram.writes}
    assert max(lengths) == CONFIG.burst and len(lengths) > 3
    assert sum(beats for _, beats in ram.reads) >= len(stream) // 16


@cocotb.test()
async def without_pauses(dut):
    await everything_at_once(dut, 1, 0)


@cocotb.test()
async def with_pauses(dut):
    await everything_at_once(dut, 2, 40)


@cocotb.test()
async def with_long_pauses(dut):
    await everything_at_once(dut, 3, 85)
