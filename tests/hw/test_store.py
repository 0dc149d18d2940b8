"""The store: every vector at its place, bursts by the rules of AXI, done, faults, full rate."""

import random
from collections import deque

import pytest

from hw.config import Config
from hw.isa import Error
from hw.store import IDLE_CYCLES, Store

from .streams import go, send, simulate

BOTH = pytest.mark.parametrize(
    "config", [Config(), Config(multiplier="mult18")], ids=["xilinx", "ecp5"])
WINDOW_BASE = 0x4001_3000
WINDOW_VECTORS = (1 << 20) - 100
HALF = 1 << 19
"""Where branch B of the external passes goes, after A."""


def make_pass(rng, to_act, groups_a, groups_b, pixels, strip, index=0, plane=None, address=None):
    """A pass as {command, vectors}: strips of ``strip`` vectors, branch A then B in each."""
    plane = plane or rng.randrange(pixels, pixels + 40)
    span = plane * max(groups_a, groups_b)
    limit = 4096 if to_act else HALF - 200
    address_a = rng.randrange(limit - span) if address is None else address
    vectors = []
    for group in range(max(groups_a, groups_b)):
        for start in range(0, pixels, strip):
            end = min(start + strip, pixels)
            for branch, groups in enumerate((groups_a, groups_b)):
                if group < groups:
                    vectors += [{"data": rng.getrandbits(128), "branch": branch,
                                 "last": i == pixels - 1} for i in range(start, end)]
    target = {"to_act": to_act, "address_a": address_a,
              "address_b": address_a + (4096 if to_act else HALF), "plane": plane}
    command = {"target": target, "groups_a": groups_a, "groups_b": groups_b, "index": index}
    return {"command": command, "vectors": vectors}


def ref_store(work):
    """Writes of a pass, in order, as (address, vector)."""
    target = work["command"]["target"]
    starts = [target["address_a"], target["address_b"]]
    places = list(starts)
    writes = []
    for vector in work["vectors"]:
        branch = vector["branch"]
        writes.append((places[branch], vector["data"]))
        places[branch] += 1
        if vector["last"]:
            starts[branch] += target["plane"]
            places[branch] = starts[branch]
    return writes


