"""Exact nearest neighbours in high dimension by blocks of matrix products."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32, Float64

_BLOCK_ELEMENTS = 1 << 24
_SPARE = 16


Real = TypeVar("Real", np.float32, np.float64)


def nearest(
    queries: npt.NDArray[Real], points: npt.NDArray[Real], k: int, *, self_first: bool = False
) -> tuple[npt.NDArray[np.int32], npt.NDArray[Real]]:
    """Return indices int32 and Euclidean distances (m, k) of the k nearest ``points`` (n, D) of each query (m, D).

    Nearest first; 1 ≤ k ≤ n. Both arrays are float32 or both float64, and so are the distances. Blocks of products find
    k + 16 candidates, whose distances are then computed from differences in float64, so that duplicates are at exactly
    0; equal distances go to the smaller index. ``self_first`` is for queries that are the points: each point leads its
    own list, whatever its duplicates.
    """
    m, n = len(queries), len(points)
    centre = points.mean(axis=0, dtype=np.float64).astype(points.dtype)  # products round less when norms are small
    x, y = queries - centre, points - centre
    # In float64, centring float32 points changes no difference; float64 points would lose digits and are not centred.
    ours, theirs = (x, y) if points.dtype == np.float32 else (queries, points)
    norms = np.einsum("nd,nd->n", y, y)
    spare = min(n, k + _SPARE)
    indices = np.empty((m, k), np.int32)
    distances = np.empty((m, k), points.dtype)
    rows = max(1, _BLOCK_ELEMENTS // max(n, spare * x.shape[1]))
    for start in range(0, m, rows):
        block = x[start : start + rows]
        stop = start + len(block)
        approximate = norms - 2.0 * (block @ y.T)
        if self_first:
            approximate[np.arange(len(block)), np.arange(start, stop)] = -np.inf
        found = np.argpartition(approximate, spare - 1, axis=1)[:, :spare] if spare < n else _every(len(block), n)
        difference = ours[start:stop, None, :].astype(np.float64) - theirs[found]
        exact = np.einsum("mkd,mkd->mk", difference, difference)
        key = np.where(found == np.arange(start, stop)[:, None], -1.0, exact) if self_first else exact
        order = np.lexsort((found, key), axis=1)[:, :k]
        indices[start:stop] = np.take_along_axis(found, order, axis=1)
        distances[start:stop] = np.sqrt(np.take_along_axis(exact, order, axis=1))
    return indices, distances


def _every(rows: int, n: int) -> npt.NDArray[np.intp]:
    return np.broadcast_to(np.arange(n), (rows, n))


def directions(points: npt.NDArray[Any]) -> Float64:
    """Return the rows (n, D) scaled to length 1; a row of zeros has no direction and stays, at distance 1 of others."""
    x = np.asarray(points, np.float64)
    largest = np.abs(x).max(axis=1, initial=0.0, keepdims=True)
    x = np.divide(x, largest, out=np.zeros_like(x), where=largest > 0)  # keeps squares clear of overflow
    length = np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]
    return np.asarray(np.divide(x, length, out=np.zeros_like(x), where=length > 0))


def unit(features: Float32) -> Float32:
    """Return the rows (n, D) float32 scaled to length 1; zero rows stay zero.

    The cosine distance of two such rows is half their squared Euclidean one.
    """
    x = features.astype(np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", x, x))
    return np.asarray(x / np.where(length > 0, length, 1.0)[:, None], np.float32)
