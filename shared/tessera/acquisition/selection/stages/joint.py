"""Uncertain and unlike the labelled regions: two criteria, joined by one of three rules."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection.pool import Choice, Float64, Pool
from tessera.acquisition.traits import StageTraits
from tessera.registry import Params


class JointParams(Params):
    """``by``: uncertainty H, high is wanted. ``discriminator``: D, the probability of being labelled, low is wanted."""

    by: str
    discriminator: str
    rule: Literal["filter", "rank_sum", "product"] = "filter"
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    """Threshold of ``filter``: regions with D below it come first."""
    count: int | None = Field(default=None, ge=1)


@STAGES.register("joint", JointParams, StageTraits(needs_scores=True, columns=("discriminator",)))
def joint(pool: Pool, params: JointParams, count: int, rng: np.random.Generator) -> Choice:
    """Rank by low D and high H: MAL, Algorithm 2, "top b that meet both", which the paper leaves open.

    ``filter``: those with D < threshold by H descending; when they are fewer than b, filled up by lowest D.
    ``rank_sum``: least (number of regions with lower D) + (number with higher H). ``product``: highest (1 - D) * H.
    Ties by image_id, then region_id. The note says how many regions the two criteria alone would share. Score: H.
    """
    h, d = pool.score(params.by, "joint"), pool.score(params.discriminator, "joint")
    b = min(len(pool), params.count if params.count is not None else count)
    by_h, by_d = np.argsort(-h, kind="stable"), np.argsort(d, kind="stable")
    note = ""
    if params.rule == "filter":
        meets = d < params.threshold
        order = np.concatenate([by_h[meets[by_h]], by_d[~meets[by_d]]])
        note = f"D is below {params.threshold:g} for {int(meets.sum())} of {len(pool)} regions; "
    elif params.rule == "rank_sum":
        order = np.argsort(_better(d) + _better(-h), kind="stable")
    else:
        order = np.argsort(-(1.0 - d) * h, kind="stable")
    rows = order[:b].astype(np.int64)
    both = len(np.intersect1d(by_h[:b], by_d[:b]))
    note += f"the {b} of highest {params.by} and the {b} of lowest {params.discriminator} share {both}"
    return Choice(rows, h[rows], np.full(len(rows), -1, np.int64), note)


def _better(values: Float64) -> Float64:
    """Return how many values are smaller than each; equal values have equal ranks."""
    return np.searchsorted(np.sort(values), values).astype(np.float64)
