"""k-means++ seeding in its plain form: every draw looks at every point."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.neighbours.checks import Float64, Int64
from tessera.errors import BadInput

_BLOCK = 1 << 18  # values per block


def plain_kmeans_plusplus(
    points: npt.NDArray[np.floating[Any]],
    k: int,
    rng: np.random.Generator,
    local_trials: int = 1,
) -> Int64:
    """Return the indices (k,) of distinct points in the order drawn; ``points`` (n, d), arithmetic in float64.

    Arthur & Vassilvitskii 2007, §2.2: the first uniformly, each next with probability D(x)² / Σ D(x)², D the distance
    to the nearest one drawn. ``local_trials`` > 1 draws that many candidates and keeps the one that leaves the least
    Σ D² (the greedy variant; ties go to the first drawn). When every remaining point coincides with a drawn one, the
    next is drawn uniformly among the points not drawn yet, so that duplicates still give k distinct indices.
    BadInput when k > n or k < 1.
    """
    n = len(points)
    if not 1 <= k <= n:
        raise BadInput(f"kmeans_plusplus: {k} regions are asked for and {n} are left to choose from; lower the budget")
    x = np.array(points, np.float64)
    # Powers of two are exact and keep squares clear of overflow and underflow.
    x = np.ldexp(x, -int(np.frexp(np.abs(x).max(initial=0.0))[1]))
    chosen = np.empty(k, np.int64)
    chosen[0] = rng.integers(n)
    nearest = _squared(x, int(chosen[0]))
    drawn = np.zeros(n, bool)
    drawn[chosen[0]] = True
    for i in range(1, k):
        trials = _draw(nearest, drawn, rng, local_trials)
        best, left = -1, nearest
        for trial in trials:
            after = np.minimum(nearest, _squared(x, int(trial)))
            if best < 0 or after.sum() < left.sum():
                best, left = int(trial), after
        chosen[i], nearest = best, left
        drawn[best] = True
    return chosen


def _squared(x: Float64, centre: int) -> Float64:
    """Return the squared distances (n,) to one row; in blocks, so that no array of the size of ``x`` is made."""
    found = np.empty(len(x))
    rows = max(1, _BLOCK // max(1, x.shape[1]))
    for start in range(0, len(x), rows):
        difference = x[start : start + rows] - x[centre]
        np.einsum("nd,nd->n", difference, difference, out=found[start : start + rows])
    return found


def _draw(nearest: Float64, drawn: npt.NDArray[np.bool_], rng: np.random.Generator, trials: int) -> Int64:
    total = np.cumsum(nearest)
    if total[-1] <= 0.0:
        free = np.flatnonzero(~drawn)
        return np.array([free[rng.integers(len(free))]], np.int64)
    picks = np.searchsorted(total, rng.random(trials) * total[-1], side="right")
    # Rounding can push a draw past the last point of positive weight; points drawn before have weight 0.
    return np.asarray(np.minimum(picks, np.flatnonzero(nearest)[-1]), np.int64)
