"""Max pooling against NumPy on whole maps, fed as bands of interleaved branches."""

import random
from dataclasses import dataclass

import numpy as np
import pytest

from hw.config import VECTOR, Config
from hw.pool import MaxPool

from .streams import receive, send, simulate


@dataclass(frozen=True)
class Geometry:
    """A pooling: map size, window, padding on each side, and how many windows there are."""

    height: int
    width: int
    kernel: int = 3
    stride: int = 2
    pad: int = 0
    ceil: bool = False

    def out(self, size):
        span = size + 2 * self.pad - self.kernel
        count = (-(-span // self.stride) if self.ceil else span // self.stride) + 1
        # As everywhere: no window starts beyond the map.
        return count - (self.ceil and (count - 1) * self.stride >= size + self.pad)

    def supported(self, size):
        """Whether no window holds only the last column that another one closes with."""
        return (self.out(size) - 1) * self.stride - self.pad + self.kernel - self.stride < size

    def partial(self, size):
        """Whether the last window ends beyond the map."""
        return (self.out(size) - 1) * self.stride - self.pad + self.kernel > size


def ref_pool(image, g):
    """[height, width, 16] to [out_height, out_width, 16]."""
    out_height, out_width = g.out(g.height), g.out(g.width)
    result = np.zeros((out_height, out_width, VECTOR), np.uint8)
    for i in range(out_height):
        for j in range(out_width):
            top, left = i * g.stride - g.pad, j * g.stride - g.pad
            window = image[max(top, 0):top + g.kernel, max(left, 0):left + g.kernel]
            result[i, j] = window.max((0, 1))
    return result


def vector(pixel, branch, last):
    return int.from_bytes(pixel.tobytes(), "little") | branch << 128 | last << 129


def bands(rng, g):
    """(first row, end, phase, last closing row of the band) of random bands of a map.

    Each closes a window. Rows below the last window come with the last band.
    """
    closing = [min(i * g.stride - g.pad + g.kernel - 1, g.height - 1)
               for i in range(g.out(g.height))]
    cuts, start = [], 0
    for end in range(1, g.height):
        inside = [y for y in closing if start <= y < end]
        if inside and closing[-1] >= end and rng.random() < 0.4:
            cuts.append((start, end))
            start = end
    cuts.append((start, g.height))
    for start, end in cuts:
        phase = start + g.pad
        if phase >= g.kernel:  # only the first window has all its rows to itself
            phase = (phase - g.kernel) % g.stride + g.kernel - g.stride
        yield start, end, phase, sum(start <= y < end for y in closing)


def passes(rng, g, groups):
    """Commands, input vectors and expected outputs of a map with (A, B) groups.

    Expected: per branch, (data, last) in order.
    """
    maps = [[rng_map(rng, g) for _ in range(n)] for n in groups]
    pooled = [[ref_pool(image, g) for image in images] for images in maps]
    commands, inputs, expected = [], [], ([], [])
    done = 0
    for start, end, phase, closed in bands(rng, g):
        bottom = end == g.height
        # The end of the map: a partial window, or nothing left open.
        natural = (g.out(g.height) - 1) * g.stride - g.pad + g.kernel == g.height
        commands.append({
            "pool": {
                "enable": 1, "kernel": g.kernel, "stride": g.stride, "pad_left": g.pad,
                "phase": phase, "width": g.width, "rows": end - start,
                "out_width": g.out(g.width), "close_right": g.partial(g.width),
                "close_bottom": bottom and (g.partial(g.height) or natural),
            },
            "groups_a": groups[0], "groups_b": groups[1],
        })
        queues = []
        for branch in range(2):
            queue = []
            for image, result in zip(maps[branch], pooled[branch], strict=True):
                pixels = image[start:end].reshape(-1, VECTOR)
                queue += [vector(p, branch, i == len(pixels) - 1) for i, p in enumerate(pixels)]
                results = result[done:done + closed].reshape(-1, VECTOR)
                expected[branch].extend(
                    vector(p, branch, i == len(results) - 1) for i, p in enumerate(results))
            queues.append(queue)
        done += closed
        while queues[0] or queues[1]:
            queue = rng.choice([q for q in queues if q])
            strip = rng.randint(1, 2 * g.width)
            inputs += queue[:strip]
            del queue[:strip]
    assert done == g.out(g.height)
    return commands, inputs, expected


def rng_map(rng, g):
    mask = rng.choice([255, 3])  # many ties, or few
    return np.frombuffer(rng.randbytes(g.height * g.width * VECTOR), np.uint8).reshape(
        g.height, g.width, VECTOR) & mask


def through_bits(rng, count):
    """A pass without pooling."""
    pixels = np.frombuffer(rng.randbytes(count * VECTOR), np.uint8).reshape(-1, VECTOR)
    return ({"pool": {"enable": 0}, "groups_a": 0, "groups_b": 1},
            [vector(p, 1, i == count - 1) for i, p in enumerate(pixels)])


def parts(vectors, lanes):
    """Vectors as the parts that the lanes of the finisher give."""
    for value in vectors:
        for part in range(VECTOR // lanes):
            data = value >> 8 * lanes * part & (1 << 8 * lanes) - 1
            yield data | value >> 128 << 8 * lanes


def rtl_pool(commands, inputs, count, rng=None, rate=1.0, lanes=8):
    """Outputs as bits, and the cycles from the first input to the last output."""
    dut = MaxPool(Config(line_vectors=64, requantisers=lanes))
    inputs = list(parts(inputs, lanes))
    outputs, cycles = [], []

    async def command(ctx):
        await send(ctx, dut.command, commands, rng, rate)

    async def give(ctx):
        await send(ctx, dut.input, inputs, rng, rate)

    async def take(ctx):
        outputs.extend(v.as_bits() for v in await receive(ctx, dut.output, count, rng, rate))

    async def clock(ctx):
        while True:
            await ctx.tick()
            cycles.append(1)

    async def no_more(ctx):
        await take(ctx)
        ctx.set(dut.output.ready, 1)
        for _ in range(20):
            assert not ctx.get(dut.output.valid), "more vectors than expected"
            await ctx.tick()

    simulate(dut, command, give, no_more, background=(clock,))
    return outputs, len(cycles) - 20


def by_branch(outputs):
    return tuple([v for v in outputs if v >> 128 & 1 == branch] for branch in range(2))


def check(rng, maps, rate=1.0):
    """Pool maps [(geometry, groups)] one after the other, passes without pooling in between."""
    commands, inputs, expected = [], [], ([], [])
    for g, groups in maps:
        c, i, e = passes(rng, g, groups)
        plain, vectors = through_bits(rng, rng.randint(1, 6))
        commands += [*c, plain]
        inputs += [*i, *vectors]
        expected[0].extend(e[0])
        expected[1].extend([*e[1], *vectors])
    outputs, _ = rtl_pool(
        commands, inputs, sum(map(len, expected)), rng if rate < 1 else None, rate)
    assert by_branch(outputs) == expected


@pytest.mark.parametrize("size", [4, 5, 6, 7])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("kernel, stride", [(3, 2), (2, 2), (3, 3), (2, 1)])
def test_whole_maps(size, ceil, kernel, stride):
    """Every relation of map and window ends, with both branches."""
    rng = random.Random(size * 8 + kernel)
    g = Geometry(size, size + 1, kernel, stride, 0, ceil)
    check(rng, [(g, (1, 2))])


@pytest.mark.parametrize("seed", range(8))
def test_random_maps(seed):
    """Maps of any size and padding after each other, random stalls on every side."""
    rng = random.Random(seed)
    maps, left_open = [], False
    while len(maps) < 4:
        stride = rng.choice([1, 2, 2, 2, 3, 4])
        kernel = stride + rng.randint(stride == 1, 1)
        pad = rng.randint(0, kernel // 2)
        g = Geometry(rng.randint(kernel, 9), rng.randint(kernel, 9), kernel, stride, pad,
                     rng.random() < 0.5)
        last_end = (g.out(g.height) - 1) * stride - pad + kernel
        if not (g.supported(g.height) and g.supported(g.width)):
            continue
        # Windows left open at the end of a map would run into the padding of the next.
        if left_open and pad:
            continue
        left_open = last_end < g.height
        maps.append((g, rng.choice([(1, 0), (0, 2), (1, 1), (2, 1)])))
    check(rng, maps, rate=rng.choice([0.3, 0.7, 0.9]))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_narrow_maps(width):
    """The same entry again before its write has passed the pipeline."""
    rng = random.Random(width)
    check(rng, [(Geometry(9, width, 3, 2, 1), (1, 0)),
                (Geometry(9, width, 2, 2, 0, True), (1, 1))])


def test_full_line_buffer():
    """Groups of both branches fill the line buffer to its last entry: 4 x 16 of 64."""
    rng = random.Random(9)
    check(rng, [(Geometry(5, 33), (3, 1))])


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_throughput(lanes):
    """A part of a vector a cycle, two cycles before each pass, four of latency."""
    rng = random.Random(5)
    commands, inputs, expected = passes(rng, Geometry(13, 13), (1, 1))
    plain, vectors = through_bits(rng, 50)
    outputs, cycles = rtl_pool(
        [*commands, plain], [*inputs, *vectors], sum(map(len, expected)) + 50,
        lanes=lanes)
    assert by_branch(outputs) == (expected[0], expected[1] + vectors)
    assert len(outputs) == 6 * 6 * 2 + 50
    assert cycles == 2 * (len(commands) + 1) + (len(inputs) + 50) * VECTOR // lanes + 4
