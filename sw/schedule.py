"""Pass `schedule`: bands, activation memory and the order of all steps.

Steps stand in the order of a plain sequential execution: the loads of a band, then its compute
instruction. `Hazards` adds the waits that let the engines overlap them. Which bands, and which maps
stay on chip, is found by a beam search over the layers with the timeline of `estimate`.

The images of a batch follow one another with the same bands; only places and waits differ. Loads of
an image that find room beside the last layers of the one before run while those are at work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from hw.config import Config

from .bands import bandings
from .choices import Weighed
from .errors import UserError
from .layers import Layer, Network
from .plan import Plan
from .steps import ComputeStep, GatherStep, LoadStep, Schedule

__all__ = ["ComputeStep", "GatherStep", "LoadStep", "Schedule", "schedule"]

BEAM = 6
"""Partial schedules that are followed at a time."""
PREVIEW = 3
"""Images after which each one takes as long as the one before."""

Judge = Callable[[Schedule, int], float]
"""The cycles that a schedule of so many images takes."""


def schedule(network: Network, config: Config, rate: float = 1.0, batch: int = 1,
             judge: Judge | None = None) -> Schedule:
    """Steps for `batch` images. `rate`: vectors a cycle from external memory. The timeline finds
    the best few schedules; `judge`, if given, has the last word on them.

    Raises UserError for a layer that does not fit, or more images than a program can count.
    """
    last_use = {}
    for layer in network.layers:
        last_use[layer.source.map.name] = layer.index
    stays = _may_stay(network)
    weighed = Weighed()
    beam = [Plan(config, rate)]
    for layer in network.layers:
        following = []
        for state in beam:
            for keep in (False, True) if layer.output.map.name in stays else (False,):
                for banding in bandings(layer, state.fits(layer, keep, weighed)):
                    advanced = state.copy()
                    found = advanced.run(layer, banding, keep, last_use)
                    if found:
                        following.append(advanced)
                    weighed.tried(layer, banding, keep, advanced.timeline.end if found else None)
        if not following:
            raise _too_large(layer, config)
        beam = _best(following)
    _check_batch(beam, batch)
    cycles = [_batch_end(state, last_use, batch) for state in beam]
    if judge:
        few = min(batch, PREVIEW)
        cycles = [round(judge(state.schedule(few, last_use), few) * end / _batch_end(
            state, last_use, few)) for end, state in zip(cycles, beam, strict=True)]
    best = beam[cycles.index(min(cycles))]
    choices = weighed.choices(best.choices, [
        (each, state.choices) for each, state in zip(cycles, beam, strict=True)])
    return dataclasses.replace(best.schedule(batch, last_use), cycles=min(cycles), choices=choices)


def _batch_end(state: Plan, last_use: dict[str, int], batch: int) -> int:
    """When the last of `batch` images is done, from the first few."""
    ends = [state.timeline.end]
    ahead = state.copy()
    for _ in range(1, min(batch, PREVIEW)):
        ahead.more_images(1, last_use)
        ends.append(ahead.timeline.end)
    return ends[-1] + (batch - len(ends)) * (ends[-1] - ends[-2]) if batch > 1 else ends[0]


def _check_batch(beam: list[Plan], batch: int) -> None:
    """Drop the schedules of which a program cannot hold `batch`. Raises UserError if none is left.
    """
    if batch < 1:
        raise UserError(f"a batch of {batch} images; 1 or more are supported")
    limits = {id(state): state.largest_batch() for state in beam}
    largest, what = max(limits.values())
    if batch > largest:
        raise UserError(f"a batch of {batch} images: {what}; a batch of at most {largest} is "
                        "supported" if largest else what)
    beam[:] = [state for state in beam if limits[id(state)][0] >= batch]


def _best(states: list[Plan]) -> list[Plan]:
    """The fastest states: first of all the fastest of those with the most room, whose next layer
    fits if it fits at all, then the fastest of every set of resident maps."""
    states.sort(key=lambda state: state.timeline.end)
    roomy = min(states, key=lambda state: state.occupied)
    seen = {frozenset(roomy.resident)}
    first, others = [roomy], []
    for state in states:
        key = frozenset(state.resident)
        if state is not roomy:
            (others if key in seen else first).append(state)
        seen.add(key)
    return (first + others)[:BEAM]


def _may_stay(network: Network) -> set[str]:
    """Maps that no one needs in external memory."""
    external = {output.place.map.name for output in network.outputs}
    external |= {layer.addition.operand.map.name for layer in network.layers if layer.addition}
    read = {layer.source.map.name for layer in network.layers}
    return {layer.output.map.name for layer in network.layers
            if layer.output.map.writers == 1 and not layer.average
            and layer.output.map.name in read} - external


def _too_large(layer: Layer, config: Config) -> UserError:
    what = "the rows that one band needs do"
    if layer.average:
        what = "a global average needs its layer in one band, and its input does"
    return UserError(f"layer '{layer.name}': {what} not fit the {config.act_vectors} vectors of "
                     "activation memory")
