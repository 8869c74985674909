"""MAL's discriminator of labelled from unlabelled features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tessera.models.auxiliary import DiscriminatorParams
from tessera.registry import Params
from tessera.training import Progress
from tessera.training.auxiliary import AUXILIARIES, AuxiliaryTraits, FeatureMap, Regions, TrainedAuxiliary


@AUXILIARIES.register("discriminator", DiscriminatorParams, AuxiliaryTraits(needs_model=True))
def discriminator(
    params: Params,
    regions: Regions,
    images: Sequence[Any],
    features: FeatureMap,
    seed: int,
    progress: Progress,
    device: str,
) -> TrainedAuxiliary:
    """Train D on the detached features of the trained network (MAL Eq. 3; Algorithm 1 line 11: D alone is updated)."""
    from tessera.training.labeledness import run

    assert isinstance(params, DiscriminatorParams)  # noqa: S101 - narrows for the type checker
    return run(params, regions, images, features, seed, progress, device)
