"""The compiler: an ordered list of named passes from the typed graph to a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hw.config import VECTOR, Config

from .bounds import check_bounds
from .emit import emit
from .errors import UserError
from .graph import Graph
from .layers import Network
from .lower import lower
from .perf import Memory, predict
from .program import Program
from .rewrite import rewrite
from .schedule import Schedule, schedule

__all__ = ["PASSES", "Compilation", "compile_graph"]


@dataclass
class Compilation:
    """What the passes work on; each fills in the next field."""

    graph: Graph
    config: Config
    rate: float = 1.0
    batch: int = 1
    memory: Memory | None = None
    network: Network | None = None
    schedule: Schedule | None = None
    program: Program | None = None


def _rewrite(work: Compilation) -> None:
    work.graph = rewrite(work.graph, work.config)


def _lower(work: Compilation) -> None:
    work.network = lower(work.graph, work.config)


def _bounds(work: Compilation) -> None:
    check_bounds(work.network, work.config)


def _schedule(work: Compilation) -> None:
    memory = work.memory or Memory(width=VECTOR * work.rate)

    def judge(plan: Schedule, batch: int) -> float:
        program = emit(work.graph, work.network, plan, work.config, batch)
        return predict(program, memory).cycles

    work.schedule = schedule(work.network, work.config, work.rate, work.batch, judge)


def _emit(work: Compilation) -> None:
    work.program = emit(work.graph, work.network, work.schedule, work.config, work.batch)


PASSES: tuple[tuple[str, Callable[[Compilation], None]], ...] = (
    ("rewrite", _rewrite), ("lower", _lower), ("bounds", _bounds), ("schedule", _schedule),
    ("emit", _emit))
"""Name and function, in order."""


def compile_graph(graph: Graph, config: Config, rate: float = 1.0,
                  after: Callable[[str, Compilation], Any] | None = None, *,
                  batch: int = 1, memory: Memory | None = None) -> Program:
    """Compile for one core. `rate`: vectors a cycle that external memory gives; `batch`: images
    that one run of the program processes in a row; `memory`: what the cycle model knows of the
    memory, by default no more than its rate.

    `after(name, compilation)` is called after each pass. Raises UserError, naming the model.
    """
    work = Compilation(graph, config, rate, batch, memory)
    for name, run in PASSES:
        try:
            run(work)
        except UserError as error:
            prefix = f"{graph.source}: " if graph.source else ""
            message = str(error)
            raise UserError(message if message.startswith(prefix) else prefix + message) from None
        if after:
            after(name, work)
    return work.program
