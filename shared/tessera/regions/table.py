"""Tables of regions: each one's size and bounding box, known without its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput


@dataclass(frozen=True)
class RegionTable:
    """Sizes and boxes of the regions 0 … R-1 of one map."""

    pixels: NDArray[np.int32]
    """(R,) pixel count of each region, at least 1."""
    boxes: NDArray[np.int32]
    """(R, 4) half-open boxes: y0, x0, y1, x1."""

    def __len__(self) -> int:
        return len(self.pixels)

    def box(self, region_id: int) -> tuple[int, int, int, int]:
        """Return the box (y0, x0, y1, x1) of one region; BadInput if the map has no such region."""
        if not 0 <= region_id < len(self.pixels):
            raise BadInput(f"region {region_id} does not exist: the map has regions 0 to {len(self.pixels) - 1}")
        y0, x0, y1, x1 = self.boxes[region_id].tolist()
        return y0, x0, y1, x1


def require_map_of(image: str, image_shape: Sequence[int], map_shape: Sequence[int]) -> None:
    """Raise BadInput unless a region map has the height and width of ``image``, which opens the message."""
    if tuple(map_shape) != tuple(image_shape[:2]):
        raise BadInput(
            f"{image} is {image_shape[1]}×{image_shape[0]} pixels and its region map {map_shape[1]}×{map_shape[0]}; "
            "partition the data set again"
        )


def region_table(regions: NDArray[np.int32]) -> RegionTable:
    """Count the pixels and find the box of every region of an int (H, W) map with dense ids.

    One bincount and four scatters, independent of the number of regions. BadInput: the map is empty, has negative ids,
    or skips an id.
    """
    if regions.ndim != 2 or regions.size == 0:
        raise BadInput(f"region map of shape {regions.shape}; it must be a non-empty height × width array")
    if int(regions.min()) < 0:
        raise BadInput(f"region map holds the negative id {int(regions.min())}; ids are 0 to R-1")
    flat = regions.ravel()
    pixels = np.bincount(flat)
    if (pixels == 0).any():
        raise BadInput(f"region map skips id {int(np.argmin(pixels > 0))} of 0 to {len(pixels) - 1}; compact it first")
    height, width = regions.shape
    boxes = np.empty((len(pixels), 4), dtype=np.int32)
    # Assignment through a repeated index keeps the last value: walking the pixels forwards leaves the largest
    # coordinate of each region, walking backwards the smallest.
    rows = np.repeat(np.arange(height, dtype=np.int32), width)
    boxes[flat, 2] = rows + 1
    boxes[flat[::-1], 0] = rows[::-1]
    by_column = regions.T.ravel()
    columns = np.repeat(np.arange(width, dtype=np.int32), height)
    boxes[by_column, 3] = columns + 1
    boxes[by_column[::-1], 1] = columns[::-1]
    return RegionTable(pixels.astype(np.int32), boxes)


def compact(regions: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Renumber any integer (H, W) map to dense ids in order of first appearance, row by row.

    Returns the map, int32, and the old id of every new id, int64 (R,). The numbering depends only on the shapes of the
    regions, not on how a library happened to number them.
    """
    old, first, inverse = np.unique(regions.ravel(), return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(old), dtype=np.int32)
    rank[order] = np.arange(len(old), dtype=np.int32)
    return rank[inverse].reshape(regions.shape), old[order].astype(np.int64)
