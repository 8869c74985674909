"""VAAL: how much a region looks labelled to a discriminator on an autoencoder's latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import NetworkScore, Score
from tessera.acquisition.traits import ScoreTraits
from tessera.models.auxiliary import VaalParams


@SCORES.register(
    "vaal",
    VaalParams,
    ScoreTraits(
        needs_model=False,
        needs_auxiliary="vaal",
        low_is_worth_asking=True,
        aggregates=("mean",),
        why="is one value per region",
    ),
)
def vaal(params: VaalParams) -> Score:
    """P(labelled) = σ(D(μ(x))), x the region's box resized (Sinha et al. 2019, algorithm 2: the lowest are asked).

    The segmentation network has no part in it; 0 … 1, low values are the ones to ask about.
    """

    def load(tensors: Mapping[str, Any]) -> NetworkScore:
        from tessera.acquisition.scoring.auxiliary_networks import Vaal

        return Vaal(params, tensors)

    return Score(network=load)
