"""Mean of a low-resolution feature map over regions, with the bilinear weights folded in: nothing of size D×H×W."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.compile import kernel
from tessera.acquisition.fused import axis_weights
from tessera.acquisition.interfaces import Float32, Float64, Int32

_BLOCK_ELEMENTS = 1 << 23


@kernel
def fold(
    labels: Int32,
    slot: Int32,
    vertical: tuple[Int32, Int32, Float32],
    horizontal: tuple[Int32, Int32, Float32],
    weights: Float64,
    width: int,
) -> None:
    """``weights[slot[label], cell]`` += the share of each cell (row-major, ``width`` a row) in the region's pixels."""
    for y in range(labels.shape[0]):
        top, bottom, v = vertical[0][y] * width, vertical[1][y] * width, np.float64(vertical[2][y])
        for x in range(labels.shape[1]):
            r = slot[labels[y, x]]
            if r >= 0:
                left, right, u = horizontal[0][x], horizontal[1][x], np.float64(horizontal[2][x])
                weights[r, top + left] += (1.0 - v) * (1.0 - u)
                weights[r, top + right] += (1.0 - v) * u
                weights[r, bottom + left] += v * (1.0 - u)
                weights[r, bottom + right] += v * u


def region_means(
    features: Float32, region_map: npt.NDArray[np.integer[Any]], region_ids: npt.NDArray[np.integer[Any]]
) -> Float32:
    """Mean (n, D) float32 over each region of ``features`` (D, h, w) upsampled bilinearly to the map's (H, W).

    Regions are taken some at a time, so that the weights (regions × cells, float64) stay below 64 MiB.
    """
    dimension, height, width = features.shape
    labels = np.ascontiguousarray(region_map, np.int32)
    vertical, horizontal = axis_weights(height, labels.shape[0]), axis_weights(width, labels.shape[1])
    cells = features.reshape(dimension, height * width).T.astype(np.float64)
    result = np.empty((len(region_ids), dimension), np.float32)
    step = max(1, _BLOCK_ELEMENTS // (height * width))
    for start in range(0, len(region_ids), step):
        ids = np.asarray(region_ids[start : start + step])
        slot = np.full(int(labels.max()) + 1, -1, np.int32)
        slot[ids] = np.arange(len(ids))
        weights = np.zeros((len(ids), height * width))
        fold(labels, slot, vertical, horizontal, weights, width)
        result[start : start + step] = (weights @ cells) / weights.sum(axis=1, keepdims=True)
    return result
