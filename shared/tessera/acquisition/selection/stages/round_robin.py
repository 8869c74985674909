"""The best region of each predicted class in turn."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.registry import Params


class RoundRobinParams(Params):
    """``by`` orders the regions of a class, column ``classes`` says which class a region is predicted to be."""

    by: str
    classes: str = "predicted_majority"
    count: int | None = Field(default=None, ge=1)
    descending: bool = True


@STAGES.register("round_robin", RoundRobinParams, StageTraits(needs_scores=True, columns=("classes",)))
def round_robin(pool: Pool, params: RoundRobinParams, count: int, rng: np.random.Generator) -> Choice:
    """Rank by turns: the best region of every class, then the second best of every class, and so on.

    Within a turn by score. Equal scores by image_id, then region_id. A class without regions left is skipped, so that
    the regions of rare classes run out first. Cluster: the class.
    """
    score = pool.score(params.by, "round_robin")
    classes = pool.score(params.classes, "round_robin").astype(np.int64)
    key = -score if params.descending else score
    order = np.lexsort((np.arange(len(pool)), key, classes))
    _, starts, sizes = np.unique(classes[order], return_index=True, return_counts=True)
    turn = np.arange(len(pool)) - np.repeat(starts, sizes)
    order = order[np.lexsort((order, key[order], turn))]
    rows = order[: params.count if params.count is not None else count].astype(np.int64)
    return Choice(rows, score[rows], classes[rows])
