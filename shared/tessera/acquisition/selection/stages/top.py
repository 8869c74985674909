"""The highest (or lowest) scores."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.registry import Params


class TopParams(Params):
    """``count`` null keeps what the budget can pay for."""

    by: str
    count: int | None = Field(default=None, ge=1)
    descending: bool = True


@STAGES.register("top", TopParams, StageTraits(needs_scores=True))
def top(pool: Pool, params: TopParams, count: int, rng: np.random.Generator) -> Choice:
    """Rank by column ``by``; equal scores by image_id, then region_id. Keeps all when ``count`` exceeds the pool."""
    score = pool.score(params.by, "top")
    # The pool is sorted by (image_id, region_id) and the sort is stable.
    order = np.argsort(-score if params.descending else score, kind="stable")
    rows = order[: params.count if params.count is not None else count].astype(np.int64)
    return Choice(rows, score[rows], np.full(len(rows), -1, np.int64))
