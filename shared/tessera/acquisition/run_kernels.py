"""Accumulators over runs of equal label: one update of the region's state a run instead of one a pixel."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.compile import kernel
from tessera.acquisition.interfaces import Float32, Float64, Int32


@kernel
def add_runs(labels: Int32, values: Float32, predicted: Int32, state: Float64) -> None:
    """``state[r, 0]`` += sum of the values of region r, float64; a run ends with its row, so strips cannot matter."""
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
    """``state[r, 0]`` = maximum of itself and the values of region r; a NaN stays."""
    width = labels.shape[1]
    for y in range(labels.shape[0]):
        for x in range(width):
            label = labels[y, x]
            value = np.float64(values[y, x])
            if value > state[label, 0] or value != value:
                state[label, 0] = value


@kernel
def count(labels: Int32, pixels: np.ndarray) -> None:
    """``pixels[r]`` += number of pixels of region r, int64."""
    width = labels.shape[1]
    for y in range(labels.shape[0]):
        x = 0
        while x < width:
            label = labels[y, x]
            start = x
            while x < width and labels[y, x] == label:
                x += 1
            pixels[label] += x - start
