"""Forward passes for score columns: the backbone runs once, and once more for the mirror image."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tessera.acquisition.interfaces import Float32, PassSet
from tessera.formats import predictors
from tessera.formats.manifests import ImageItem

if TYPE_CHECKING:
    from tessera.models.predictor import Predictor


def logits_of(
    predictor: Predictor, item: ImageItem, rgb: NDArray[np.uint8], wanted: Collection[PassSet], seed: int
) -> tuple[Float32, dict[PassSet, list[Float32]]]:
    """Return the image's logits (C, h, w) float32, and those of every further pass wanted, of equal shape."""
    low, high = predictors.maps(predictor, item.image, rgb)
    found: dict[PassSet, list[Float32]] = {}
    mirrored: Float32 | None = None
    for passes in wanted:
        if passes.kind == "dropout":
            seeds = [pass_seed(seed, item.image_id, index) for index in range(passes.times)]
            found[passes] = predictor.mc_logits_of(low, high, seeds)
            continue
        if mirrored is None:
            mirrored = predictor.logits_of(*predictors.maps(predictor, item.image, rgb, mirrored=True))
        # Upsampling is symmetric, so mirroring the low-resolution map mirrors the full-resolution one.
        found[passes] = [np.ascontiguousarray(mirrored[:, :, ::-1]) if passes.kind == "flip" else mirrored]
    return predictor.logits_of(low, high), found


def pass_seed(seed: int, image_id: str, index: int) -> int:
    """Return the seed of one dropout pass over one image, which depends on these three values alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{image_id}/{index}".encode()).digest()[:8], "big") >> 1
