"""The regions farthest from the labelled ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.neighbours.exact import directions, nearest
from tessera.acquisition.selection.labelled import labelled_points
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.errors import BadInput
from tessera.registry import Params


class KnnParams(Params):
    """``count`` null keeps what the budget can pay for; ``neighbors`` counts labelled regions."""

    count: int | None = Field(default=None, ge=1)
    neighbors: int = Field(default=5, ge=1, le=1000)
    reduce: Literal["mean", "kth"] = "mean"
    """Mean distance to the nearest labelled regions, or the distance to the last of them."""
    metric: Literal["euclidean", "cosine"] = "euclidean"


@STAGES.register("knn", KnnParams, StageTraits(needs_embedding=True, needs_labelled_embedding=True))
def knn(pool: Pool, params: KnnParams, count: int, rng: np.random.Generator) -> Choice:
    """Rank by the distance to the k nearest labelled regions, farthest first; ties by image_id, then region_id.

    The KNN row of MulActSeg's Figure 13, which the paper names without a formula: here a(s) = 1/k Σ_{j ≤ k} d_j(s), d_j
    the distance in the embedding to the j-th nearest labelled region (all of them when fewer are labelled), or d_k.
    Unlike k_center it scores every region alone. BadInput when nothing is labelled.
    """
    others = labelled_points(pool, "knn")
    if len(others) == 0:
        raise BadInput("selection stage knn: nothing is labelled yet; use another stage for the first round")
    assert pool.embedding is not None  # noqa: S101  # labelled_points has looked
    points = pool.embedding
    if params.metric == "cosine":
        points, others = directions(points), directions(others)
    _, distances = nearest(points, others, min(params.neighbors, len(others)))
    score = distances.mean(axis=1) if params.reduce == "mean" else distances[:, -1]
    order = np.argsort(-score, kind="stable")
    rows = order[: params.count if params.count is not None else count].astype(np.int64)
    return Choice(rows, score[rows], np.full(len(rows), -1, np.int64))
