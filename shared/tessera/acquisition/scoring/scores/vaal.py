"""VAAL: probability that a region is labelled, by a discriminator on an autoencoder's latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import FeatureModel, Float32, RegionImage, Score
from tessera.acquisition.traits import ScoreTraits
from tessera.models.auxiliary import VaalParams

_BATCH = 128


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

    The segmentation network is not used; 0 … 1, low values are informative.
    """

    return Score(network=lambda tensors: LatentScore(params, tensors))


class LatentScore:
    """σ(D(μ)) of each region's box; the network is built once and run image by image."""

    def __init__(self, params: VaalParams, tensors: Mapping[str, Any]) -> None:
        from tessera.acquisition.scoring.auxiliary_networks import filled
        from tessera.models.vaal import LatentCritic

        self._size = params.size
        self._network = filled(LatentCritic(params.size, params.width, params.latent), tensors, "vaal")

    def __call__(self, model: FeatureModel | None, image: RegionImage) -> Float32:
        """See ``interfaces.NetworkScore``; the model is not used."""
        import torch

        from tessera.acquisition.scoring.auxiliary_networks import probabilities
        from tessera.models.resize import resized
        from tessera.models.vaal import pixels

        parts = []
        with torch.inference_mode():
            for start in range(0, len(image.boxes), _BATCH):
                crops = resized(image.rgb, image.boxes[start : start + _BATCH], self._size)
                parts.append(self._network(pixels(torch.from_numpy(crops))))
            return probabilities(torch.cat(parts))
