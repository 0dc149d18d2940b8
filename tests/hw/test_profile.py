"""The counters of cycles: exact whatever happens and whenever they are read."""

import random

import pytest

from hw.config import Config
from hw.profile import EVENTS, STATES, UNITS, Profile, UnitState, profiled
from tests.hw.streams import simulate, ticked


class Counted:
    """A profile with a model beside it."""

    def __init__(self, ctx, dut, rng):
        self.ctx, self.dut, self.rng = ctx, dut, rng
        self.model = [0] * dut.words
        self.late = []
        """Words that the cycle before counts in."""

    async def clear(self, pulse=1):
        """Clears; the run may begin right after this."""
        self.ctx.set(self.dut.clear, 1)
        for i in range(1 + STATES):
            await ticked(self.ctx, self.dut.valid)
            if i + 1 == pulse:
                self.ctx.set(self.dut.clear, 0)
        self.model, self.late = [0] * self.dut.words, []

    async def cycle(self, running, favourite=None):
        """One cycle; returns (valid, value). A read that is granted now sees the counts up to two
        cycles ago."""
        ctx, dut, rng = self.ctx, self.dut, self.rng
        ctx.set(dut.running, running)
        states = [favourite if favourite is not None and rng.random() < 0.95 else
                  rng.randrange(STATES) for _ in range(dut.units)]
        for unit, state in enumerate(states):
            ctx.set(dut.states[unit], UnitState(state))
        beats = rng.getrandbits(1), rng.random() < 0.9
        ctx.set(dut.read_beat, beats[0])
        ctx.set(dut.write_beat, beats[1])
        answer = await ticked(ctx, dut.valid, dut.value)
        for word in self.late:
            self.model[word] += 1
        self.late = []
        if running:
            self.late = [unit * STATES + state for unit, state in enumerate(states)]
            self.late += [dut.units * STATES + event
                          for event, count in enumerate((1, *beats)) if count]
        return answer


def run(units, bench, seed=1):
    dut = Profile(units)

    async def main(ctx):
        await bench(Counted(ctx, dut, random.Random(seed)))

    simulate(dut, main)


async def read(counted, address, running=False):
    """Reads a word; returns it and what it should be: granted three cycles before the answer."""
    ctx, dut = counted.ctx, counted.dut
    ctx.set(dut.address, address)
    ctx.set(dut.read, 1)
    counts = [counted.model[address]]
    await counted.cycle(running)
    ctx.set(dut.read, 0)
    for _ in range(40):
        counts.append(counted.model[address])
        valid, value = await counted.cycle(running)
        if valid:
            return value, counts[-3]
    raise AssertionError("no answer")


@pytest.mark.parametrize("units", [1, len(UNITS)])
def test_counts_of_runs(units):
    """Long enough for the low bits to turn over many times, in one state and in all."""
    async def bench(counted):
        for cycles, favourite, pulse in (
                (2500, 1, 1), (1200, None, 4), (60, None, 9), (0, None, 1)):
            await counted.clear(pulse)
            for _ in range(cycles):
                await counted.cycle(True, favourite)
            for address in range(counted.dut.words):
                value, expected = await read(counted, address)
                assert value == expected, address
            await counted.cycle(False)
            assert sum(counted.model[:STATES]) == counted.model[units * STATES] == cycles
    run(units, bench)


def test_reads_disturb_nothing():
    """Reads as fast as they may come, over a whole run, each exact."""
    async def bench(counted):
        await counted.clear()
        for _ in range(1500):
            await counted.cycle(True, 2)
            address = counted.rng.choice([2, counted.rng.randrange(counted.dut.words)])
            value, expected = await read(counted, address, running=True)
            assert value == expected
        for address in range(counted.dut.words):
            value, expected = await read(counted, address)
            assert value == expected, address
    run(len(UNITS), bench)


def test_read_during_clear_waits():
    async def bench(counted):
        for _ in range(300):
            await counted.cycle(True)
        ctx, dut = counted.ctx, counted.dut
        ctx.set(dut.clear, 1)
        await counted.cycle(False)
        ctx.set(dut.clear, 0)
        counted.model, counted.late = [0] * dut.words, []
        for address in (0, 7, dut.units * STATES):
            value, _ = await read(counted, address)
            assert value == 0
    run(2, bench)


def test_limits():
    assert Profile(10).words == 10 * STATES + len(EVENTS)
    with pytest.raises(ValueError, match="11 units have 91 counters, supported: 85"):
        Profile(11)
    assert profiled(Config()) == tuple(UNITS)
    assert profiled(Config(profile=False)) == ("array",)
