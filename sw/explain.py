"""Why the schedule is as it is: the alternatives of every layer and what they cost, as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from .choices import Alternative, Choice, Refusal
from .estimate import divide, is_single
from .perf import LayerCycles, Prediction
from .program import Program
from .schedule import Schedule

__all__ = ["explain"]

SHOWN = 6
"""Alternatives of a layer that are printed one by one."""


def explain(schedule: Schedule, program: Program, prediction: Prediction) -> str:
    """For each layer the choice and what it overlaps with, then the alternatives with the cycles of
    the fastest schedule found with each: whole, or up to the layer's end if it was given up."""
    lines = []
    before: Choice | None = None
    for choice, its in zip(schedule.choices, prediction.layers, strict=True):
        ends = "the layer before ends" if before else "the start"
        layer, chosen = choice.layer, choice.chosen
        lines.append(f"{layer.name}: {_describe(chosen)}; input {_input(choice, before)}")
        lines.append(f"    strips and steps: {_strips(choice, program)}")
        lines.append(f"    {its.cycles:,d} cycles predicted, bound by {_bound(its)}; "
                     f"{_overlap(its, ends)}")
        lines += [f"    {line}" for line in _alternatives(
            choice, program.config.act_vectors)]
        before = choice
    return "\n".join(lines) + "\n"


def _describe(alternative: Alternative) -> str:
    rows = [end - first for first, end in alternative.bands]
    return _what(f"{_bands(len(rows))} of {_runs(rows)} rows", len(rows) > 1, alternative)


def _bands(count: int) -> str:
    return f"{count} band{'s' if count > 1 else ''}"


def _what(bands: str, several: bool, way: Alternative | Refusal) -> str:
    squeeze = ""
    if way.kept is not None and several:
        squeeze = ", squeeze rows " + ("kept" if way.kept else "computed again")
    return f"{bands}{squeeze}, result {'on chip' if way.on_chip else 'to memory'}"


def _runs(values: Iterable[int]) -> str:
    """`3x8 + 7` for three times 8, then 7."""
    parts = []
    for value, group in groupby(values):
        count = len(list(group))
        parts.append(f"{count}x{value}" if count > 1 else f"{value}")
    if len(parts) > 6:
        parts = [*parts[:3], "...", *parts[-2:]]
    return " + ".join(parts)


def _input(choice: Choice, before: Choice | None) -> str:
    if choice.layer.gather:
        return "gathered from the image"
    stays = before and before.chosen.on_chip and \
        before.layer.output.map.name == choice.layer.source.map.name
    return "on chip" if stays else "from memory"


def _strips(choice: Choice, program: Program) -> str:
    layer, config = choice.layer, program.config
    divisions = []
    for rows in choice.chosen.bands:
        pixels = (rows[1] - rows[0]) * layer.conv_shape[2]
        single = is_single(layer, rows, config)
        strips = divide(pixels, single, config)
        each = f"{strips.steps}" if not strips.long else f"{strips.steps} to {strips.longest}"
        divisions.append(f"{strips.count} x {each}" + (" of one pixel" if single else ""))
    return ", ".join(f"{_bands(len(list(group)))} of {text}" if len(divisions) > 1 else text
                     for text, group in groupby(divisions))


def _bound(its: LayerCycles) -> str:
    waits = {name: getattr(its, name)
             for name in ("loads", "gather", "weights", "results", "order")}
    text = ", ".join(f"{name} {cycles:,.0f}" for name, cycles in waits.items() if cycles >= 1)
    return f"{its.bound} (waits: {text})" if text else its.bound


def _overlap(its: LayerCycles, ends: str) -> str:
    """How far the layer's transfers run ahead of the end of the layer before."""
    if its.ahead is None:
        inputs = "nothing to load"
    elif its.ahead > 0:
        inputs = f"its input is fetched from {its.ahead:,.0f} cycles before {ends}"
    else:
        inputs = f"its input is fetched from {-its.ahead:,.0f} cycles after {ends}"
    return f"{inputs}, {its.weights_ahead:,d} vectors of its weights are there by then"


def _alternatives(choice: Choice, size: int) -> Iterator[str]:
    chosen = choice.chosen
    for each in choice.others[:SHOWN]:
        if each.whole is not None:
            yield (f"or {_describe(each)}: {each.whole:,d} cycles for all layers, "
                   f"{each.whole - chosen.whole:+,d}")
        else:
            yield (f"or {_describe(each)}: {each.cycles:,d} cycles to the end of this layer, "
                   f"{each.cycles - chosen.cycles:+,d}: given up")
    if len(choice.others) > SHOWN:
        worst = max(each.cycles for each in choice.others)
        yield (f"or {len(choice.others) - SHOWN} more, up to {worst - chosen.cycles:+,d} cycles "
               "to the end of this layer")
    for each in choice.refused:
        counts = each.counts
        what = _what(f"{counts[0]} to {_bands(counts[-1])}" if len(counts) > 1
                     else _bands(counts[0]), counts[-1] > 1, each)
        if each.needs is None:
            yield f"not {what}: finds no place in one piece"
        else:
            yield f"not {what}: does not fit, needs {each.needs:,d} of {size:,d} vectors"
    ways = [chosen, *choice.others, *choice.refused]
    if len(chosen.bands) > 1 and chosen.kept and all(each.kept for each in ways):
        yield "not weighed: squeeze rows computed again, for all of them find room"
