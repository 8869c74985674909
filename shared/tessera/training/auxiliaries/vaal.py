"""VAAL: an autoencoder that hides which images are labelled from a discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tessera.models.auxiliary import VaalParams
from tessera.registry import Params
from tessera.training import Progress
from tessera.training.auxiliary import AUXILIARIES, AuxiliaryTraits, FeatureMap, Regions, TrainedAuxiliary


@AUXILIARIES.register("vaal", VaalParams, AuxiliaryTraits(needs_model=False))
def vaal(
    params: Params,
    regions: Regions,
    images: Sequence[Any],
    features: FeatureMap | None,
    seed: int,
    progress: Progress,
    device: str,
) -> TrainedAuxiliary:
    """Train autoencoder and discriminator in turn on the images of the pool; the task's network has no part in it."""
    from tessera.training.vaal import run

    assert isinstance(params, VaalParams)  # noqa: S101 - narrows for the type checker
    return run(params, regions, images, seed, progress, device)
