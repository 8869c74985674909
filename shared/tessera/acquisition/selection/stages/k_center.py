"""Coverage: each region is the one farthest from everything labelled or chosen before it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.neighbours.exact import directions
from tessera.acquisition.selection.labelled import labelled_points
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.errors import BadInput
from tessera.registry import Params


class KCenterParams(Params):
    """``count`` null chooses what the budget can pay for.

    ``subset`` is the share of the pool, drawn at random, that may be chosen (DEAL: 0.4 to 0.5); 1 is Sener's.
    """

    count: int | None = Field(default=None, ge=1)
    metric: Literal["euclidean", "cosine"] = "euclidean"
    subset: float = Field(default=1.0, gt=0.0, le=1.0)


@STAGES.register("k_center", KCenterParams, StageTraits(needs_embedding=True, needs_labelled_embedding=True))
def k_center(pool: Pool, params: KCenterParams, count: int, rng: np.random.Generator) -> Choice:
    """Greedy k-center (Sener & Savarese 2018, Algorithm 1) in the order chosen, the labelled regions being centres.

    u = arg max_i min_{j labelled or chosen} d(x_i, x_j); ties by image_id, then region_id. Cosine distance is taken as
    the Euclidean one of directions, which orders alike. BadInput when k > n, or without the embedding of the labelled
    regions.
    """
    from tessera.acquisition.clustering.k_center import greedy

    if pool.embedding is None:
        raise BadInput("selection stage k_center: there is no embedding; add selection.embedding to the recipe")
    k = params.count if params.count is not None else count
    n = len(pool)
    among = np.arange(n)
    if params.subset < 1.0 and k <= n:
        among = np.sort(rng.permutation(n)[: max(k, int(np.ceil(params.subset * n)))])
    points, labelled = pool.embedding[among], labelled_points(pool, "k_center")
    if params.metric == "cosine":
        points, labelled = directions(points), directions(labelled)
    first = None if len(labelled) else int(rng.integers(len(points)))
    rows = greedy(points.astype(np.float32), labelled.astype(np.float32), k, first)
    return Choice(among[rows].astype(np.int64))
