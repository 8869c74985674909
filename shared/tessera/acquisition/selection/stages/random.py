"""Regions drawn uniformly: the random arm, and random candidates for the stages after it."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from tessera.acquisition import STAGES
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.registry import Params


class RandomParams(Params):
    """``count`` null draws what the budget can pay for; ``share`` draws that share of the stage's input."""

    count: int | None = Field(default=None, ge=1)
    share: float | None = Field(default=None, gt=0.0, le=1.0)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.count is not None and self.share is not None:
            raise ValueError("give either count or share, not both")
        return self


@STAGES.register("random", RandomParams)
def random(pool: Pool, params: RandomParams, count: int, rng: np.random.Generator) -> Choice:
    """Draw distinct regions in random order, each subset equally likely."""
    keep = params.count if params.count is not None else count
    if params.share is not None:
        keep = int(np.ceil(params.share * len(pool)))
    rows = rng.permutation(len(pool))[:keep].astype(np.int64)
    return Choice(rows, np.full(len(rows), np.nan), np.full(len(rows), -1, np.int64))
