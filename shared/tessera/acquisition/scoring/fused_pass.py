"""The fused pass: sums over regions from low-resolution logits, strip by strip, for all columns at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition import AGGREGATIONS, SCORES
from tessera.acquisition.interfaces import (
    Aggregation,
    Axis,
    Column,
    Columns,
    Float32,
    Float64,
    Int32,
    PassSet,
    Score,
    Strip,
)
from tessera.acquisition.scoring.passes import Passes, blank_strip
from tessera.errors import BadInput

STRIP_BYTES = 1 << 20
NEEDS = frozenset({"softmax", "second", "predicted", "exps"})


@dataclass(frozen=True)
class Task:
    """One pixel score with one accumulator, and the columns that read the result."""

    score: int
    aggregation: Aggregation
    finish: list[tuple[str, Aggregation]]


@dataclass(frozen=True)
class Plan:
    """The work of one pass over an image; ``draws`` are the columns that need no pixels."""

    scores: list[Score] = field(default_factory=list)
    # Whether each of ``scores`` has one value per class.
    per_class: list[bool] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    # Columns that are sums of the softmax over each region, which need no plane.
    class_sums: list[tuple[str, Aggregation]] = field(default_factory=list)
    draws: list[tuple[str, Any]] = field(default_factory=list)

    def modelled(self) -> list[str]:
        """Return the columns that need a model."""
        return [name for task in self.tasks for name, _ in task.finish] + [name for name, _ in self.class_sums]

    def needs(self) -> frozenset[str]:
        """Return the parts of the strip that some column reads."""
        wanted = {need for score in self.scores for need in score.needs}
        wanted |= {need for score in self.scores if score.over and score.over.plain for need in score.over.needs}
        if any(task.aggregation.start == "classes" for task in self.tasks):
            wanted.add("predicted")
        if "exps" in wanted or self.class_sums:
            wanted.add("softmax")
        if not wanted <= NEEDS:
            raise AssertionError(f"scores need {sorted(wanted - NEEDS)}; a strip has {sorted(NEEDS)}")
        return frozenset(wanted)


def is_vector(column: Column) -> bool:
    """Return whether the column has one value per class; BadInput where score and aggregation do not go together."""
    score, aggregation = SCORES.entry(column.score), AGGREGATIONS.entry(column.aggregation)
    allowed = score.traits.aggregates
    if allowed and column.aggregation not in allowed:
        raise BadInput(
            f"score column {column.name}: {column.score} {score.traits.why}, so it cannot be aggregated by "
            f"{column.aggregation!r}; use aggregate: {' or '.join(allowed)}"
        )
    by_score, by_class = score.traits.per_class, aggregation.traits.by_class
    if by_score and by_class:
        raise BadInput(
            f"score column {column.name}: {column.score} already has one value per class, so {column.aggregation} "
            "cannot split it by class again; use aggregate: mean"
        )
    if by_score and aggregation.traits.keeps_pixels:
        raise BadInput(
            f"score column {column.name}: {column.aggregation} keeps every pixel's value and {column.score} has one "
            "per class, too many for a large image; use aggregate: mean"
        )
    return by_score or aggregation.traits.per_class


def plan_of(columns: Columns) -> Plan:
    """Group the columns so that each pixel score is computed once and each accumulation done once."""
    pixel: dict[tuple[str, str], int] = {}
    plan = Plan()
    shared: dict[tuple[Any, ...], Task] = {}
    for column in columns:
        is_vector(column)
        entry = SCORES.entry(column.score)
        score: Score = entry.function(SCORES.parameters(column.score, column.score_parameters))
        if score.region is not None:
            plan.draws.append((column.name, score.region))
            continue
        if score.network is not None:
            raise BadInput(
                f"score column {column.name}: {column.score} is made by an auxiliary network, not from logits"
            )
        chosen = AGGREGATIONS.entry(column.aggregation)
        aggregation = chosen.function(AGGREGATIONS.parameters(column.aggregation, column.aggregation_parameters))
        if score.softmax and _adds(aggregation):
            plan.class_sums.append((column.name, aggregation))
            continue
        key = (column.score, column.score_parameters)
        if key not in pixel:
            pixel[key] = len(plan.scores)
            plan.scores.append(score)
            plan.per_class.append(entry.traits.per_class)
        task_key = (pixel[key], id(aggregation.accumulate), aggregation.start)
        if task_key not in shared:
            shared[task_key] = Task(pixel[key], aggregation, [])
            plan.tasks.append(shared[task_key])
        shared[task_key].finish.append((column.name, aggregation))
    return plan


def _adds(aggregation: Aggregation) -> bool:
    from tessera.acquisition.scoring.region_sums_kernel import add_runs

    return aggregation.accumulate is add_runs


def draws(
    drawn: Iterable[tuple[str, Any]], seed: int, image_id: str, region_ids: npt.NDArray[np.integer[Any]]
) -> dict[str, Float32]:
    """Compute the columns that need no pixels, one value per region (R,) float32 each."""
    return {name: function(seed, image_id, region_ids) for name, function in drawn}


def axis_weights(size_in: int, size_out: int) -> Axis:
    """Return (lower index, upper index, upper weight) of every output position, as torch with align_corners=False."""
    scale = np.float32(size_in) / np.float32(size_out)
    position = (np.arange(size_out, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    position = np.maximum(position, np.float32(0.0))
    lower = np.minimum(position.astype(np.int32), np.int32(size_in - 1))
    upper = np.minimum(lower + np.int32(1), np.int32(size_in - 1))
    weight = np.clip(position - lower.astype(np.float32), np.float32(0.0), np.float32(1.0))
    return lower.astype(np.int32), upper.astype(np.int32), weight.astype(np.float32)


def run(
    logits: Float32,
    labels: Int32,
    plan: Plan,
    pixels: npt.NDArray[np.int64],
    extra: Mapping[PassSet, Sequence[Float32]] | None = None,
) -> dict[str, Float64]:
    """Return every pixel column: (R,), or (R, C) for a vector; ``labels`` (H, W) dense, ``pixels`` (R,) their counts.

    ``extra`` holds the logits of further passes, shaped like ``logits``.
    """
    from tessera.acquisition.scoring.softmax_kernel import fill_and_sum

    classes, (height, width) = logits.shape[0], labels.shape
    needs = plan.needs()
    vertical, horizontal = axis_weights(logits.shape[1], height), axis_weights(logits.shape[2], width)
    sums = np.zeros((len(pixels), classes) if plan.class_sums else (0, 0))
    states = [_states(task, plan, pixels, classes) for task in plan.tasks]
    rows = min(height, max(1, STRIP_BYTES // (4 * _planes(plan, needs, classes) * width)))
    strip, values = _buffers(plan, needs, classes, rows * width)
    passes = Passes(plan.scores, extra or {}, vertical, horizontal)
    for first in range(0, height, rows):
        depth = min(rows, height - first)
        if depth < rows:  # the last strip: contiguous buffers of its own size
            strip, values = _buffers(plan, needs, classes, depth * width)
        part = labels[first : first + depth]
        fill_and_sum(logits, first, depth, (vertical, horizontal), strip, part, sums)
        for score, out in zip(plan.scores, values, strict=True):
            if score.pixel is not None:
                score.pixel(strip, out)
        passes.score(strip, first, depth, values)
        predicted = strip.predicted.reshape(-1, width) if len(strip.predicted) else np.empty((0, 0), np.int32)
        for task, state in zip(plan.tasks, states, strict=True):
            planes = values[task.score].reshape(-1, depth, width)
            for plane, one in zip(planes, state, strict=True):
                task.aggregation.accumulate(part, plane, predicted, one)
    result = {}
    for task, state in zip(plan.tasks, states, strict=True):
        for column, aggregation in task.finish:
            planes_out = [aggregation.finish(one, pixels) for one in state]
            result[column] = np.stack(planes_out, axis=1) if plan.per_class[task.score] else planes_out[0]
    for column, aggregation in plan.class_sums:
        planes_out = [aggregation.finish(sums[:, c : c + 1], pixels) for c in range(classes)]
        result[column] = np.stack(planes_out, axis=1)
    return result


def _states(task: Task, plan: Plan, pixels: npt.NDArray[np.int64], classes: int) -> list[Any]:
    """Return a state for each plane of the task's score."""
    regions, start = len(pixels), task.aggregation.start
    planes = classes if plan.per_class[task.score] else 1
    if start == "classes":
        return [np.zeros((regions, classes)) for _ in range(planes)]
    if start == "pixels":
        cursor = np.cumsum(pixels) - pixels
        return [(np.empty(int(pixels.sum()), np.float32), cursor.copy()) for _ in range(planes)]
    return [np.tile(np.array(start, np.float64), (regions, 1)) for _ in range(planes)]


def _planes(plan: Plan, needs: frozenset[str], classes: int) -> int:
    """Count the values per pixel that a strip and its scores hold."""
    strip = 3 * ("softmax" in needs) + ("second" in needs) + ("predicted" in needs) + classes * ("exps" in needs)
    kept = sum(classes + score.over.width(classes) for score in plan.scores if score.over)
    return strip + kept + sum(classes if vector else 1 for vector in plan.per_class)


def _buffers(plan: Plan, needs: frozenset[str], classes: int, n: int) -> tuple[Strip, list[Float32]]:
    strip = blank_strip(needs, classes, n)
    return strip, [np.empty((classes, n) if vector else n, np.float32) for vector in plan.per_class]
