"""Mean of the image's map after min-max scaling, the Best Practices code's image score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tessera.acquisition import AGGREGATIONS
from tessera.acquisition.interfaces import Aggregation, Float64
from tessera.registry import Params


def _scaled(state: Float64, pixels: npt.NDArray[np.int64]) -> Float64:
    low, high = float(state[:, 1].min()), float(state[:, 2].max())
    if not low < high:  # a constant map scores 0
        return np.zeros(len(pixels))
    return (state[:, 0] / pixels - low) / (high - low)


@AGGREGATIONS.register("minmax_mean", Params)
def minmax_mean(params: Params) -> Aggregation:
    """Σ_x (u(x) − min u) / (max u − min u) / |s|, minimum and maximum over the image; 0 where the map is constant.

    The published code scales each image's map to 0 … 255 before it averages; 0 … 1 ranks alike. It ranks images by the
    shape of their map and not by its level, so it is another score than ``mean``. Linear: no second pass is needed.
    """
    from tessera.acquisition.scoring.region_sums_kernel import add_with_extremes

    return Aggregation(add_with_extremes, (0.0, float("inf"), float("-inf")), _scaled)
