"""What the processes of the units share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hw import dispatch, gather, loader, residual
from hw.config import Config

from ..assembler import disassemble
from ..program import Program
from .events import Counter, Events
from .memory import Bus, Memory, Reader
from .passes import Pass

__all__ = ["Batch", "LayerCycles", "State"]


@dataclass
class LayerCycles:
    """Predicted cycles of a layer, those in which the array waited among them.

    `loads`: for a LOAD; `gather`: for a GATHER; `weights`: for a tile; `results`: for room behind
    it, because requantisers or store are slower; `order`: for the results of passes before.
    `stored`: cycles in which results waited for the store, the array perhaps not.
    """

    cycles: float = 0
    loads: float = 0
    gather: float = 0
    weights: float = 0
    results: float = 0
    order: float = 0
    stored: float = 0
    ahead: float | None = None
    """How long before the end of the layer before its first LOAD or GATHER begins."""
    weights_ahead: int = 0
    """Vectors of its weights that are there at the end of the layer before."""

    @property
    def bound(self) -> str:
        """What most of its waits are for, if they are a tenth of it: ``memory``, ``gather``,
        ``weights``, ``requantisers``, ``order``; else ``array``."""
        stored = min(self.stored, self.results)
        waits = {"memory": self.loads + stored, "gather": self.gather, "weights": self.weights,
                 "requantisers": self.results - stored, "order": self.order}
        name = max(waits, key=waits.__getitem__)
        return name if sum(waits.values()) > 0.1 * self.cycles else "array"


@dataclass(frozen=True)
class Batch:
    """Results of a strip and branch: `vectors` in `steps` entries, the first there at `time`."""

    time: float
    steps: int
    vectors: int
    group_end: bool


class LoadReader(Reader):
    """LOADs pay for a longest burst with the cycles in which no one else writes to the activation
    memory, up to `SAVED` bursts in advance (`hw.loader`)."""

    def __init__(self, bus: Bus, burst: int, writers: list[Counter]):
        super().__init__(bus, loader.SAVED * burst, burst)
        self._limit, self._writers = self.credit, writers
        self._since = self._busy = self._again = 0.0

    def affordable(self) -> bool:
        now = self.bus.events.now
        busy = sum(writer.reached(now) for writer in self._writers)
        spare = max(0.0, now - self._since - (busy - self._busy))
        self._since, self._busy = now, busy
        self.credit = min(self._limit, self.credit + spare)
        if self.credit >= self.burst:
            return True
        if self._again <= now:
            self._again = now + max(1, self.burst - self.credit)
            self.bus.events.at(self._again, self.advance)
        return False

    def pay(self, beats: int) -> None:
        self.credit -= self.burst

    def deliver(self, beats: int) -> None:
        self.arrived.add(beats)


class State:
    """Clock, memory, program, and the counters by which units wait for one another."""

    def __init__(self, program: Program, memory: Memory):
        self.config: Config = program.config
        self.code_address = program.code_address
        self.instructions = list(disassemble(program.code))
        events = self.events = Events()
        bus = self.bus = Bus(events, memory)
        burst = self.config.burst
        self.stored, self.gathered = Counter(events), Counter(events)
        """Vectors that each has written to the activation memory."""
        # In the order of `hw.core.CLIENTS`.
        self.residual = Reader(bus, residual.PREFETCH, min(burst, residual.PREFETCH // 2), True)
        self.load = LoadReader(bus, burst, [self.stored, self.gathered])
        lines = self.config.image_lines * self.config.image_width // gather.BANKS
        self.gather = Reader(bus, lines, burst)
        self.ring = Reader(bus, self.config.weight_vectors, burst, True)
        self.fetch = Reader(bus, dispatch.BEATS, 1)
        self.happened = {name: Counter(events) for name in dispatch.EVENTS}
        # Passes: given to all units; taken by the engine and by the units behind it; walked.
        self.given, self.taken, self.finishing, self.walked = (Counter(events) for _ in range(4))
        self.passes: list[Pass] = []
        self.spans: list[tuple[float, float]] = []
        """First step of each pass, and the end of its last."""
        self.batches: deque[Batch] = deque()
        self.batched = Counter(events)
        """Batches of results that the array has announced."""
        self.gone = Counter(events)
        """Entries that have left the result FIFOs."""
        self.left = Counter(events)
        """Groups that have left the requantisers."""
        self.heads: list[tuple[float, int]] = [(0.0, 0)]
        """From when on the compute queue shows which layer."""
        self.fetched: dict[int, float] = {}
        """When the first LOAD or GATHER of each layer began."""
        self.layers = [LayerCycles() for _ in program.layers]
        self._complete: set[int] = set()

    def written(self, number: int) -> Callable[[], None]:
        """To call when all results of a pass are in their place; passes become so in order."""
        def call() -> None:
            self._complete.add(number)
            while self.happened["writes"].value in self._complete:
                self.happened["writes"].add()
        return call
