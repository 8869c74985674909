"""Diverse and uncertain at once: D² sampling over gradient embeddings."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.errors import BadInput
from tessera.registry import Params


class BadgeStageParams(Params):
    """``count`` null draws what the budget can pay for."""

    count: int | None = Field(default=None, ge=1)
    first: Literal["max_norm", "random"] = "max_norm"
    """The first centre: the longest gradient, as in the authors' code, or drawn uniformly, as in k-means++."""


@STAGES.register("badge", BadgeStageParams, StageTraits(needs_embedding=True))
def badge(pool: Pool, params: BadgeStageParams, count: int, rng: np.random.Generator) -> Choice:
    """Choose k-means++ seeds of the gradients, in the order drawn (Ash et al. 2020, Algorithm 1, line 8).

    The embedding is meant to be features ``badge`` without a projection. A region with a short gradient (a certain one)
    lies near the others like it and is drawn rarely. Score: the gradient's length. BadInput when k > n.
    """
    if pool.embedding is None:
        raise BadInput("selection stage badge: there is no embedding; add selection.embedding with features badge")
    from tessera.acquisition.clustering.d2_sampling import d2_sample

    length = np.sqrt(np.einsum("nd,nd->n", pool.embedding, pool.embedding))
    first = int(length.argmax()) if params.first == "max_norm" else None
    k = params.count if params.count is not None else count
    rows = d2_sample(pool.embedding.astype(np.float32), k, rng, first)
    return Choice(rows, length[rows], np.full(len(rows), -1, np.int64))
