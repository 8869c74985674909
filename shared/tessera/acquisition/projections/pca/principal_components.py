"""Principal components on one thread, in blocks of rows: the same bits whatever the machine's thread count."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from tessera.acquisition.interfaces import Float32, Float64
from tessera.compile import kernel

# A block and its centred copy stay in the processor's cache.
_BLOCK_ELEMENTS = 1 << 18


def principal(features: Float32 | Float64, dimensions: int) -> tuple[Float64, Float64, Float64]:
    """Return mean (D,), leading directions (d, D) and their standard deviations (d,) of features (n, D), d ≤ min(n, D).

    Eigenvectors of the covariance, or, for fewer points than features, of the points' inner products, which have the
    same non-zero eigenvalues. The largest entry of each direction is positive. Directions without variance are zero.
    """
    n, width = features.shape
    with threadpool_limits(1):
        mean = features.mean(axis=0, dtype=np.float64)
        if n < width:
            x = features.astype(np.float64) - mean
            squares, vectors = _leading(x @ x.T, dimensions)
            vectors = x.T @ vectors
            lengths = np.linalg.norm(vectors, axis=0)
            vectors /= np.where(lengths > 0, lengths, 1.0)
        else:
            squares, vectors = _leading(_scatter(features, mean), dimensions)
    directions = vectors.T.copy()
    directions[squares <= squares.max(initial=0.0) * 1e-14 * max(n, width)] = 0.0
    largest = np.abs(directions).argmax(axis=1)
    directions *= np.where(directions[np.arange(dimensions), largest] < 0, -1.0, 1.0)[:, None]
    return mean, directions, np.sqrt(squares / n)


def scores(features: Float32, mean: Float64, directions: Float64) -> Float32:
    """Return the coordinates (m, d) float32 of features (m, D) along ``directions`` (d, D) from ``mean``.

    The coordinates of a point do not depend on the other points.
    """
    result = np.empty((len(features), len(directions)), np.float32)
    along = np.ascontiguousarray(directions.T)
    place(np.ascontiguousarray(features, np.float32), mean, along, np.empty(len(directions)), result)
    return result


@kernel
def place(features: Float32, mean: Float64, along: Float64, total: Float64, out: Float32) -> None:
    """``out`` (m, d) = (``features`` (m, D) − ``mean``) · ``along`` (D, d), each row alone; ``total`` (d,) is scratch.

    BLAS is not used, because its sums depend on the number of rows.

    Arrays: ``features``, ``out`` float32, ``mean`` (D,), ``along``, ``total`` float64.
    """
    for row in range(features.shape[0]):
        total[:] = 0.0
        for index in range(features.shape[1]):
            value, weights = np.float64(features[row, index]) - mean[index], along[index]
            for axis in range(total.shape[0]):
                total[axis] += value * weights[axis]
        for axis in range(total.shape[0]):
            out[row, axis] = total[axis]


def _leading(matrix: Float64, count: int) -> tuple[Float64, Float64]:
    values, vectors = np.linalg.eigh(matrix)
    return np.maximum(values[::-1][:count], 0.0), vectors[:, ::-1][:, :count]


def _scatter(features: Float32 | Float64, mean: Float64) -> Float64:
    total = np.zeros((features.shape[1], features.shape[1]))
    for rows in _blocks(features):
        x = features[rows].astype(np.float64) - mean
        total += x.T @ x
    return total


def _blocks(features: Float32 | Float64) -> Iterator[slice]:
    rows = max(1, _BLOCK_ELEMENTS // max(1, features.shape[1]))
    for start in range(0, len(features), rows):
        yield slice(start, start + rows)
