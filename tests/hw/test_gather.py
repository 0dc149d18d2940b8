"""GATHER against NumPy windows, with the external memory and the activation memory as models."""

import dataclasses
import random

import numpy as np
import pytest

from hw.config import Config
from hw.gather import Gather
from hw.isa import PIXELS_PER_VECTOR

from .streams import read_server, receive, send, simulate

CONFIG = Config(image_width=32, image_lines=16, burst=4)
ON_ECP5 = dataclasses.replace(CONFIG, multiplier="mult18")


class Image:
    """An image in external memory and the convolution that is to read it."""

    def __init__(self, rng, address, height, width, kernel, stride, pad):
        self.address, self.kernel, self.stride, self.pad = address, kernel, stride, pad
        self.pixels = np.frombuffer(rng.randbytes(height * width * 3), np.uint8).reshape(
            height, width, 3)
        self.pad_value = rng.randrange(256)
        self.row_vectors = -(-width // 4)
        self.out_height, self.out_width = (
            (size + 2 * pad - kernel) // stride + 1 for size in (height, width))
        # The fourth byte of a pixel and the rest of a row hold anything.
        stored = np.frombuffer(rng.randbytes(height * self.row_vectors * 16), np.uint8).reshape(
            height, -1, 4).copy()
        stored[:, :width, :3] = self.pixels
        self.memory = {address + i: int.from_bytes(v.tobytes(), "little")
                       for i, v in enumerate(stored.reshape(-1, 16))}

    def operand(self, row, rows, target, target_stride):
        height, width, _ = self.pixels.shape
        return {
            "address": self.address, "row_vectors": self.row_vectors, "width": width,
            "height": height, "out_width": self.out_width, "row": row, "rows": rows,
            "kernel": self.kernel, "stride": self.stride, "pad_top": self.pad,
            "pad_left": self.pad, "pad_value": self.pad_value, "first": row == 0,
            "target": target, "target_stride": target_stride,
        }

    def ref_writes(self, row, rows, target, target_stride):
        """(address, vector) of a GATHER in order."""
        padded = np.pad(self.pixels, ((self.pad, self.pad), (self.pad, self.pad), (0, 0)),
                        constant_values=self.pad_value)
        writes = []
        for i in range(rows * self.out_width):
            y, x = row + i // self.out_width, i % self.out_width
            window = padded[y * self.stride:, x * self.stride:][:self.kernel, :self.kernel]
            flat = window.reshape(-1, 3)
            for v in range(-(-len(flat) // PIXELS_PER_VECTOR)):
                part = flat[v * PIXELS_PER_VECTOR:(v + 1) * PIXELS_PER_VECTOR]
                writes.append(((target + v * target_stride + i) % (1 << 16),
                               int.from_bytes(part.tobytes(), "little")))
        return writes

    def ref_fetched(self, row, rows):
        """External addresses that GATHERs up to output row ``row + rows`` need."""
        needed = min((row + rows - 1) * self.stride - self.pad + self.kernel,
                     len(self.pixels))
        return list(range(self.address, self.address + max(needed, 0) * self.row_vectors))


def rtl_gather(images, jobs, rng=None, rate=1.0, config=CONFIG):
    """Writes as (address, vector), fetched addresses, and for every job the number of writes
    accepted up to its ``done`` and the cycle of it. Jobs are operands."""
    dut = Gather(config)
    memory = {k: v for image in images for k, v in image.memory.items()}
    log, writes, done = [], [], []

    async def commands(ctx):
        await send(ctx, dut.command, [
            {"index": i, "layer": 0, "operand": job} for i, job in enumerate(jobs)], rng, rate)

    async def take(ctx):
        while len(done) < len(jobs):
            writes.extend((w.address, w.data.as_bits())
                          for w in await receive(ctx, dut.write, 1, rng, rate))
            await ctx.delay(0)
        ctx.set(dut.write.ready, 1)
        for _ in range(20):
            assert not ctx.get(dut.write.valid), "more writes than expected"
            await ctx.tick()
        assert ctx.get(dut.idle)

    async def watch(ctx):
        cycle = accepted = 0
        while True:
            _, _, end, valid, ready, idle = await ctx.tick().sample(
                dut.done, dut.write.valid, dut.write.ready, dut.idle)
            cycle += 1
            accepted += valid & ready
            assert not (idle and valid)
            if end:
                done.append((accepted, cycle))

    simulate(dut, commands, take, background=(
        watch, read_server(dut.client, memory.__getitem__, rng, rate, latency=8, log=log)))
    fetched = [a + i for a, count in log for i in range(count)]
    return writes, fetched, done


def check(rng, images, rate=1.0, config=CONFIG):
    """Gather the images one after the other in random bands."""
    jobs, expected, fetched, accepted = [], [], [], []
    for image in images:
        row = 0
        while row < image.out_height:
            rows = min(rng.randint(1, 6), image.out_height - row)
            place = (row, rows, rng.randrange(1 << 16), rng.randrange(1 << 12))
            jobs.append(image.operand(*place))
            expected += image.ref_writes(*place)
            accepted.append(len(expected))
            row += rows
        fetched += image.ref_fetched(0, image.out_height)
    writes, seen, done = rtl_gather(images, jobs, rng if rate < 1 else None, rate, config)
    assert writes == expected
    assert seen == fetched
    assert [count for count, _ in done] == accepted


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_windows(kernel, stride):
    """Every kernel and stride, with padding that the kernel allows; more rows than lines."""
    rng = random.Random(kernel * 4 + stride)
    image = Image(rng, 1000, 18, 3 * stride + kernel + 1, kernel, stride,
                  rng.randint(0, kernel // 2))
    check(rng, [image])


@pytest.mark.parametrize("config", [CONFIG, ON_ECP5], ids=["xilinx", "ecp5"])
@pytest.mark.parametrize("seed", range(6))
def test_random_images(seed, config):
    """Images after each other with random stalls of memory, commands and writes."""
    rng = random.Random(seed)
    images = []
    for i in range(3):
        kernel = rng.choice([1, 3, 3, 4, 5, 7])
        images.append(Image(
            rng, 5000 * i + rng.randrange(1000), rng.randint(kernel, 20), rng.randint(kernel, 14),
            kernel, rng.randint(1, 3), rng.randint(0, min(3, kernel - 1))))
    check(rng, images, rng.choice([0.4, 0.8]), config)


def test_widest_image():
    """A row fills its line to the last pixel, rows wrap around the line memory."""
    rng = random.Random(3)
    check(rng, [Image(rng, 77, 36, CONFIG.image_width, 3, 2, 1)])


@pytest.mark.parametrize("kernel, cycles", [(3, 3), (7, 14), (4, 5)])
def test_throughput(kernel, cycles):
    """Once rows are there, cycles a window as promised, and two more for each output row."""
    rng = random.Random(kernel)
    image = Image(rng, 0, 16, 32, kernel, 1, 0)
    rows = 4
    jobs = [image.operand(0, image.out_height - rows, 0, 256),
            image.operand(image.out_height - rows, rows, 0, 256)]
    # The second job fetches four rows: all but the first hide behind emission.
    _, _, done = rtl_gather([image], jobs)
    work = rows * (image.out_width * cycles + 2)
    first_row = 8 + image.row_vectors  # latency of the memory, then a vector a cycle
    assert done[1][1] - done[0][1] == work + first_row + 11
