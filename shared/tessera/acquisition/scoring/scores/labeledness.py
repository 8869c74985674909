"""MAL's labeledness: the discriminator's probability that a region is labelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import NetworkScore, Score
from tessera.acquisition.traits import ScoreTraits
from tessera.models.auxiliary import DiscriminatorParams


@SCORES.register(
    "labeledness",
    DiscriminatorParams,
    ScoreTraits(
        needs_auxiliary="discriminator", low_is_worth_asking=True, aggregates=("mean",), why="is one value per region"
    ),
)
def labeledness(params: DiscriminatorParams) -> Score:
    """P(labelled) = σ(D(f̂)) of the region's features, each pixel's of length 1 (MAL §3.3, condition 1); 0 … 1.

    Low values are informative. D reads the part of the image's map that the region's box covers: for whole images,
    which the paper asks about, all of it.
    """

    def load(tensors: Mapping[str, Any]) -> NetworkScore:
        from tessera.acquisition.scoring.auxiliary_networks import Labeledness

        return Labeledness(params, tensors)

    return Score(network=load)
