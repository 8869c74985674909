"""Scores of regions straight from low-resolution logits: one fused pass for every column asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition import AGGREGATIONS, SCORES
from tessera.acquisition.interfaces import Aggregation, Column, Columns, Float32, Float64, Int32, PixelScore
from tessera.errors import BadInput

_STRIP_BYTES = 1 << 20
_Axis = tuple[Int32, Int32, Float32]


def needs_model(columns: Columns) -> bool:
    """Whether any column reads the network's output; False means that no image has to be opened."""
    return any(bool(SCORES.entry(column.score).traits["needs_model"]) for column in columns)


def score_regions(
    logits: Float32 | None,
    region_map: npt.NDArray[np.integer[Any]],
    columns: Columns,
    seed: int,
    image_id: str,
) -> dict[str, Float32]:
    """One float32 value (R,) a column for the regions of one image, R = largest id + 1.

    ``logits`` (C, h, w) float32 at the network's own resolution, None when no column needs a model; ``region_map``
    (H, W) holds dense ids from 0. Logits are upsampled bilinearly (align_corners=False), put through softmax, scored
    and summed strip by strip; sums are float64 in row-major order, so results do not depend on strips or shards.
    BadInput for an empty map, gaps in the ids, logits that are not finite, or a column that needs missing logits.
    """
    labels = np.ascontiguousarray(region_map, np.int32)
    pixels = _region_pixels(labels, image_id)
    plan = _plan(columns)
    result = {
        column: score.astype(np.float32)
        for column, score in _draws(plan.draws, seed, image_id, np.arange(len(pixels), dtype=np.int64)).items()
    }
    if plan.tasks:
        if logits is None:
            names = ", ".join(sorted(column for task in plan.tasks for column, _ in task.finish))
            raise BadInput(f"image {image_id}: score column {names} needs a model and none was given; name a model")
        states = _fused_pass(_checked(logits, image_id), labels, plan, len(pixels))
        for task, state in zip(plan.tasks, states, strict=True):
            for column, aggregation in task.finish:
                result[column] = aggregation.finish(state, pixels).astype(np.float32)
    return {column.name: result[column.name] for column in columns}


def draw_regions(
    columns: Columns, seed: int, image_id: str, region_ids: npt.NDArray[np.integer[Any]]
) -> dict[str, Float32]:
    """Columns that need no model, for the given regions of one image: no map and no pixels needed."""
    plan = _plan(columns)
    if plan.tasks:
        raise BadInput(f"image {image_id}: score column {plan.tasks[0].finish[0][0]} needs a model and none was given")
    return _draws(plan.draws, seed, image_id, region_ids)


@dataclass(frozen=True)
class _Task:
    """One pixel score through one accumulator, and the columns that are read off the result."""

    score: int
    aggregation: Aggregation
    finish: list[tuple[str, Aggregation]]


@dataclass(frozen=True)
class _Plan:
    pixel_scores: list[PixelScore]
    tasks: list[_Task]
    draws: list[tuple[str, Any]]


def _plan(columns: Columns) -> _Plan:
    pixel: dict[tuple[str, str], int] = {}
    plan = _Plan([], [], [])
    shared: dict[tuple[int, int, tuple[float, ...]], _Task] = {}
    for column in columns:
        score = SCORES.entry(column.score).function(SCORES.parameters(column.score, column.score_parameters))
        if score.region is not None:
            if column.aggregation != "mean":
                raise BadInput(
                    f"score column {column.name}: {column.score} is drawn once a region, so it cannot be aggregated "
                    f"by {column.aggregation!r}; use aggregate: mean"
                )
            plan.draws.append((column.name, score.region))
            continue
        assert score.pixel is not None  # noqa: S101  # Score holds exactly one of the two
        key = (column.score, column.score_parameters)
        if key not in pixel:
            pixel[key] = len(plan.pixel_scores)
            plan.pixel_scores.append(score.pixel)
        entry = AGGREGATIONS.entry(column.aggregation)
        aggregation = entry.function(AGGREGATIONS.parameters(column.aggregation, column.aggregation_parameters))
        task_key = (pixel[key], id(aggregation.accumulate), aggregation.start)
        if task_key not in shared:
            shared[task_key] = _Task(pixel[key], aggregation, [])
            plan.tasks.append(shared[task_key])
        shared[task_key].finish.append((column.name, aggregation))
    return plan