class Bench:
    """A store between random streams and an AXI memory; what happened stands in the members."""

    def __init__(self, config=None, rate=1.0, latency=4, order="free", seed=0):
        self.dut = Store(config or Config())
        self.rate, self.latency, self.order, self.seed = rate, latency, order, seed
        self.memory, self.act, self.bursts, self.faults = {}, [], [], []
        self.done = []
        """(external vectors acknowledged, vectors in the activation memory) at every ``done``."""
        self.done_cycles = []
        self.acknowledged = 0
        self.bad_burst = None
        """Number of the burst that gets an error response."""
        self.taken = []
        """Cycles in which the input took a vector."""
        self.cycle = 0
        self.w_open = True

    def run(self, works, bench=None, gap=None):
        """Send the passes, until the store is idle or ``bench`` ends; ``gap`` = (vector, cycles)
        pauses the input before that vector."""
        dut = self.dut

        async def commands(ctx):
            ctx.set(dut.window_base, WINDOW_BASE)
            ctx.set(dut.window_vectors, WINDOW_VECTORS)
            await send(ctx, dut.command, [w["command"] for w in works],
                       random.Random(self.seed), self.rate)

        async def vectors(ctx):
            items = []
            for vector in (v for w in works for v in w["vectors"]):
                items.append(vector["data"] | vector["branch"] << 128 | vector["last"] << 129)
            if gap:
                await send(ctx, dut.input, items[:gap[0]])
                await ctx.tick().repeat(gap[1])
                items = items[gap[0]:]
            await send(ctx, dut.input, items, random.Random(self.seed + 1), self.rate)
            while not ctx.get(dut.idle):
                await ctx.tick()
            for _ in range(5):
                await ctx.tick()
                assert ctx.get(dut.idle)

        if bench:
            simulate(dut, bench, background=[commands, vectors, self.watch, self.axi])
        else:
            simulate(dut, commands, vectors, background=[self.watch, self.axi])
        return self

    async def watch(self, ctx):
        """The activation memory, and a record of what comes out."""
        dut, rng = self.dut, random.Random(self.seed + 2)
        held = None
        while True:
            ctx.set(dut.write.ready, go(rng, self.rate))
            _, _, valid, ready, write, done, fault, code, index, i_valid, i_ready = (
                await ctx.tick().sample(
                    dut.write.valid, dut.write.ready, dut.write.payload, dut.done, dut.fault,
                    dut.fault_code, dut.fault_index, dut.input.valid, dut.input.ready))
            # ``done`` is registered: it tells of the cycles before this one.
            if done:
                self.done.append((self.acknowledged, len(self.act)))
                self.done_cycles.append(self.cycle)
            if fault:
                self.faults.append((code, index))
            skip, write = write.skip, (write.address, write.data.as_bits())
            assert held is None or (valid and write == held), "a write changed before acceptance"
            held = write if valid and not ready else None
            if valid and ready and not skip:
                self.act.append(write)
            if i_valid and i_ready:
                self.taken.append(self.cycle)
            self.cycle += 1

    async def axi(self, ctx):
        """An AXI memory that checks the manager. ``order``: "free", "aw-first" (W waits until
        every address is taken) or "w-first" (AW waits until the data of the burst is taken)."""
        axi, rng = self.dut.axi, random.Random(self.seed + 3)
        addresses, complete, responses = deque(), deque(), deque()
        beats, held_aw, held_w, now, answered = [], None, None, 0, 0
        while True:
            ahead = len(addresses) - len(complete)
            aw_open = self.order != "w-first" or ahead < 0
            w_open = self.w_open and (self.order != "aw-first" or ahead > 0)
            ctx.set(axi.awready, aw_open and go(rng, self.rate))
            ctx.set(axi.wready, w_open and go(rng, self.rate))
            respond = responses and responses[0] <= now
            ctx.set(axi.bvalid, bool(respond))
            ctx.set(axi.bresp, 2 if respond and answered == self.bad_burst else 0)
            (_, _, awvalid, awready, address, length, size, kind, wvalid, wready, data, strobe,
             last, bready) = await ctx.tick().sample(
                axi.awvalid, axi.awready, axi.awaddr, axi.awlen, axi.awsize, axi.awburst,
                axi.wvalid, axi.wready, axi.wdata, axi.wstrb, axi.wlast, axi.bready)
            now += 1
            assert held_aw in (None, (awvalid, address, length)), "AW changed before acceptance"
            assert held_w in (None, (wvalid, data, last)), "W changed before acceptance"
            held_aw = (1, address, length) if awvalid and not awready else None
            held_w = (1, data, last) if wvalid and not wready else None
            if awvalid and awready:
                assert address % 4096 + 16 * (length + 1) <= 4096, "burst crosses 4 KiB"
                assert length < self.dut.config.burst and (size, kind) == (4, 1)
                self.bursts.append((address, length + 1))
                addresses.append((address, length + 1))
            if wvalid and wready:
                assert strobe == 0xFFFF
                beats.append(data)
                if last:
                    complete.append(beats)
                    beats = []
            if respond and bready:
                responses.popleft()
                answered += 1
                self.acknowledged += self.bursts[answered - 1][1]
            while addresses and complete and len(responses) < 64:
                address, length = addresses.popleft()
                burst = complete.popleft()
                assert len(burst) == length, "WLAST does not fit AWLEN"
                for i, beat in enumerate(burst):
                    self.memory[address + 16 * i] = beat
                responses.append(now + self.latency)


def expected_memory(works):
    return {WINDOW_BASE + 16 * a: v for w in works if not w["command"]["target"]["to_act"]
            for a, v in ref_store(w)}


