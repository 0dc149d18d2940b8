"""Parameter slots: what was written last, in the form the lanes use, and zeros."""

import random

import pytest

from hw.config import VECTOR, Config
from hw.isa import ParameterKind
from hw.requantise import ADD_PLACES
from hw.slots import ZEROS, Slots

from .streams import simulate, ticked


@pytest.mark.parametrize("requantisers, multiplier", [
    (1, "generic"), (2, "generic"), (8, "generic"), (16, "generic"), (1, "mult18"), (8, "mult18")])
def test_slots(requantisers, multiplier, plain_copies):
    rng = random.Random(requantisers)
    dut = Slots(Config(requantisers=requantisers, multiplier=multiplier))
    slots = {(kind.value, parity): [None] * VECTOR
             for kind in ParameterKind for parity in (0, 1)}
    zeros = (0, 0, ADD_PLACES)
    slots |= {(ZEROS, parity): [zeros] * VECTOR for parity in (0, 1)}

    async def bench(ctx):
        for _ in range(3):
            blocks = [(slot, index) for slot in slots if slot[0] != ZEROS for index in range(8)]
            for (kind, parity), index in rng.sample(blocks, len(blocks)):
                records = []
                for channel in (2 * index, 2 * index + 1):
                    bias, mantissa, shift = (
                        rng.randrange(-(1 << 24), 1 << 24), rng.getrandbits(24), rng.getrandbits(5))
                    records.append({"bias": bias & 0xFFFFFFFF, "mantissa": mantissa,
                                    "shift": shift})
                    slots[kind, parity][channel] = (bias, mantissa << shift % 2, shift // 2)
                ctx.set(dut.write.payload, {
                    "kind": kind, "parity": parity, "index": index, "records": records})
                ctx.set(dut.write.valid, 1)
                await ctx.tick()
            ctx.set(dut.write.valid, 0)
            if multiplier == "mult18":
                await ctx.tick()
            for (kind, parity), wanted in slots.items():
                found = []
                for phase in range(VECTOR // requantisers):
                    ctx.set(dut.places, dut.shares * [
                        {"kind": kind, "parity": parity, "phase": phase}])
                    found += list(await ticked(ctx, dut.parameters))
                assert [(each.bias, each.factor, each.places) for each in found] == wanted

    simulate(dut, bench)
