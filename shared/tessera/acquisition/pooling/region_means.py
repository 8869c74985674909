"""Mean of a low-resolution feature map over regions, by bilinear weights per cell: no array of size D×H×W.

The mean over a region of an interpolated map is a sum over cells, Σ_cell W[cell] F[cell], with W[cell] the region's
share of the cell's bilinear weights. W is sparse: only the window of cells under the region's box is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Axis, Float32, Float64, Int32
from tessera.acquisition.pooling.windows import Int64, parts, slots, windows
from tessera.acquisition.scoring.fused_pass import axis_weights
from tessera.compile import kernel

_MOST_WEIGHTS = 1 << 23


@kernel
def fold(
    labels: Int32,
    slot: Int32,
    vertical: Axis,
    horizontal: Axis,
    window: Int64,
    starts: Int64,
    weights: Float64,
) -> None:
    """Add each pixel's four bilinear weights to the windows of its region; ``weights`` (cells,) float64.

    Row r of ``window`` is that of `windows.windows`; its cells follow each other, row by row, from ``starts[r]``. Runs
    of a row that read the same two columns of cells are added at once, by sums of weights over the row's beginning.

    Arrays: ``labels`` (H, W) int32, ``slot`` (ids,) int32, ``window`` (n, 3) and ``starts`` (n,) int64;
    ``vertical`` and ``horizontal`` as `Axis`.
    """
    width = labels.shape[1]
    left, right = horizontal[0], horizontal[1]
    # Σ of the upper weight over columns before x, and the first column after x that reads other cells.
    before, other = np.zeros(width + 1, np.float64), np.empty(width, np.int64)
    for x in range(width):
        before[x + 1] = before[x] + horizontal[2][x]
    for x in range(width - 1, -1, -1):
        same = x + 1 < width and left[x + 1] == left[x] and right[x + 1] == right[x]
        other[x] = other[x + 1] if same else x + 1
    for y in range(labels.shape[0]):
        row = labels[y]
        top, bottom, v = vertical[0][y], vertical[1][y], np.float64(vertical[2][y])
        x = 0
        while x < width:
            label, start = row[x], x
            while x < width and row[x] == label:
                x += 1
            r = slot[label]
            if r < 0:
                continue
            upper = starts[r] + (top - window[r, 0]) * window[r, 2] - window[r, 1]
            lower = starts[r] + (bottom - window[r, 0]) * window[r, 2] - window[r, 1]
            while start < x:
                stop = min(x, other[start])
                rights = before[stop] - before[start]
                lefts = (stop - start) - rights
                weights[upper + left[start]] += (1.0 - v) * lefts
                weights[upper + right[start]] += (1.0 - v) * rights
                weights[lower + left[start]] += v * lefts
                weights[lower + right[start]] += v * rights
                start = stop


@kernel
def channels_last(features: Float32, out: Float32) -> None:
    """``out`` (cells, D) = transpose of ``features`` (D, cells), in tiles that fit the cache.

    Arrays: ``out`` and ``features`` are float32.
    """
    dimension, cells = features.shape
    for first in range(0, cells, 64):
        for d0 in range(0, dimension, 16):
            for cell in range(first, min(first + 64, cells)):
                for d in range(d0, min(d0 + 16, dimension)):
                    out[cell, d] = features[d, cell]


@kernel
def weigh(
    cells: Float32, columns: int, window: Int64, heights: Int64, weights: Float64, pixels: Int64, out: Float32
) -> None:
    """``out`` (n, D) = Σ weight · ``cells`` (h·columns, D) / pixels; float32 along a row of cells, float64 across.

    Arrays: ``out`` and ``cells`` float32, ``window`` (n, 3), ``heights`` (n,) and ``pixels`` (n,) int64,
    ``weights`` (cells of all windows,) float64.
    """
    dimension = cells.shape[1]
    at = 0
    total, part = np.empty(dimension, np.float64), np.empty(dimension, np.float32)
    for r in range(out.shape[0]):
        total[:] = 0.0
        for i in range(heights[r]):
            part[:] = np.float32(0.0)
            begin = (window[r, 0] + i) * columns + window[r, 1]
            for j in range(window[r, 2]):
                weight = np.float32(weights[at])
                at += 1
                if weight != np.float32(0.0):
                    cell = cells[begin + j]
                    for d in range(dimension):
                        part[d] += weight * cell[d]
            for d in range(dimension):
                total[d] += part[d]
        mean = out[r]
        for d in range(dimension):
            mean[d] = total[d] / pixels[r]


def region_means(
    features: Float32, region_map: npt.NDArray[np.integer[Any]], region_ids: npt.NDArray[np.integer[Any]]
) -> Float32:
    """Return means (n, D) float32 over each region of ``features`` (D, h, w) upsampled bilinearly to the map's (H, W).

    Every region must have a pixel. Equal to 2e-6 of the largest feature to the mean in float64 over the upsampled map.
    A map that lies channels last in memory, as networks make it, is not copied. Regions are processed in groups, so
    that their weights stay below 64 MiB or are one region's.
    """
    dimension, height, width = features.shape
    labels = np.ascontiguousarray(region_map, np.int32)
    vertical, horizontal = axis_weights(height, labels.shape[0]), axis_weights(width, labels.shape[1])
    pixels, window, heights = windows(labels, region_ids, vertical, horizontal)
    cells = cells_of(features)
    result = np.empty((len(region_ids), dimension), np.float32)
    for start, stop in parts(heights * window[:, 2], _MOST_WEIGHTS):
        part = slice(start, stop)
        slot, sizes = slots(labels, region_ids[part]), heights[part] * window[part, 2]
        weights = np.zeros(int(sizes.sum()))
        fold(labels, slot, vertical, horizontal, window[part], np.cumsum(sizes) - sizes, weights)
        weigh(cells, width, window[part], heights[part], weights, pixels[part], result[part])
    return result


def cells_of(features: Float32) -> Float32:
    """Return (h·w, D) float32, each cell's features side by side."""
    dimension, height, width = features.shape
    last = features.transpose(1, 2, 0)
    if last.flags.c_contiguous and last.dtype == np.float32:
        return last.reshape(height * width, dimension)
    out = np.empty((height * width, dimension), np.float32)
    channels_last(np.ascontiguousarray(features, np.float32).reshape(dimension, height * width), out)
    return out
