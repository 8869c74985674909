"""Sums over regions of weight × feature, the features upsampled bilinearly but never at full size.

A region's sum Σ_x v(x) F(x), where F(x) is interpolated between low-resolution cells, equals Σ_cell W[cell] F[cell]
with W[cell] = Σ_x v(x) b(x, cell) and b the bilinear weights. Only the cells under a region's box are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Axis, Float32, Float64, Int32
from tessera.acquisition.pooling.region_means import cells_of
from tessera.acquisition.pooling.windows import Int64, parts, slots, windows
from tessera.acquisition.scoring.fused_pass import axis_weights
from tessera.compile import kernel

Strips = Callable[[], Iterable[tuple[int, Float32]]]
"""function() → the strips of an image: first row, and K values per pixel (K, rows, W) float32; called for each use."""

_MOST_WEIGHTS = 1 << 23


class RegionCells(NamedTuple):
    """Where the cells of each region lie among the weights."""

    slot: Int32
    """(ids,) int32, row of each region id, −1 for regions that are left out; see `windows.slots`."""
    window: Int64
    """(n, 3) int64, first cell row, first cell column and cell columns of each region."""
    starts: Int64
    """(n,) int64, index of each region's first cell; its cells follow each other, row by row."""


@kernel
def fold_values(
    labels: Int32, first: int, values: Float32, axes: tuple[Axis, Axis], regions: RegionCells, weights: Float64
) -> None:
    """Add the strip ``values`` (K, rows, W) float32, whose first row is ``first``, to ``weights`` (cells, K) float64.

    ``labels`` (H, W) int32 is the region map, ``axes`` the bilinear weights of its rows and columns.
    """
    (vertical, horizontal), (slot, windows, starts) = axes, regions
    for k in range(values.shape[1]):
        y = first + k
        top, bottom, v = vertical[0][y], vertical[1][y], np.float64(vertical[2][y])
        for x in range(labels.shape[1]):
            r = slot[labels[y, x]]
            if r < 0:
                continue
            left, right, u = horizontal[0][x], horizontal[1][x], np.float64(horizontal[2][x])
            upper = starts[r] + (top - windows[r, 0]) * windows[r, 2] - windows[r, 1]
            lower = starts[r] + (bottom - windows[r, 0]) * windows[r, 2] - windows[r, 1]
            for c in range(values.shape[0]):
                value = np.float64(values[c, k, x])
                weights[upper + left, c] += (1.0 - v) * (1.0 - u) * value
                weights[upper + right, c] += (1.0 - v) * u * value
                weights[lower + left, c] += v * (1.0 - u) * value
                weights[lower + right, c] += v * u * value


@kernel
def inverse_lengths(products: Float64, vertical: Axis, horizontal: Axis, out: Float32) -> None:
    """Write 1 / ‖F(x)‖ (H, W) of interpolated vectors, from inner products of neighbouring cells; 0 where F(x) is 0.

    ``products`` (5, h, w): of each cell with itself, its right, its lower and its lower right neighbour, and of its
    right with its lower one (cells beyond the border repeat it).

    Arrays: ``products`` float64, ``out`` (H, W) float32.
    """
    h, w = products.shape[1], products.shape[2]
    for y in range(out.shape[0]):
        i, v = vertical[0][y], np.float64(vertical[2][y])
        below = min(i + 1, h - 1)
        for x in range(out.shape[1]):
            j, u = horizontal[0][x], np.float64(horizontal[2][x])
            beside = min(j + 1, w - 1)
            a, b, c, d = (1.0 - v) * (1.0 - u), (1.0 - v) * u, v * (1.0 - u), v * u
            square = a * a * products[0, i, j] + b * b * products[0, i, beside]
            square += c * c * products[0, below, j] + d * d * products[0, below, beside]
            square += 2.0 * (a * b * products[1, i, j] + c * d * products[1, below, j])
            square += 2.0 * (a * c * products[2, i, j] + b * d * products[2, i, beside])
            square += 2.0 * (a * d * products[3, i, j] + b * c * products[4, i, j])
            out[y, x] = np.float32(1.0 / np.sqrt(square)) if square > 1e-24 else np.float32(0.0)


def weighted_means(
    features: Float32,
    region_map: npt.NDArray[np.integer[Any]],
    region_ids: npt.NDArray[np.integer[Any]],
    strips: Strips,
    count: int,
) -> Float32:
    """Return the mean (n, K, D) float32 over the pixels x of each region of v(x) ⊗ F(x), exact at the map's (H, W).

    v are the ``strips``' K = ``count`` values per pixel and F is ``features`` (D, h, w) upsampled bilinearly
    (align_corners=False); every region must have a pixel. Regions are processed in groups, so that the weights stay
    near 64 MiB; the strips are computed again per group.
    """
    labels = np.ascontiguousarray(region_map, np.int32)
    vertical = axis_weights(features.shape[1], labels.shape[0])
    horizontal = axis_weights(features.shape[2], labels.shape[1])
    cells = cells_of(features).reshape(*features.shape[1:], -1)
    pixels, window, heights = windows(labels, region_ids, vertical, horizontal)
    made: list[Float32] = []
    for start, stop in parts(heights * window[:, 2], _MOST_WEIGHTS // count):
        ids = np.asarray(region_ids[start:stop])
        slot = slots(labels, ids)
        sizes = heights[start:stop] * window[start:stop, 2]
        starts = np.cumsum(sizes) - sizes
        weights = np.zeros((int(sizes.sum()), count))
        places = RegionCells(slot, window[start:stop], starts)
        for first, values in strips():
            given = np.ascontiguousarray(values, np.float32)
            fold_values(labels, first, given, (vertical, horizontal), places, weights)
        for row in range(start, stop):
            top, left, columns = window[row].tolist()
            own = weights[starts[row - start] : starts[row - start] + sizes[row - start]]
            part = cells[top : top + heights[row], left : left + columns].reshape(len(own), -1)
            made.append((own.T @ part.astype(np.float64) / pixels[row]).astype(np.float32))
    return np.stack(made)


def scales(features: Float32, shape: tuple[int, int]) -> Float32:
    """Return 1 / length (H, W) of each pixel's vector of ``features`` (D, h, w), upsampled bilinearly to ``shape``."""
    height, width = features.shape[1:]
    cells = cells_of(features).reshape(height, width, -1)
    products = np.empty((5, height, width))
    for i in range(height):
        here, below = (
            np.pad(cells[row], ((0, 1), (0, 0)), "edge").astype(np.float64) for row in (i, min(i + 1, height - 1))
        )
        own, right, down, across = here[:-1], here[1:], below[:-1], below[1:]
        pairs = ((own, own), (own, right), (own, down), (own, across), (right, down))
        products[:, i] = [np.einsum("wd,wd->w", one, other) for one, other in pairs]
    out = np.empty(shape, np.float32)
    inverse_lengths(products, axis_weights(features.shape[1], shape[0]), axis_weights(features.shape[2], shape[1]), out)
    return out
