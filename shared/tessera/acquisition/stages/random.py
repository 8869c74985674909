"""Regions drawn uniformly: the random arm."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.registry import Params


class RandomParams(Params):
    """``count`` null draws what the budget can pay for."""

    count: int | None = Field(default=None, ge=1)


@STAGES.register("random", RandomParams)
def random(pool: Pool, params: RandomParams, count: int, rng: np.random.Generator) -> Choice:
    """Distinct regions in random order, each subset equally likely."""
    rows = rng.permutation(len(pool))[: params.count if params.count is not None else count].astype(np.int64)
    return Choice(rows, np.full(len(rows), np.nan), np.full(len(rows), -1, np.int64))
