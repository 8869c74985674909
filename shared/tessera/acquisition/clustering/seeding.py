"""k-means++ seeding: k actual points, spread out by D² sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.clustering import kmeans
from tessera.acquisition.clustering.plain_seeding import plain_kmeans_plusplus
from tessera.acquisition.neighbours.checks import Int64

# Up to this many coordinates (points × draws × dimensions, at least 2) the plain form is used: some tens of
# milliseconds. The pruned form is faster from a thousand points on, but draws other points for the same seed.
_PLAIN_LIMIT = 1 << 23


def kmeans_plusplus(
    points: npt.NDArray[np.floating[Any]], k: int, rng: np.random.Generator, local_trials: int = 1
) -> Int64:
    """Return indices (k,) of distinct points (n, d) in the order drawn; eight million coordinates take the pruned form.

    Both forms draw from one distribution, but the same ``rng`` gives them different indices.
    """
    if len(points) * k * max(2, points.shape[1]) <= _PLAIN_LIMIT:
        return plain_kmeans_plusplus(points, k, rng, local_trials)
    return kmeans.seed(np.asarray(points, np.float64), k, rng, local_trials)
