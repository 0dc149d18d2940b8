"""Engines of `sw.evaluate` that compute a model in integers: golden operators, and the core."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hw.presets import DEFAULT_PRESET, parse_config
from sw.compiler import compile_graph
from sw.errors import Failure
from sw.image import load_input
from sw.importer import import_model

from .golden import graph as golden
from .simulator import CoreSimulator
from .tail import host_tail

__all__ = ["Golden", "Rtl"]


class Golden:
    """The model on the golden operators."""

    def __init__(self, path: str | Path, preprocess: str = "auto") -> None:
        self.graph = import_model(path)
        self.preprocess = preprocess

    def scores(self, file: Path) -> np.ndarray:
        values = golden.run(self.graph, load_input(file, self.graph, self.preprocess))
        return values[self.graph.outputs[0]]

    def close(self) -> None:
        """Nothing to end."""


class Rtl:
    """The model on the simulated core of a configuration (as `sim.run --config` names it)."""

    def __init__(self, path: str | Path, preprocess: str = "auto",
                 config: str = DEFAULT_PRESET) -> None:
        self.graph = import_model(path)
        self.preprocess = preprocess
        core = parse_config(config)
        program = compile_graph(self.graph, core)
        self.simulator = CoreSimulator(core)
        self.simulator.load(program)

    def scores(self, file: Path) -> np.ndarray:
        image = golden.input_integers(
            self.graph, load_input(file, self.graph, self.preprocess))
        try:
            run = self.simulator.infer(image)
        except Failure as error:
            raise Failure(f"{file}: {error}") from None
        return host_tail(self.graph, run.tensors)[self.graph.outputs[0]]

    def close(self) -> None:
        self.simulator.close()
