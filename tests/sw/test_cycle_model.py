"""The parts of the cycle model: clock, counters, memory."""

import pytest

from hw.config import Config
from hw.isa import Average
from sw.cycle_model.events import Counter, Events
from sw.cycle_model.memory import LITEDRAM, Bus, Memory, Reader
from sw.cycle_model.passes import Pass
from sw.errors import UserError

# Clock

def test_processes_interleave():
    events, seen = Events(), []

    def process(name, times):
        for time in times:
            yield time
            seen.append((events.now, name))

    events.start(process("a", [3, 5, 5, 9]))
    events.start(process("b", [1, 5, 8]))
    events.run()
    assert seen == [(1, "b"), (3, "a"), (5, "b"), (5, "a"), (5, "a"), (8, "b"), (9, "a")]


def test_counter_wakes_in_time():
    events, seen = Events(), []
    counter = Counter(events)

    def waits(value):
        yield counter, value
        seen.append((value, events.now))

    def counts():
        for time in (2, 4, 7):
            yield time
            counter.add(2)

    for value in (5, 1, 2, 0):
        events.start(waits(value))
    events.start(counts())
    events.run()
    assert seen == [(0, 0), (1, 2), (2, 2), (5, 7)]


def test_counter_knows_its_past_and_future():
    counter = Counter(Events())
    counter.add(1, time=10)
    counter.add(4, time=30, each=5)
    assert [counter.time(n) for n in (0, 1, 2, 5)] == [0, 10, 15, 30]
    assert [counter.reached(t) for t in (0, 10, 15, 20, 29.9, 30, 99)] == pytest.approx(
        [0, 1, 2, 3, 4.98, 5, 5])


# Memory

def transfer(memory, counts, depth=64, writes=()):
    """(time of each reader's last vector, of the last write's response)."""
    events = Events()
    bus = Bus(events, memory)
    readers = [Reader(bus, depth, 16) for _ in counts]
    for reader, count in zip(readers, counts, strict=True):
        reader.transfer(0, count)
    answers = []
    for beats in writes:
        bus.write(0, beats, 0, lambda: answers.append(events.now))
    events.run()
    assert [reader.arrived.value for reader in readers] == list(counts)
    assert bus.written.value == sum(writes) and len(answers) == len(writes)
    return [reader.arrived.time(count) for reader, count in zip(readers, counts, strict=True)], \
        answers


@pytest.mark.parametrize("width", (1, 2, 4, 8, 16))
def test_bytes_a_cycle(width):
    (end,), _ = transfer(Memory(width=width), [1600])
    assert 1600 * 16 / width <= end <= 1600 * 16 / width + 50


def test_a_direction_moves_a_vector_a_cycle():
    (end,), answers = transfer(Memory(width=32), [1600], writes=[16] * 100)
    assert 1600 <= end <= 1650 and 1600 <= answers[-1] <= 1700
    (end,), answers = transfer(Memory(width=16), [1600], writes=[16] * 100)
    assert max(end, answers[-1]) >= 3200


def test_clients_share_the_bus():
    ends, _ = transfer(Memory(), [800, 800, 400])
    assert ends[2] == pytest.approx(1200, rel=0.15) and max(ends) == pytest.approx(2000, rel=0.05)


def test_credit_limits_a_reader_with_long_latency():
    """64 vectors may be under way: no more than that in a round trip."""
    (end,), _ = transfer(Memory(latency=200), [6400])
    assert 100 * 200 < end < 100 * 230
    (end,), _ = transfer(Memory(latency=200, max_reads=100), [6400], depth=1024)
    assert end < 7000


@pytest.mark.parametrize("readers, writes, share", (
    (1, False, 0.89), (2, False, 0.66), (0, True, 0.88), (1, True, 0.78), (2, True, 0.69)))
def test_streams_of_litedram(readers, writes, share):
    """Busy cycles, measured on the RTL of the controller with streams of 16 vectors."""
    events, count = Events(), 20_000
    bus = Bus(events, LITEDRAM)
    streams = [Reader(bus, 512, 16) for _ in range(readers)]
    for index, stream in enumerate(streams):
        stream.transfer(index << 17, count)
    for first in range(0, count if writes else 0, 16):
        bus.write((1 << 20) + first, 16, 0)
    events.run()
    counters = [each.arrived for each in streams] + [bus.written] * writes
    cycles = min(each.time(count) for each in counters)
    moved = sum(each.reached(cycles) for each in counters)
    assert moved / cycles == pytest.approx(share, rel=0.05)


def test_turns_cost_cycles():
    plain = transfer(Memory(), [1600], writes=[16] * 100)[1][-1]
    turning = transfer(Memory(turn=10), [1600], writes=[16] * 100)[1][-1]
    assert turning > plain + 1000


@pytest.mark.parametrize("fields, message", [
    ({"latency": 0}, "memory latency is 0, supported: 1 to 100000"),
    ({"width": 33}, "memory width is 33, supported: 1 to 32"),
])
def test_refuses_impossible_memory(fields, message):
    with pytest.raises(UserError, match=message):
        Memory(**fields)


# Passes

def work(**fields):
    finish = {"average": Average.NONE.value, "rescale": 0, "add": 0}
    return Pass(0, {
        "walk": {"groups_a": 2, "groups_b": 1, "planes": 3, "kernel": 3, "strips": 3,
                 "long_strips": 1, "steps": 8},
        "source": {"pixels": 49, "single": 0}, "finish": finish, "pool": {"enable": 0},
        "target": {"to_act": 0, "address_a": 100, "address_b": 500, "plane": 49}} | fields, False)


def test_strips_and_tiles():
    each = work()
    assert each.strips(Config(pixels=2)) == [(9, 18), (8, 16), (8, 15)]
    assert [each.tiles(branch) for branch in (0, 1)] == [3, 27]
    assert [each.branches(group) for group in range(each.groups)] == [[0, 1], [0]]
    assert each.place("target", 1, 0) == 149


def test_vectors_of_a_pool():
    """2x2 windows of 7 x 7 results, the last column and row closed early."""
    pool = {"enable": 1, "kernel": 2, "stride": 2, "pad_left": 0, "phase": 0, "width": 7,
            "rows": 7, "out_width": 4, "close_right": 1, "close_bottom": 1}
    emitted = work(pool=pool).emitted()
    assert len(emitted) == 50 and emitted[-1] == 16
    assert [int(emitted[7 * row]) for row in range(8)] == [0, 0, 4, 4, 8, 8, 12, 16]
    open_end = work(pool=pool | {"close_right": 0, "out_width": 3, "close_bottom": 0}).emitted()
    assert open_end[-1] == 9


@pytest.mark.parametrize("average, vectors", ((Average.SUMS, 4), (Average.QUANTISED, 1)))
def test_vectors_of_an_average(average, vectors):
    finish = {"average": average.value, "rescale": 0, "add": 0}
    emitted = work(finish=finish).emitted()
    assert emitted[-2] == 0 and emitted[-1] == vectors
