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


_SPARE = 8
"""Candidates beyond k that products of matrices name: more than rounding can confuse, except among equal distances."""


def nearest_distances(points: Float64, others: Float64, neighbors: int) -> Float64:
    """Euclidean distances (n, k), ascending, of points (n, d) to their k = min(neighbors, m) nearest of others (m, d).

    Products of blocks name the candidates; distances are of differences, so that coinciding points are at exactly 0.
    """
    k = min(neighbors, len(others))
    few = min(len(others), k + _SPARE)
    middle = others.mean(axis=0)
    x, y = points - middle, others - middle
    norms = np.einsum("md,md->m", y, y)
    found = np.empty((len(points), k))
    rows = max(1, (1 << 21) // max(len(others), few * points.shape[1]))
    for start in range(0, len(points), rows):
        block = x[start : start + rows]
        near = np.argpartition(norms - 2.0 * (block @ y.T), few - 1, axis=1)[:, :few]
        difference = points[start : start + rows, None] - others[near]
        squared = np.einsum("nkd,nkd->nk", difference, difference)
        found[start : start + rows] = np.sqrt(np.sort(squared, axis=1)[:, :k])
    return found
