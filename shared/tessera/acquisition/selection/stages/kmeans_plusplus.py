"""Diverse regions: k-means++ seeds in the embedding."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.clustering import seeding
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.errors import BadInput
from tessera.registry import Params


class KMeansPlusPlusParams(Params):
    """``count`` null draws what the budget can pay for; ``local_trials`` > 1 is the greedy variant."""

    count: int | None = Field(default=None, ge=1)
    local_trials: int = Field(default=1, ge=1, le=64)


@STAGES.register("kmeans_plusplus", KMeansPlusPlusParams, StageTraits(needs_embedding=True))
def kmeans_plusplus(pool: Pool, params: KMeansPlusPlusParams, count: int, rng: np.random.Generator) -> Choice:
    """Seeds, actual points, in the order drawn (MEAL §3.4: the initialisation of k-means, no Lloyd iterations)."""
    if pool.embedding is None:
        raise BadInput("selection stage kmeans_plusplus: there is no embedding; add selection.embedding to the recipe")
    k = params.count if params.count is not None else count
    return Choice(seeding.kmeans_plusplus(pool.embedding, k, rng, params.local_trials))
