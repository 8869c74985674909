"""Gradient embedding of a region: the classifier's gradient if the prediction were the truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import FeatureModel, Float32, RegionImage
from tessera.registry import Params


class BadgeFeatureParams(Params):
    """``sketch`` projects the C · 256 values to so many by random signs drawn from ``sketch_seed``; null keeps all."""

    sketch: int | None = Field(default=None, ge=1, le=65_536)
    sketch_seed: int = Field(default=0, ge=0)


@FEATURES.register("badge", BadgeFeatureParams)
def badge(model: FeatureModel, image: RegionImage, params: BadgeFeatureParams) -> Float32:
    """Mean over the pixels of each region of (p − onehot(ŷ)) ⊗ h: (n, C · 256) float32, class by class.

    Ash et al. 2020, eq. 1, for pixels: p is the softmax of the upsampled logits, ŷ its largest class (the lowest of
    equals) and h the classifier's input, upsampled as the logits are. Since the classifier is a 1×1 convolution and
    bilinear weights sum to 1, this is exactly the gradient, by the classifier's weights, of the region's mean cross
    entropy against its own prediction at full resolution. It is computed from sums over low-resolution cells; no array
    of size 256×H×W is made. With ``sketch`` k, inner products are kept up to about 1/√k. BadInput as in
    `region_map_of`.
    """
    from tessera.acquisition.pooling.random_projection import sketch
    from tessera.acquisition.pooling.region_maps import region_map_of
    from tessera.acquisition.pooling.weighted_means import weighted_means
    from tessera.acquisition.scoring.probabilities import probability_strips

    labels = region_map_of(image, "badge")
    taps = model.taps(image.rgb, ("decoder", "logits"))
    logits = taps["logits"]

    def strips() -> Iterator[tuple[int, Float32]]:
        for first, p, predicted in probability_strips(logits, (labels.shape[0], labels.shape[1])):
            np.put_along_axis(p, predicted[None], np.take_along_axis(p, predicted[None], axis=0) - 1, axis=0)
            yield first, p

    means = weighted_means(taps["decoder"], labels, image.region_ids, strips, len(logits))
    flat = means.reshape(len(means), -1)
    if params.sketch is None:
        return flat
    return sketch(flat, params.sketch, params.sketch_seed)
