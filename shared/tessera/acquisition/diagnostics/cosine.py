"""Cosine similarity of every pair of a few thousand vectors, and figures made from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32, Float64
from tessera.acquisition.neighbours.exact import directions

Int64 = npt.NDArray[np.int64]


def similarities(features: Float32 | Float64) -> Float64:
    """Return the cosine of every pair of rows of (n, D), clipped to −1 … 1: (n, n).

    A row of zeros has no direction: its cosine is 1 with other rows of zeros and 0 with all else.
    """
    unit = directions(features)
    wide = np.column_stack([unit, (~unit.any(axis=1)).astype(np.float64)])
    return np.asarray(np.clip(wide @ wide.T, -1.0, 1.0))


def nearest(similar: Float64) -> tuple[Int64, Float64]:
    """Return per row the most similar other row, the first of equal ones, and their similarity: (n,), (n,)."""
    others = similar.copy()
    np.fill_diagonal(others, -np.inf)
    index = others.argmax(axis=1)
    return index.astype(np.int64), others[np.arange(len(others)), index]


def leaders(similar: Float64, radius: float) -> Int64:
    """Return the leaders: in order, each row that has no earlier leader within cosine distance ``radius``.

    Leader clustering (Hartigan 1975, chapter 3): no two leaders are within ``radius``, and every row is within
    ``radius`` of one. Depends on the order, which is the data set's.
    """
    covered = np.zeros(len(similar), bool)
    found = []
    for row in range(len(similar)):
        if not covered[row]:
            found.append(row)
            covered |= similar[row] >= 1 - radius
    return np.array(found, np.int64)


def effective_size(similar: Float64, scale: float) -> float:
    """Return the number of different rows, 1 … n: exp(−Σ λ log λ) over the eigenvalues λ of K / n, which sum to 1.

    The Vendi score (Friedman and Dieng 2022, definition 2.1) of the kernel K = exp(−(1 − cosine) / scale), which is
    positive definite on unit vectors. n equal rows count as 1, n rows much further apart than ``scale`` as n.
    """
    spectrum = np.linalg.eigvalsh(np.exp((similar - 1) / scale) / len(similar))
    positive = spectrum[spectrum > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))
