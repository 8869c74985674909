"""The mean softmax of a region: the shares of its predicted classes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import Column, FeatureModel, Float32, RegionImage
from tessera.registry import Params

_COLUMNS = {
    "probabilities": Column("probabilities", "probability", "mean"),
    "classes": Column("classes", "predicted", "by_class"),
}


class SoftmaxHistogramParams(Params):
    """``of`` probabilities: the mean softmax; classes: the share of pixels predicted as each; both: one, then other."""

    of: Literal["probabilities", "classes", "both"] = "probabilities"


@FEATURES.register("softmax_histogram", SoftmaxHistogramParams)
def softmax_histogram(model: FeatureModel, image: RegionImage, params: SoftmaxHistogramParams) -> Float32:
    """Mean softmax, shares of predicted classes, or both side by side, of each region: (n, C or 2C) float32, sums 1.

    Straight from the low-resolution logits, by the fused pass. BadInput as in `region_map_of`.
    """
    from tessera.acquisition.pooling.region_maps import region_map_of
    from tessera.acquisition.scoring import region_scores

    labels = region_map_of(image, "softmax_histogram")
    logits = model.taps(image.rgb, ("logits",))["logits"]
    columns = [column for name, column in _COLUMNS.items() if params.of in (name, "both")]
    made = region_scores.score_regions(logits, labels, columns, 0, "being described")
    parts = [made[f"{column.name}_{index}"] for column in columns for index in range(len(logits))]
    values = np.stack(parts, axis=1)[image.region_ids]
    if params.of != "probabilities":
        pixels = np.bincount(labels.ravel(), minlength=len(values))[image.region_ids]
        values[:, -len(logits) :] /= pixels[:, None]
    return np.asarray(values, np.float32)
