"""The linear reader: order of vectors, shape of bursts, credit, rate."""

import random

import pytest

from hw.config import Config
from hw.linear_reader import BurstCutter, LinearReader
from tests.hw.streams import bits, read_server, receive, send, simulate, ticked


def vector(address: int) -> int:
    """A vector that names its address in every part."""
    return address * 0x1000_0001_0000_0001_0000_0001 % (1 << 128)


def run(transfers, *, depth=32, burst=16, rate=1.0, latency=3, seed=0):
    """Vectors, bursts and cycles of the transfers, each side stalling with the same rate."""
    dut = LinearReader(Config(burst=burst), depth)
    expected = sum(count for _, count in transfers)
    bursts, out, times = [], [], []
    rngs = [random.Random(seed + i) for i in range(3)]

    async def source(ctx):
        await send(ctx, dut.transfer, [{"address": a, "count": c} for a, c in transfers],
                   rngs[0], rate)

    async def sink(ctx):
        out.extend(map(bits, await receive(ctx, dut.output, expected, rngs[1], rate)))
        await ctx.tick().repeat(4)
        assert ctx.get(dut.idle)
        assert not ctx.get(dut.output.valid)

    async def clock(ctx):
        while True:
            times.append(await ticked(ctx, dut.output.valid & dut.output.ready))

    async def credit(ctx):
        """Bursts asked for never exceed the depth; idle only when nothing is owed."""
        held = owed = 0
        while True:
            given, count, idle, asked, beats, taken = await ticked(
                ctx, dut.transfer.valid & dut.transfer.ready, dut.transfer.p.count, dut.idle,
                dut.client.request.valid & dut.client.request.ready,
                dut.client.request.p.beats_minus_1, dut.output.valid & dut.output.ready)
            held += asked * (beats + 1) - taken
            assert held <= depth
            assert not (idle and owed)
            owed += given * count - taken

    server = read_server(dut.client, vector, rngs[2], rate, latency, log=bursts)
    simulate(dut, source, sink, background=(server, clock, credit))
    first = times.index(1)
    active = len(times) - first - times[::-1].index(1)
    return out, bursts, active


def vectors(transfers):
    return [vector(a + i) for a, c in transfers for i in range(c)]


@pytest.mark.parametrize("rate", (1.0, 0.5, 0.2))
@pytest.mark.parametrize("depth, burst", ((32, 16), (33, 16), (16, 256), (4, 1), (600, 256)))
def test_order(rate, depth, burst):
    """Random transfers, with single ones, come out vector by vector."""
    rng = random.Random(depth)
    transfers = [(rng.randrange(1 << 12), rng.choice((1, 1, 2, 7, 16, 40, 100)))
                 for _ in range(12)] + [(5, 3)]
    out, bursts, _ = run(transfers, depth=depth, burst=burst, rate=rate, seed=depth)
    assert out == vectors(transfers)
    longest = min(burst, 1 << (depth // 2).bit_length() - 1)
    assert all(1 <= count <= longest for _, count in bursts)
    if burst == 256 and depth == 600:
        assert max(count for _, count in bursts) > 16


def test_bursts_are_aligned():
    """A run is cut at multiples of the burst length, nowhere else."""
    _, bursts, _ = run([(250, 40)])
    assert bursts == [(250, 6), (256, 16), (272, 16), (288, 2)]


@pytest.mark.parametrize("transfers", (
    [(0, 256)], [(8, 64), (512, 64), (1000, 64)], [(i * 37, 13) for i in range(20)],
), ids=("one", "several", "short"))
def test_full_rate(transfers):
    """A vector a cycle without a bubble, between transfers too, when nobody stalls."""
    out, _, active = run(transfers, depth=64, latency=6)
    assert active == len(out) == sum(count for _, count in transfers)


def test_single_vectors():
    """Transfers of a vector take four cycles each."""
    out, _, active = run([(i * 37, 1) for i in range(40)], depth=64)
    assert len(out) == 40
    assert active <= 4 * 39 + 1


@pytest.mark.parametrize("burst", (1, 2, 64))
def test_largest_fields(burst):
    """The first and the last address, and a count of all ones."""
    dut = BurstCutter(burst, count_width=9)
    transfers = [(0, 1), (2**28 - 1, 1), (2**28 - 511, 511), (1, 511)]
    bursts = []

    async def source(ctx):
        ctx.set(dut.room, 1)
        await send(ctx, dut.transfer, [{"address": a, "count": c} for a, c in transfers])

    async def sink(ctx):
        wanted = {a + i for a, c in transfers for i in range(c)}
        while wanted:
            request, = await receive(ctx, dut.request, 1)
            bursts.append((request.address, request.beats_minus_1 + 1))
            wanted -= {request.address + i for i in range(request.beats_minus_1 + 1)}
        await ctx.tick()
        assert not ctx.get(dut.busy)

    simulate(dut, source, sink)
    expected = []
    for address, count in transfers:
        while count:
            expected.append((address, min(count, burst - address % burst)))
            address, count = address + expected[-1][1], count - expected[-1][1]
    assert bursts == expected


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_depth_is_checked():
    with pytest.raises(ValueError, match="depth is 3, supported: at least 4"):
        LinearReader(Config(), 3)
