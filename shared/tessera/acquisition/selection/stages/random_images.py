"""The usual initial set: images drawn at random, with all their regions."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.errors import BadInput
from tessera.registry import Params


class RandomImagesParams(Params):
    """``images``: number of images drawn; MEAL starts from 2."""

    images: int = Field(default=2, ge=1)


@STAGES.register("random_images", RandomImagesParams)
def random_images(pool: Pool, params: RandomImagesParams, count: int, rng: np.random.Generator) -> Choice:
    """Draw ``images`` images and keep all their regions, in the order drawn, then by region_id.

    BadInput when fewer images are left.
    """
    left = np.unique(pool.image)
    if params.images > len(left):
        raise BadInput(
            f"selection stage random_images: {params.images} images are asked for and {len(left)} have unlabelled "
            "regions; lower images"
        )
    drawn = rng.permutation(left)[: params.images]
    rank = np.full(len(pool.image_names), -1, np.int64)
    rank[drawn] = np.arange(len(drawn))
    rows = np.flatnonzero(rank[pool.image] >= 0)
    rows = rows[np.argsort(rank[pool.image[rows]], kind="stable")].astype(np.int64)
    return Choice(rows, np.full(len(rows), np.nan), np.full(len(rows), -1, np.int64))
