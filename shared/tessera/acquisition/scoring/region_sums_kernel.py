"""Accumulators over runs of equal label: one update of the region's state per run instead of one per pixel."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32, Float64, Int32
from tessera.compile import kernel


@kernel
def add_runs(labels: Int32, values: Float32, predicted: Int32, state: Float64) -> None:
    """``state[r, 0]`` += sum of the values of region r, float64; a run ends with its row, so strips cannot matter.

    Arrays: ``labels`` (rows, W) int32, ``values`` (rows, W) float32, ``predicted`` is not read, ``state`` (R, 1)
    float64.
    """
    width = labels.shape[1]
    for y in range(labels.shape[0]):
        x = 0
        while x < width:
            label = labels[y, x]
            total = np.float64(0.0)
            while x < width and labels[y, x] == label:
                total += values[y, x]
                x += 1
            state[label, 0] += total


@kernel
def max_runs(labels: Int32, values: Float32, predicted: Int32, state: Float64) -> None:
    """``state[r, 0]`` = maximum of itself and the values of region r; a NaN stays.

    Arrays: ``labels`` (rows, W) int32, ``values`` (rows, W) float32, ``predicted`` is not read, ``state`` (R, 1)
    float64.
    """
    width = labels.shape[1]
    for y in range(labels.shape[0]):
        for x in range(width):
            label = labels[y, x]
            value = np.float64(values[y, x])
            if value > state[label, 0] or value != value:
                state[label, 0] = value


@kernel
def add_with_extremes(labels: Int32, values: Float32, predicted: Int32, state: Float64) -> None:
    """``state[r]`` = (sum, minimum, maximum) of the values of region r, the sum as ``add_runs`` makes it.

    Arrays: ``labels`` (rows, W) int32, ``values`` (rows, W) float32, ``predicted`` is not read, ``state`` (R, 3)
    float64.
    """
    width = labels.shape[1]
    for y in range(labels.shape[0]):
        x = 0
        while x < width:
            label = labels[y, x]
            total = np.float64(0.0)
            low, high = values[y, x], values[y, x]
            while x < width and labels[y, x] == label:
                value = values[y, x]
                total += value
                low = value if value < low else low
                high = value if value > high else high
                x += 1
            state[label, 0] += total
            state[label, 1] = min(state[label, 1], np.float64(low))
            state[label, 2] = max(state[label, 2], np.float64(high))


@kernel
def add_by_class(labels: Int32, values: Float32, predicted: Int32, state: Float64) -> None:
    """``state[r, c]`` += sum of the values of region r where class c is predicted; runs are of region and class.

    Arrays: ``labels`` and ``predicted`` (rows, W) int32, ``values`` (rows, W) float32, ``state`` (R, C) float64.
    """
    width = labels.shape[1]
    for y in range(labels.shape[0]):
        x = 0
        while x < width:
            label, c = labels[y, x], predicted[y, x]
            total = np.float64(0.0)
            while x < width and labels[y, x] == label and predicted[y, x] == c:
                total += values[y, x]
                x += 1
            state[label, c] += total


@kernel
def keep_values(labels: Int32, values: Float32, predicted: Int32, state: tuple[Float32, np.ndarray]) -> None:
    """Append each value to its region's part of ``state[0]`` (H·W,); ``state[1]`` (R,) says where the next one goes.

    Arrays: ``labels`` (rows, W) int32, ``values`` (rows, W) float32, ``predicted`` is not read; ``state`` is
    float32 and int64.
    """
    kept, cursor = state
    width = labels.shape[1]
    for y in range(labels.shape[0]):
        x = 0
        while x < width:
            label = labels[y, x]
            at = cursor[label]
            while x < width and labels[y, x] == label:
                kept[at] = values[y, x]
                at += 1
                x += 1
            cursor[label] = at


@kernel
def top_means(kept: Float32, pixels: np.ndarray, counts: np.ndarray, means: Float64) -> None:
    """``means[r]`` = mean of the ``counts[r]`` highest of region r's ``pixels[r]`` values, ties and all, float64.

    Arrays: ``kept`` (H·W,) float32, ``pixels`` and ``counts`` (R,) int64, ``means`` (R,) float64.
    """
    start = 0
    for r in range(pixels.shape[0]):
        part = kept[start : start + pixels[r]]
        least = np.partition(part, pixels[r] - counts[r])[pixels[r] - counts[r]]
        total, above = np.float64(0.0), 0
        for i in range(part.shape[0]):
            if part[i] > least:
                total += part[i]
                above += 1
        means[r] = (total + (counts[r] - above) * np.float64(least)) / counts[r]
        start += pixels[r]


@kernel
def count(labels: Int32, pixels: np.ndarray) -> None:
    """``pixels[r]`` += number of pixels of region r, int64.

    Arrays: ``labels`` (rows, W) int32, ``pixels`` (R,) int64.
    """
    width = labels.shape[1]
    for y in range(labels.shape[0]):
        x = 0
        while x < width:
            label = labels[y, x]
            start = x
            while x < width and labels[y, x] == label:
                x += 1
            pixels[label] += x - start