def _draws(
    draws: Iterable[tuple[str, Any]], seed: int, image_id: str, region_ids: npt.NDArray[np.integer[Any]]
) -> dict[str, Float32]:
    return {name: function(seed, image_id, region_ids) for name, function in draws}


def _region_pixels(labels: Int32, image_id: str) -> npt.NDArray[np.int64]:
    if labels.ndim != 2 or labels.size == 0:
        raise BadInput(f"image {image_id}: the region map has shape {labels.shape}; it must be H×W and not empty")
    if int(labels.min()) < 0:
        raise BadInput(f"image {image_id}: the region map holds id {int(labels.min())}; ids start at 0")
    if int(labels.max()) >= labels.size:
        raise BadInput(f"image {image_id}: region id {int(labels.max())} exceeds the pixel count; ids must be dense")
    from tessera.acquisition.run_kernels import count

    pixels = np.zeros(int(labels.max()) + 1, np.int64)
    count(labels, pixels)
    if not pixels.all():
        raise BadInput(f"image {image_id}: region {int(np.argmin(pixels))} has no pixels; ids must be dense from 0")
    return pixels


def _checked(logits: Float32, image_id: str) -> Float32:
    if logits.ndim != 3 or 0 in logits.shape:
        raise BadInput(f"image {image_id}: logits have shape {logits.shape}; they must be C×h×w and not empty")
    if not np.isfinite(logits).all():
        raise BadInput(f"image {image_id}: the model's logits hold NaN or infinity; the weights are damaged")
    return np.ascontiguousarray(logits, np.float32)


def axis_weights(size_in: int, size_out: int) -> _Axis:
    """(lower index, upper index, upper weight) of every output position; torch's rule for align_corners=False."""
    scale = np.float32(size_in) / np.float32(size_out)
    position = (np.arange(size_out, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    position = np.maximum(position, np.float32(0.0))
    lower = np.minimum(position.astype(np.int32), np.int32(size_in - 1))
    upper = np.minimum(lower + np.int32(1), np.int32(size_in - 1))
    weight = np.clip(position - lower.astype(np.float32), np.float32(0.0), np.float32(1.0))
    return lower.astype(np.int32), upper.astype(np.int32), weight.astype(np.float32)


def _fused_pass(logits: Float32, labels: Int32, plan: _Plan, regions: int) -> list[Float64]:
    from tessera.acquisition.softmax_kernel import softmax_strip

    classes, (height, width) = logits.shape[0], labels.shape
    vertical, horizontal = axis_weights(logits.shape[1], height), axis_weights(logits.shape[2], width)
    states = [np.tile(np.array(task.aggregation.start, np.float64), (regions, 1)) for task in plan.tasks]
    rows = min(height, max(1, _STRIP_BYTES // (8 * classes * width)))
    above, below = np.empty((2, classes, width), np.float32)
    shifted, exps = np.empty((2, classes, rows * width), np.float32)
    total, log_total = np.empty((2, rows * width), np.float32)
    values = np.empty((len(plan.pixel_scores), rows * width), np.float32)
    for first in range(0, height, rows):
        strip = min(rows, height - first)
        if strip < rows:  # the last strip: contiguous buffers of its own size
            shifted, exps = np.empty((2, classes, strip * width), np.float32)
            total, log_total = np.empty((2, strip * width), np.float32)
            values = np.empty((len(plan.pixel_scores), strip * width), np.float32)
        softmax_strip(logits, first, strip, vertical, horizontal, above, below, shifted, exps, total, log_total)
        for index, score in enumerate(plan.pixel_scores):
            score(shifted, exps, total, log_total, values[index])
        for task, state in zip(plan.tasks, states, strict=True):
            part = values[task.score].reshape(strip, width)
            task.aggregation.accumulate(labels[first : first + strip], part, state)
    return states


__all__ = ["Column", "axis_weights", "draw_regions", "needs_model", "score_regions"]