def expected_done(works):
    """(external, activation) vectors of all passes up to each."""
    counts, external, act = [], 0, 0
    for work in works:
        if work["command"]["target"]["to_act"]:
            act += len(work["vectors"])
        else:
            external += len(work["vectors"])
        counts.append((external, act))
    return counts


def mixed_passes(rng, count=14):
    shapes = [(1, 0, 5, 5), (0, 2, 37, 37), (2, 2, 30, 13), (1, 3, 20, 1), (3, 1, 55, 28),
              (1, 1, 1, 1)]
    return [make_pass(rng, rng.random() < 0.4, *rng.choice(shapes), index=i)
            for i in range(count)]


@BOTH
@pytest.mark.parametrize("order", ["free", "aw-first", "w-first"])
@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_mixed_passes(order, rate, config):
    """Passes of both kinds in turn: all data, all addresses, ``done`` in order and in time."""
    works = mixed_passes(random.Random(11))
    bench = Bench(config, rate=rate, order=order).run(works)
    assert bench.memory == expected_memory(works)
    assert bench.act == [w for work in works if work["command"]["target"]["to_act"]
                         for w in ref_store(work)]
    assert len(bench.done) == len(works) and not bench.faults
    # What a pass wrote is written at its ``done``; later passes may have written too.
    for seen, need in zip(bench.done, expected_done(works), strict=True):
        assert seen >= need and seen[1] >= need[1]


@pytest.mark.parametrize("burst", [1, 4, 64, 256])
def test_burst_lengths(burst):
    rng = random.Random(burst)
    works = [make_pass(rng, False, 1, 1, 300, 300, address=250, plane=777),
             make_pass(rng, False, 0, 2, 40, 40, address=4096)]
    bench = Bench(Config(burst=burst)).run(works)
    assert bench.memory == expected_memory(works)
    assert max(length for _, length in bench.bursts) == min(burst, 256)


def test_bursts_are_as_long_as_allowed():
    """A run of one branch gives full bursts; pages, branches and groups end them."""
    rng = random.Random(1)
    work = make_pass(rng, False, 1, 1, 50, 20, address=240, plane=100)
    bench = Bench().run([work])
    base_b = HALF + 240
    assert bench.bursts == [(WINDOW_BASE + 16 * a, n) for a, n in (
        (240, 16), (256, 4), (base_b, 16), (base_b + 16, 4),
        (260, 16), (276, 4), (base_b + 20, 16), (base_b + 36, 4),
        (280, 10), (base_b + 40, 10),
    )]


@BOTH
@pytest.mark.parametrize("to_act", [False, True])
def test_full_rate(to_act, config):
    """One vector a cycle over groups, branches and passes."""
    rng = random.Random(2)
    works = [make_pass(rng, to_act, 2, 2, 96, 32, address=32 * i, plane=96) for i in range(3)]
    bench = Bench(config).run(works)
    assert bench.taken[-1] - bench.taken[0] + 1 == len(bench.taken) == 3 * 4 * 96


def test_worst_case_rate():
    """Branches that change at every vector: a burst a vector, still one vector a cycle."""
    work = make_pass(random.Random(2), False, 1, 1, 100, 1)
    bench = Bench().run([work])
    assert len(bench.bursts) == 200
    assert bench.taken[-1] - bench.taken[0] + 1 == 200


@BOTH
def test_input_runs_ahead_of_axi(config):
    """While AXI takes no data the input goes on until the queue of two bursts is full."""
    bench = Bench(config)
    bench.w_open = False

    async def main(ctx):
        await ctx.tick().repeat(100)
        assert len(bench.taken) >= 32
        assert bench.taken[31] - bench.taken[0] == 31
        assert len(bench.bursts) >= 2, "addresses do not wait for data"
        bench.w_open = True
        await ctx.tick().until(bench.dut.done)

    work = make_pass(random.Random(3), False, 1, 0, 100, 100, address=0)
    bench.run([work], main)
    assert bench.memory == expected_memory([work])


