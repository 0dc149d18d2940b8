"""Sessions of random requests over a line with faults, whose outcome is known."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from hw.link import MAX_WORDS, WORD, LinkRegister, Space
from sim.faults import FaultyTransport
from sw.runtime.link import Link, LinkError, Transport

COUNTER, HARMLESS = 0x00, 0x04
"""Registers of the core's space: one that counts writes, and one that may be written twice."""
REGISTERS = range(0x08, 0x40, WORD)
MEMORY = MAX_WORDS * WORD
VECTOR = 16
OPERATIONS = 5
"""Of a case, at least."""
RATES = (0.001, 0.003, 0.006, 0.012)


@dataclass
class Shadow:
    """What the chip must hold. What an operation that was reported as failed may have changed is
    None, and the counter's `slack` the writes that may have been done or not."""

    memory: list[int | None] = field(default_factory=lambda: [None] * MEMORY)
    registers: dict[int, int | None] = field(default_factory=dict)
    counter: int = 0
    slack: int = 0


@dataclass
class Tally:
    """Over all cases: `recovered` those in which every operation was done, `reported` operations
    that ended with a `LinkError`."""

    cases: int = 0
    recovered: int = 0
    reported: int = 0
    faults: int = 0
    retries: int = 0


def run_case(transport: Transport, shadow: Shadow, seed: int, tally: Tally) -> None:
    """Operations over a line with faults, until there has been one; then everything is read over a
    good line and compared."""
    choose = random.Random(seed)
    faulty = FaultyTransport(transport, choose.choice(RATES), seed)
    link = Link(faulty)
    reported = 0
    number = 0
    while number < OPERATIONS or not faulty.faults.total:
        operation = _operation(choose) if number else _begin
        try:
            operation(link, shadow)
        except LinkError:
            reported += 1
            # a host that was told of a failure begins again
            link = _new_session(faulty, tally, link)
        number += 1
    tally.cases += 1
    tally.recovered += not reported
    tally.reported += reported
    tally.faults += faulty.faults.total
    tally.retries += link.statistics.retries
    while transport.receive():
        pass
    _compare(Link(transport), shadow)


def _new_session(faulty: FaultyTransport, tally: Tally, old: Link) -> Link:
    tally.retries += old.statistics.retries
    while faulty.inner.receive():
        pass
    link = Link(faulty)
    rate, faulty.rate = faulty.rate, 0
    _begin(link, Shadow())
    faulty.rate = rate
    return link


def _begin(link: Link, shadow: Shadow) -> None:
    """The first write of a session, which may be done twice."""
    link.write_word(Space.CORE, HARMLESS, 1)


def _operation(choose: random.Random) -> Callable[[Link, Shadow], None]:
    kind = choose.choice((_count, _count, _write_register, _read_register, _write_memory,
                          _write_memory, _read_memory, _identify))
    seed = choose.random()
    return lambda link, shadow: kind(link, shadow, random.Random(seed))


def _count(link: Link, shadow: Shadow, choose: random.Random) -> None:
    shadow.slack += 1
    link.write_word(Space.CORE, COUNTER, 0)
    shadow.slack -= 1
    shadow.counter += 1


def _write_register(link: Link, shadow: Shadow, choose: random.Random) -> None:
    address, value = choose.choice(REGISTERS), choose.getrandbits(32)
    shadow.registers[address] = None
    link.write_word(Space.CORE, address, value)
    shadow.registers[address] = value


def _read_register(link: Link, shadow: Shadow, choose: random.Random) -> None:
    address = choose.choice(REGISTERS)
    value = link.read_word(Space.CORE, address)
    assert shadow.registers.get(address) in (None, value)


def _span(choose: random.Random) -> tuple[int, int]:
    size = VECTOR * choose.choice((1, 1, 1, 2, 3, 4, 5, 8, 12, MAX_WORDS * WORD // VECTOR))
    return VECTOR * choose.randrange((MEMORY - size) // VECTOR + 1), size


def _write_memory(link: Link, shadow: Shadow, choose: random.Random) -> None:
    address, size = _span(choose)
    # many bytes that need an escape
    data = bytes(choose.choice((0xC0, 0xDB, 0xDC, choose.getrandbits(8))) for _ in range(size))
    shadow.memory[address:address + size] = [None] * size
    link.write(Space.MEMORY, address, data)
    shadow.memory[address:address + size] = data


def _read_memory(link: Link, shadow: Shadow, choose: random.Random) -> None:
    address, size = _span(choose)
    _same(link.read(Space.MEMORY, address, size), shadow.memory[address:address + size])


def _identify(link: Link, shadow: Shadow, choose: random.Random) -> None:
    assert link.read(Space.LINK, LinkRegister.ID, WORD) == b"FLK1"


def _same(found: bytes, expected: list[int | None]) -> None:
    assert all(wanted in (None, byte) for byte, wanted in zip(found, expected, strict=True))


def _compare(link: Link, shadow: Shadow) -> None:
    """A good line: nothing is asked again, and what is there is what is known."""
    _begin(link, shadow)
    counter = link.read_word(Space.CORE, COUNTER)
    assert shadow.counter <= counter <= shadow.counter + shadow.slack
    shadow.counter, shadow.slack = counter, 0
    for address, value in shadow.registers.items():
        assert value in (None, link.read_word(Space.CORE, address))
    _same(link.read(Space.MEMORY, 0, MEMORY), shadow.memory)
    assert link.statistics.retries == link.statistics.stale == 0
