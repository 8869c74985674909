"""What stages that measure distances share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.selection.pool import Float64, Pool
from tessera.errors import BadInput


def labelled_points(pool: Pool, stage: str) -> Float64:
    """Embedding (m, d) of the labelled regions, (0, d) when none are; BadInput when nobody described them."""
    if pool.embedding is None:
        raise BadInput(f"selection stage {stage}: there is no embedding; add selection.embedding to the recipe")
    if pool.labelled is not None:
        return pool.labelled
    if len(pool.labelled_images):
        raise BadInput(
            f"selection stage {stage}: measures distances to labelled regions, and the embedding does not hold all of "
            "them; featurize the earlier selections as well"
        )
    return np.zeros((0, pool.embedding.shape[1]))


def directions(points: npt.NDArray[Any]) -> Float64:
    """Rows scaled to length 1; a row of zeros has no direction and stays, at distance 1 from all others."""
    x = np.asarray(points, np.float64)
    largest = np.abs(x).max(axis=1, initial=0.0, keepdims=True)
    x = np.divide(x, largest, out=np.zeros_like(x), where=largest > 0)  # squares clear of overflow
    length = np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]
    return np.asarray(np.divide(x, length, out=np.zeros_like(x), where=length > 0))


def nearest_distances(points: Float64, others: Float64, neighbors: int) -> Float64:
    """Euclidean distances (n, k), ascending, of points (n, d) to their k = min(neighbors, m) nearest of others (m, d).

    A pass a point of ``others`` over blocks of rows: n·m·d operations, nothing of size n·m or n·d in memory.
    """
    k = min(neighbors, len(others))
    found = np.empty((len(points), k))
    rows = max(1, (1 << 18) // max(1, points.shape[1]))
    for start in range(0, len(points), rows):
        block = points[start : start + rows]
        best = np.full((len(block), k), np.inf)
        for other in others:
            difference = block - other
            squared = np.einsum("nd,nd->n", difference, difference)
            nearer = np.flatnonzero(squared < best[:, -1])
            if len(nearer):
                best[nearer, -1] = squared[nearer]
                best[nearer] = np.sort(best[nearer], axis=1)
        found[start : start + rows] = np.sqrt(best)
    return found
