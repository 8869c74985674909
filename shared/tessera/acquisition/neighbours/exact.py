"""Exact nearest neighbours in high dimension by blocks of matrix products."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32

_BLOCK_ELEMENTS = 1 << 24
_SPARE = 16


def nearest(
    queries: Float32, points: Float32, k: int, *, self_first: bool = False
) -> tuple[npt.NDArray[np.int32], Float32]:
    """Indices and Euclidean distances (m, k) of the k nearest ``points`` (n, D) of each query (m, D), k ≤ n.

    Blocks of float32 products find k + 16 candidates, whose distances are then computed from differences in float64,
    so that duplicates are at exactly 0; equal distances go to the smaller index. ``self_first`` is for queries that
    are the points: each point leads its own list, whatever its duplicates.
    """
    m, n = len(queries), len(points)
    centre = points.mean(axis=0, dtype=np.float64).astype(np.float32)  # the products lose less when norms are small
    x, y = queries - centre, points - centre
    norms = np.einsum("nd,nd->n", y, y)
    spare = min(n, k + _SPARE)
    indices = np.empty((m, k), np.int32)
    distances = np.empty((m, k), np.float32)
    rows = max(1, _BLOCK_ELEMENTS // max(n, spare * x.shape[1]))
    for start in range(0, m, rows):
        block = x[start : start + rows]
        stop = start + len(block)
        approximate = norms - 2.0 * (block @ y.T)
        if self_first:
            approximate[np.arange(len(block)), np.arange(start, stop)] = -np.inf
        found = np.argpartition(approximate, spare - 1, axis=1)[:, :spare] if spare < n else _every(len(block), n)
        difference = block[:, None, :].astype(np.float64) - y[found]
        exact = np.einsum("mkd,mkd->mk", difference, difference)
        key = np.where(found == np.arange(start, stop)[:, None], -1.0, exact) if self_first else exact
        order = np.lexsort((found, key), axis=1)[:, :k]
        indices[start:stop] = np.take_along_axis(found, order, axis=1)
        distances[start:stop] = np.sqrt(np.take_along_axis(exact, order, axis=1))
    return indices, distances


def _every(rows: int, n: int) -> npt.NDArray[np.intp]:
    return np.broadcast_to(np.arange(n), (rows, n))


def unit(features: Float32) -> Float32:
    """Rows scaled to length 1 (zero rows stay zero), for which the cosine distance is half the squared Euclidean."""
    x = features.astype(np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", x, x))
    return np.asarray(x / np.where(length > 0, length, 1.0)[:, None], np.float32)
