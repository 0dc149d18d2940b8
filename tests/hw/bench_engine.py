"""cocotb bench of the engine: a ring and an activation memory in Python, sums against NumPy."""

import io
import os

import cocotb
import numpy as np
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hw.act_memory import read_latency
from hw.config import VECTOR, Config
from hw.interfaces import result_layout
from hw.isa import RECORD_VECTORS
from hw.walker import TileCommand
from hw.weight_ring import ring_latency

CONFIG = Config(
    co_lanes=int(os.environ.get("CO_LANES", 16)), pixels=int(os.environ.get("PIXELS", 1)),
    table_rows=int(os.environ.get("TABLE_ROWS", 0)), requantisers=4,
    multiplier=os.environ.get("MULTIPLIER", "generic"))
SPARE_BASE = 1000
TRACE = os.environ.get("TRACE", os.devnull)
"""Receives the cycle and the bits of every result: equal files, equal hardware."""


def bits(layout, values) -> int:
    return data.StructLayout.const(layout, values).as_value().value


class Layer:
    """One pass with random weights and input; what it should give, and its weight stream."""

    def __init__(self, rng, *, kernel=3, stride=1, pad=1, planes=1, height=7, width=9,
                 groups_a=0, groups_b=1, rows=None, row=0, strip=24, zero=7, chained=0):
        self.kernel, self.groups_a, self.groups_b = kernel, groups_a, groups_b
        out_h = (height + 2 * pad - kernel) // stride + 1
        out_w = (width + 2 * pad - kernel) // stride + 1
        rows = out_h - row if rows is None else rows
        self.x = rng.integers(0, 256, (planes * VECTOR, height, width)).astype(np.int64)
        self.a = rng.integers(-128, 128, (groups_a * VECTOR, planes * VECTOR)).astype(np.int64)
        self.b = rng.integers(
            -128, 128, (groups_b * VECTOR, planes * VECTOR, kernel, kernel)).astype(np.int64)
        pixels = rows * out_w
        single = int(stride != 1 and CONFIG.pixels > 1)
        steps = -(-pixels // (1 if single else CONFIG.pixels))
        strips = -(-steps // strip)
        self.steps, self.planes = steps, planes
        self.command = {
            "walk": {"groups_a": groups_a, "groups_b": groups_b, "planes": planes,
                     "kernel": kernel, "strips": strips, "long_strips": steps % strips,
                     "steps": steps // strips},
            "source": {"address": (SPARE_BASE + (row * stride - pad) * width - pad) % 65536,
                       "plane": height * width, "width": width, "height": height,
                       "out_width": out_w, "row": row, "pixels": pixels, "stride": stride,
                       "pad_top": pad, "pad_left": pad, "pad_value": zero, "single": single},
            "rescale": 0, "average": 0, "chained": chained, "layer": 5,
        }
        padded = np.pad(self.x, ((0, 0), (pad, pad), (pad, pad)), constant_values=zero)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))
        windows = windows[:, ::stride, ::stride][:, row:row + rows]
        self.sum_b = np.einsum("cyxij,ocij->oyx", windows, self.b).reshape(-1, pixels)
        self.sum_a = np.einsum(
            "cyx,oc->oyx", windows[:, :, :, pad, pad], self.a).reshape(-1, pixels)
        self.per_step = 1 if single else CONFIG.pixels
        self.strip_steps = [steps // strips + (s < steps % strips) for s in range(strips)]

    def activations(self):
        planes = self.x.reshape(self.planes, VECTOR, -1).transpose(0, 2, 1)
        return planes.reshape(-1, VECTOR).astype(np.uint8)

    def tiles(self, weights):
        """Tiles of one group and branch: [co=16, ci, kh, kw] to bytes."""
        out = []
        for half in range(CONFIG.halves):
            part = weights[half * CONFIG.co_lanes:(half + 1) * CONFIG.co_lanes]
            for ky in range(weights.shape[2]):
                for kx in range(weights.shape[3]):
                    for plane in range(self.planes):
                        tile = part[:, plane * VECTOR:(plane + 1) * VECTOR, ky, kx].T
                        out.append(tile.astype(np.int8).tobytes())
        return b"".join(out)

    def stream(self, rng):
        """Weight stream bytes, and the parameter blocks in it."""
        out, blocks = b"", []
        for g in range(max(self.groups_a, self.groups_b)):
            for count in (self.groups_a, self.groups_b):
                if g < count:
                    block = rng.integers(0, 256, RECORD_VECTORS * 16).astype(np.uint8).tobytes()
                    blocks.append(block)
                    out += block
            part = slice(g * VECTOR, (g + 1) * VECTOR)
            if g < self.groups_a:
                out += self.tiles(self.a[part][:, :, None, None])
            if g < self.groups_b:
                out += self.tiles(self.b[part])
        return out, blocks

    def expected(self):
        """(branch, last, sums) of every result in order."""
        out = []
        for g in range(max(self.groups_a, self.groups_b)):
            start = 0
            for index, steps in enumerate(self.strip_steps):
                stop = min(start + steps * self.per_step, self.sum_b.shape[1])
                for branch, count, sums in ((0, self.groups_a, self.sum_a),
                                            (1, self.groups_b, self.sum_b)):
                    if g < count:
                        for i in range(start, stop):
                            last = index == len(self.strip_steps) - 1 and i == stop - 1
                            out.append((branch, int(last),
                                        sums[g * VECTOR:(g + 1) * VECTOR, i].tolist()))
                start = stop
        return out


async def run(dut, layers, rng, ready_percent, available_percent, trace):
    """Drive the passes over the activations of the first; return cycles and results."""
    pulled, blocks_seen = [], []
    ring, blocks = b"", []
    for layer in layers:
        stream, its_blocks = layer.stream(rng)
        ring += stream
        blocks += its_blocks
    words = np.frombuffer(ring, np.uint8).reshape(-1, 16)
    base, present = 0, 0
    act = layers[0].activations()
    result = result_layout(CONFIG)
    commands = [bits(TileCommand, layer.command) for layer in layers]
    pending = list(layers)
    ring_pipe, act_pipe = [0] * ring_latency(CONFIG), [0] * read_latency(CONFIG)
    cycles = busy = 0
    expected_count = sum(len(layer.expected()) for layer in layers)

    dut.command__valid.value = 0
    dut.results__ready.value = 0
    dut.written.value = 0
    dut.group_done.value = 0
    dut.ring_available.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    group_lasts, lasts_seen = [], 0
    for layer in layers:
        for g in range(max(layer.groups_a, layer.groups_b)):
            group_lasts.append((g < layer.groups_a) + (g < layer.groups_b))
    group_index = 0
    first_issue = last_issue = None
    while len(pulled) < expected_count:
        dut.ring_available.value = min(present, CONFIG.weight_vectors)
        if pending:
            dut.command__valid.value = 1
            dut.command__payload.value = commands[-len(pending)]
        else:
            dut.command__valid.value = 0
        dut.results__ready.value = int(rng.integers(100) < ready_percent)
        dut.ring_data.value = ring_pipe[-1]
        dut.read_data.value = act_pipe[-1]
        await ReadOnly()
        ring_now = act_now = 0
        if dut.ring_enable.value:
            ring_now = int.from_bytes(words[base + int(dut.ring_offset.value)].tobytes(), "little")
            assert int(dut.ring_offset.value) < present
        enables = int(dut.read_enable.value)
        addresses = int(dut.read_address.value)
        banks = []
        for lane in range(CONFIG.pixels):
            if enables >> lane & 1:
                address = addresses >> 16 * lane & 0xFFFF
                banks.append(address % CONFIG.pixels)
                value = int.from_bytes(act[address - SPARE_BASE].tobytes(), "little")
                act_now |= value << 128 * lane
        assert len(set(banks)) == len(banks), "two reads of one bank"
        ring_pipe = [ring_now] + ring_pipe[:-1]
        act_pipe = [act_now] + act_pipe[:-1]
        if dut.command__valid.value and dut.command__ready.value:
            pending.pop(0)
        if dut.parameters__valid.value:
            blocks_seen.append(int(dut.parameters__payload.value))
        group_done = 0
        if dut.results__valid.value and dut.results__ready.value:
            payload = int(dut.results__payload.value)
            print(f"{cycles} {payload:x}", file=trace)
            view = data.Const(result, payload)
            pulled.append((view["branch"], view["last"], [view["sums"][i] for i in range(VECTOR)]))
            lasts_seen += view["last"]
            if view["last"] and lasts_seen == group_lasts[group_index]:
                group_done, lasts_seen = 1, 0
                group_index += 1
        if dut.issued.value:
            first_issue = cycles if first_issue is None else first_issue
            last_issue = cycles
            busy += 1
        if dut.ring_release.value:
            count = int(dut.ring_release_count.value)
            base += count
            present -= count
        if rng.integers(100) < available_percent:
            present = min(present + 1, len(words) - base)
        await RisingEdge(dut.clk)
        dut.group_done.value = group_done
        cycles += 1
        assert cycles < 50_000, f"stuck with {len(pulled)} of {expected_count} results"
    record = b"".join(blocks)
    seen = b"".join((value >> 7).to_bytes(16, "little")
                    for value in blocks_seen)
    assert seen == record, "parameter blocks differ"
    return last_issue - first_issue + 1, busy, pulled


CASES = [
    dict(kernel=3, pad=1, planes=2, height=7, width=9, groups_b=2),
    dict(kernel=1, pad=0, planes=3, height=5, width=5, groups_b=1),
    dict(kernel=3, pad=1, planes=1, height=13, width=13, groups_a=2, groups_b=2),
    dict(kernel=3, pad=1, planes=1, height=9, width=7, groups_a=1, groups_b=3, row=2, rows=4),
    dict(kernel=3, pad=1, planes=1, height=9, width=7, groups_a=3, groups_b=1),
    dict(kernel=3, stride=2, pad=0, planes=1, height=11, width=11, groups_b=1),
    dict(kernel=5, stride=2, pad=2, planes=1, height=9, width=10, groups_b=1),
    dict(kernel=7, pad=3, planes=1, height=6, width=8, groups_b=1),
    dict(kernel=1, pad=0, planes=1, height=1, width=1, groups_b=2),
]
LAYERS = [CASES[int(i)] for i in os.environ.get("LAYERS", "").split(",") if i] or CASES
READY = [int(percent) for percent in os.environ.get("READY", "60,8").split(",")]
"""The slowest results stop the array at every kind of step, the first of a tile too."""


@cocotb.test()
async def results_with_random_stalls(dut):
    """Every case, stalls on weights and results: sums, order, flags and parameter blocks."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    rng = np.random.default_rng(1)
    with open(TRACE, "w") as trace:
        for case in LAYERS:
            layer = Layer(rng, **case)
            for ready in READY:
                _, _, pulled = await run(dut, [layer], rng, ready, 70, trace)
                assert pulled == layer.expected(), (case, ready)


@cocotb.test()
async def full_rate(dut):
    """With weights at hand and room for results the array works in every cycle of a pass."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    rng = np.random.default_rng(2)
    side = 14 if CONFIG.pixels == 1 else 20
    layer = Layer(rng, kernel=3, planes=2, height=side, width=side, groups_a=1, groups_b=1,
                  strip=32)
    cycles, busy, pulled = await run(dut, [layer], rng, 100, 100, io.StringIO())
    assert pulled == layer.expected()
    tiles = 2 * (1 + 9) * CONFIG.halves
    assert busy == layer.steps * tiles
    assert cycles == busy, f"{cycles} cycles for {busy} steps"
