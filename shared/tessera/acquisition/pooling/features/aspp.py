"""Mean of the ASPP's output over a region, or over the cells of a grid laid on it: the Core-set space."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import FeatureModel, Float32, Int32, RegionImage
from tessera.acquisition.traits import FeatureTraits
from tessera.registry import Params

Side = Annotated[int, Field(ge=1, le=64)]


class AsppParams(Params):
    """``grid`` [rows, columns] cuts each region's box into cells of equal size; null: the region as a whole.

    With partition ``image`` and grid [2, 2] it is the Best-Practices study's Core-set vector of 4 × 256 values.
    """

    grid: tuple[Side, Side] | None = None


def _bank(params: AsppParams) -> str | None:
    return "aspp" if params.grid is None else None


@FEATURES.register("aspp", AsppParams, FeatureTraits(bank=_bank))
def aspp(model: FeatureModel, image: RegionImage, params: AsppParams) -> Float32:
    """Mean of the ASPP's 256-channel map, upsampled bilinearly, over each region: (n, 256) float32.

    With a grid, (n, rows · columns · 256): the means over the region's pixels in each cell of its box, row by row; the
    region's own mean where a cell has none of its pixels. The study's code pools the map's cells instead (average
    pooling 20 × 20 of a 321 crop). Here pixels are averaged, so the grid need not divide the map. BadInput as in
    `region_map_of`.
    """
    from tessera.acquisition.pooling.region_maps import region_map_of
    from tessera.acquisition.pooling.region_means import region_means

    labels = region_map_of(image, "aspp")
    features = model.taps(image.rgb, ("aspp",))["aspp"]
    if params.grid is None:
        return region_means(features, labels, image.region_ids)
    cells, (rows, columns) = _gridded(labels, image, params.grid), params.grid
    each = rows * columns
    present = np.unique(cells)
    present = present[present >= 0]
    # Ids must be ≥ 0; the pixels of all other regions share one more id.
    other = len(image.region_ids) * each
    means = region_means(features, np.where(cells < 0, other, cells), present)
    whole = region_means(features, labels, image.region_ids)
    result = np.repeat(whole, each, axis=0)
    result[present] = means
    return np.asarray(result.reshape(len(image.region_ids), -1), np.float32)


def _gridded(labels: Int32, image: RegionImage, grid: tuple[int, int]) -> Int32:
    """Return a map (H, W) of row · cells + cell, with the region's row in ``region_ids``; −1 elsewhere."""
    slot = np.full(int(labels.max()) + 1, -1, np.int64)
    slot[image.region_ids] = np.arange(len(image.region_ids))
    row = slot[labels]
    y0, x0, y1, x1 = (image.boxes[np.maximum(row, 0), side].astype(np.int64) for side in range(4))
    y, x = np.indices(labels.shape)
    down = np.clip((y - y0) * grid[0] // np.maximum(y1 - y0, 1), 0, grid[0] - 1)
    right = np.clip((x - x0) * grid[1] // np.maximum(x1 - x0, 1), 0, grid[1] - 1)
    return np.where(row < 0, -1, (row * grid[0] + down) * grid[1] + right).astype(np.int32)
