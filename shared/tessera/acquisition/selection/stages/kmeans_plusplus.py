"""Diverse regions: k-means++ seeds in the embedding, the last step of MEAL's selection."""

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
    """Choose k regions by k-means++ seeding, in the order drawn: actual regions, no Lloyd iterations.

    With this stage a recipe selects as MEAL does (its §3.2 to §3.4 and Algorithm 1). For the pool U of unlabelled
    regions s with pixels Ω_s, softmax p(c | x) and backbone features f(x):

    1. informativeness: a(s) = 1/|Ω_s| Σ_{x∈Ω_s} −Σ_c p(c | x) ln p(c | x) (§3.3; ``entropy``, ``aggregate: mean``);
    2. shortlist: I = the N_I regions of U with the largest a(s) (stage ``top``); the others stay in U;
    3. representation: z(s) = UMAP(1/|Ω_s| Σ_{x∈Ω_s} f(x)) ∈ R², for s ∈ I (§3.2 and §3.4; ``features: backbone``,
       ``projection: umap``, fitted on the whole pool once, or, in MEAL-FT, on I in every round);
    4. diversity: S = {s_1}, s_1 uniform in I; then s_{j+1} = s with probability D(s)² / Σ_{t∈I} D(t)², where
       D(s) = min_{t∈S} ‖z(s) − z(t)‖, until |S| = k, the round's budget (§3.4; this stage).

    Stages 1 to 3 are in ``scoring/scores/entropy.py``, ``selection/stages/top.py`` and ``projections/umap/fit.py``;
    step 4 is computed by `clustering.seeding.kmeans_plusplus`. BadInput without an embedding, or when k exceeds the
    pool.
    """
    if pool.embedding is None:
        raise BadInput("selection stage kmeans_plusplus: there is no embedding; add selection.embedding to the recipe")
    k = params.count if params.count is not None else count
    return Choice(seeding.kmeans_plusplus(pool.embedding, k, rng, params.local_trials))
