"""k-means with one cluster per region of the budget, then the best region of each cluster."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.errors import BadInput
from tessera.registry import Params


class KMeansParams(Params):
    """``count`` null makes as many clusters as the budget can pay for.

    With a budget in clicks or seconds that is an upper bound, so give the expected number of answers.
    """

    by: str
    count: int | None = Field(default=None, ge=1)
    iterations: int = Field(default=20, ge=0, le=1000)
    """Lloyd iterations at most; they end when no region changes its cluster."""
    greedy: bool = False
    """Seed with the greedy variant of k-means++."""


@STAGES.register("kmeans", KMeansParams, StageTraits(needs_embedding=True, needs_scores=True))
def kmeans(pool: Pool, params: KMeansParams, count: int, rng: np.random.Generator) -> Choice:
    """Choose the region of highest ``by`` in each of k clusters (superpixel-contrastive, Algorithm 1, lines 4 and 5).

    Ranked by score; equal scores by image_id, then region_id. For an empty cluster (duplicate points) the best region
    that no cluster chose is added. BadInput when k > n.
    """
    from tessera.acquisition.clustering import kmeans as clustering

    if pool.embedding is None:
        raise BadInput("selection stage kmeans: there is no embedding; add selection.embedding to the recipe")
    score = pool.score(params.by, "kmeans")
    k = params.count if params.count is not None else count
    seeds = clustering.seed(pool.embedding, k, rng, params.greedy)
    _, assignment = clustering.lloyd(pool.embedding, pool.embedding[seeds], params.iterations)
    rows = clustering.best_per_cluster(assignment, score, k)
    rows = rows[rows >= 0]
    empty = k - len(rows)
    if empty:
        rest = np.setdiff1d(np.arange(len(pool)), rows)
        rows = np.concatenate([rows, rest[np.argsort(-score[rest], kind="stable")][:empty]])
    rows = np.sort(rows)
    rows = rows[np.argsort(-score[rows], kind="stable")].astype(np.int64)
    note = f"{empty} of {k} clusters are empty; filled with the highest scores" if empty else ""
    return Choice(rows, score[rows], np.asarray(assignment[rows], np.int64), note)