def test_idle_input_sends_the_burst():
    work = make_pass(random.Random(4), False, 1, 0, 12, 12, address=0)
    bench = Bench().run([work], gap=(5, 2 * IDLE_CYCLES))
    assert [n for _, n in bench.bursts] == [5, 7]
    bench = Bench().run([work], gap=(5, IDLE_CYCLES - 4))
    assert [n for _, n in bench.bursts] == [12]


@BOTH
def test_done_latency(config):
    """Four cycles after the last vector into the activation memory."""
    bench = Bench(config).run([make_pass(random.Random(5), True, 1, 0, 9, 9)])
    assert len(bench.act) == 9 and bench.done_cycles == [bench.taken[-1] + 4]


@BOTH
def test_done_waits_for_the_activation_memory(config):
    """Not before the memory has taken the last vector, however late that is."""
    work = make_pass(random.Random(5), True, 1, 0, 9, 9)
    bench = Bench(config, rate=0.1).run([work])
    assert bench.done == [(0, 9)]


@pytest.mark.parametrize("address, fine", [
    (WINDOW_VECTORS - 30, True), (WINDOW_VECTORS - 29, False), (2**28 - 10, False)])
def test_window(address, fine):
    """A burst beyond the window is not sent, nor anything behind it; those before are."""
    rng = random.Random(6)
    before = make_pass(rng, False, 1, 0, 20, 20, index=41)
    work = make_pass(rng, False, 1, 0, 30, 30, index=42, address=address)
    bench = Bench().run([before, work])
    if fine:
        assert not bench.faults and bench.memory == expected_memory([before, work])
        assert len(bench.done) == 2
    else:
        assert set(bench.faults) == {(Error.WINDOW, 42)}
        inside = [x for x in ref_store(work)[:16] if address + 15 < WINDOW_VECTORS]
        assert bench.memory == expected_memory([before]) | {
            WINDOW_BASE + 16 * a: v for a, v in inside}
        assert len(bench.done) == 1


@BOTH
@pytest.mark.parametrize("address", [8192 - 29, 2**16, 2**16 + 5, 2**20])
def test_act_range(address, config):
    """Activation addresses do not wrap."""
    work = make_pass(random.Random(7), True, 1, 0, 30, 30, index=43, address=address)
    bench = Bench(config)

    async def main(ctx):
        await ctx.tick().until(bench.dut.fault)
        await ctx.tick().repeat(60)
        assert ctx.get(bench.dut.idle)

    bench.run([work], main)
    assert bench.act == [(a, v) for a, v in ref_store(work) if a < 8192]
    assert set(bench.faults) == {(Error.ACT_RANGE, 43)} and not bench.done


def test_error_response():
    """A bad response names the pass of its burst, not the one that is being stored."""
    rng = random.Random(8)
    works = [make_pass(rng, False, 1, 0, 32, 32, index=50 + i, address=64 * i) for i in range(3)]
    bench = Bench(latency=60)
    bench.bad_burst = 3
    bench.run(works)
    assert bench.faults == [(Error.WRITE, 51)]


@BOTH
@pytest.mark.parametrize("order", ["free", "aw-first", "w-first"])
def test_halt(order, config):
    """After ``halt`` no new burst; what was sent completes and the store is idle."""
    bench = Bench(config, rate=0.5, order=order)
    seen = []

    async def main(ctx):
        while len(bench.bursts) < 4:
            await ctx.tick()
        ctx.set(bench.dut.halt, 1)
        await ctx.tick().repeat(2)
        limit = len(bench.bursts) + ctx.get(bench.dut.axi.awvalid)
        await ctx.tick().until(bench.dut.idle)
        await ctx.tick().repeat(50)
        assert ctx.get(bench.dut.idle) and not ctx.get(bench.dut.axi.wvalid)
        seen.append(limit)

    work = make_pass(random.Random(9), False, 2, 2, 120, 32)
    bench.run([work], main)
    assert len(bench.bursts) == seen[0] < 20
    assert bench.acknowledged == sum(n for _, n in bench.bursts) == len(bench.memory)
