"""Windows: the low-resolution cells that each region of the full-size map reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Axis, Int32
from tessera.compile import kernel

Int64 = npt.NDArray[np.int64]


@kernel
def measure(labels: Int32, slot: Int32, pixels: Int64, boxes: Int64) -> None:
    """Write pixel counts (n,) and half-open boxes (n, 4), y0, x0, y1, x1, of the regions that ``slot`` gives a row ≥ 0.

    Arrays: ``labels`` (H, W) int32, ``slot`` (ids,) int32, ``pixels`` and ``boxes`` int64, zero at first.
    """
    width = labels.shape[1]
    for y in range(labels.shape[0]):
        row = labels[y]
        x = 0
        while x < width:
            label, start = row[x], x
            while x < width and row[x] == label:
                x += 1
            r = slot[label]
            if r >= 0:
                if pixels[r] == 0:
                    boxes[r, 0] = y
                    boxes[r, 1] = start
                pixels[r] += x - start
                boxes[r, 1] = min(boxes[r, 1], start)
                boxes[r, 2] = y + 1
                boxes[r, 3] = max(boxes[r, 3], x)


def slots(labels: Int32, region_ids: npt.NDArray[np.integer[Any]]) -> Int32:
    """Return the row of each region id in ``region_ids``, −1 for all others."""
    slot = np.full(int(labels.max()) + 1, -1, np.int32)
    slot[np.asarray(region_ids)] = np.arange(len(region_ids))
    return slot


def windows(
    labels: Int32, region_ids: npt.NDArray[np.integer[Any]], vertical: Axis, horizontal: Axis
) -> tuple[Int64, Int64, Int64]:
    """Return pixels (n,), windows (n, 3) as first cell row, first cell column and cell columns, and cell rows (n,).

    A window covers all cells that bilinear interpolation reads in the region's box.
    """
    pixels, boxes = np.zeros(len(region_ids), np.int64), np.zeros((len(region_ids), 4), np.int64)
    measure(labels, slots(labels, region_ids), pixels, boxes)
    top, left = vertical[0][boxes[:, 0]].astype(np.int64), horizontal[0][boxes[:, 1]].astype(np.int64)
    heights = vertical[1][boxes[:, 2] - 1] - top + 1
    return pixels, np.stack([top, left, horizontal[1][boxes[:, 3] - 1] - left + 1], axis=1), heights


def parts(sizes: Int64, most: int) -> Iterator[tuple[int, int]]:
    """Cut the regions into consecutive parts of at most ``most`` cells, or of one region."""
    start, used = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and used + size > most:
            yield start, row
            start, used = row, 0
        used += size
    yield start, len(sizes)
