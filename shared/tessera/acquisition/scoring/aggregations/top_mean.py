"""Mean over the highest pixels of a region."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tessera.acquisition import AGGREGATIONS
from tessera.acquisition.interfaces import Aggregation, Float64
from tessera.acquisition.traits import AggregationTraits
from tessera.registry import Params


class TopMeanParams(Params):
    """``fraction`` of the region's pixels, in (0, 1]; at least one pixel counts."""

    fraction: float = Field(default=0.1, gt=0.0, le=1.0)


@AGGREGATIONS.register("top_mean", TopMeanParams, AggregationTraits(keeps_pixels=True))
def top_mean(params: TopMeanParams) -> Aggregation:
    """Mean of the k = max(1, ⌈q·|s|⌉) highest u(x) of the region, exact; small uncertain parts count.

    The image's values are kept by region, 4 bytes per pixel of one image and nothing per class. With t the k-th
    highest, the result is (Σ_{u>t} u + (k − #{u>t})·t) / k, summed in row-major order, so neither strips nor ties
    matter.
    """
    from tessera.acquisition.scoring.region_sums_kernel import keep_values, top_means

    def finish(state: Any, pixels: npt.NDArray[np.int64]) -> Float64:
        # The small amount keeps ⌈0.1 · 10⌉ at 1 in floating point.
        counts = np.maximum(1, np.ceil(params.fraction * pixels - 1e-9)).astype(np.int64)
        means = np.empty(len(pixels))
        top_means(state[0], pixels, counts, means)
        return means

    return Aggregation(keep_values, "pixels", finish)
