"""Exact nearest centres in high dimension: float32 products find the candidates, float64 differences decide.

Imported in the compute child only: it brings numba.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from tessera.acquisition.interfaces import Float32, Int32
from tessera.acquisition.neighbours.checks import Float64, Int64
from tessera.acquisition.neighbours.threads import each
from tessera.compile import kernel

_BLOCK_ELEMENTS = 1 << 22


class Products(NamedTuple):
    """Squared distances ‖x‖² + ‖y‖² − 2 xy by float32 products, with a bound on their error."""

    inner: Float32
    """(n, k) float32, products of points and centres."""
    own: Float64
    """(n,) float64, squared norms of the points."""
    norms: Float64
    """(k,) float64, squared norms of the centres."""
    slack: float
    """Twice the bound on |computed − true| / (‖x‖² + ‖y‖²)."""


def closest(points: npt.NDArray[np.floating[Any]], centres: npt.NDArray[np.floating[Any]]) -> tuple[Float64, Int64]:
    """Return each point's (n, D) squared distance (n,) to the nearest of ``centres`` (k, D), k ≥ 1, and its index (n,).

    Distances are of float64 differences, so that coinciding points are at exactly 0; ties go to the smaller index. The
    products' rounding decides only which pairs are computed, never the result.
    """
    n, d = points.shape
    k = len(centres)
    middle = points.mean(axis=0, dtype=np.float64)
    largest = max(float(np.abs(points - middle).max(initial=0.0)), float(np.abs(centres - middle).max()))
    exponent = -int(np.frexp(largest)[1]) if largest > 0 else 0
    # Products of small norms round less; a power of two keeps float32 from overflowing.
    y = np.ldexp(centres - middle, exponent).astype(np.float32)
    norms = np.einsum("kd,kd->k", y, y, dtype=np.float64)
    # Twice the bound on |computed − true| / (‖x‖² + ‖y‖²), whatever the order in which a product is added up.
    slack = 4.0 * (d + 8) * 2.0**-24
    squared, index = np.empty(n), np.empty(n, np.int64)
    rows = max(16, _BLOCK_ELEMENTS // max(k, d))

    def block(at: int) -> None:
        begin, stop = at * rows, min(n, (at + 1) * rows)
        x = np.ldexp(points[begin:stop] - middle, exponent).astype(np.float32)
        products = x @ y.T
        own = np.einsum("nd,nd->n", x, x, dtype=np.float64)
        found = Products(products, own, norms, slack)
        decide(points[begin:stop], centres, found, squared[begin:stop], index[begin:stop])

    with threadpool_limits(1):
        each(block, -(-n // rows))
    return squared, index


class Prepared:
    """Points (n, D) float32 prepared for products, for many calls with some of the points as centres."""

    def __init__(self, points: Float32) -> None:
        self.points = points
        middle = points.mean(axis=0, dtype=np.float64)
        largest = float(np.abs(points - middle).max(initial=0.0))
        self._exponent = -int(np.frexp(largest)[1]) if largest > 0 else 0
        self._x, self._own = np.empty(points.shape, np.float32), np.empty(len(points))
        self._rows = max(16, _BLOCK_ELEMENTS // max(1, points.shape[1]))

        def block(at: int) -> None:
            part = slice(at * self._rows, (at + 1) * self._rows)
            self._x[part] = np.ldexp(points[part] - middle, self._exponent)
            self._own[part] = np.einsum("nd,nd->n", self._x[part], self._x[part], dtype=np.float64)

        with threadpool_limits(1):
            each(block, -(-len(points) // self._rows))

    def lower(self, squared: Float64, centres: Int64) -> None:
        """Lower D² ``squared`` (n,) in place to that of the nearest of the rows ``centres`` (k,), where it is nearer.

        Rows of negative D² are left alone. Distances are of float64 differences, as in `closest`.
        """
        y, norms = self._x[centres], self._own[centres]
        others = self.points[centres]
        slack = 4.0 * (y.shape[1] + 8) * 2.0**-24

        def block(at: int) -> None:
            part = slice(at * self._rows, (at + 1) * self._rows)
            found = Products(self._x[part] @ y.T, self._own[part], norms, slack)
            lower_squared(self.points[part], others, found, float(np.ldexp(1.0, -2 * self._exponent)), squared[part])

        with threadpool_limits(1):
            each(block, -(-len(self.points) // self._rows))


@kernel
def lower_squared(points: Float32, centres: Float32, found: Products, scale: float, squared: Float64) -> None:
    """Lower ``squared`` (n,) float64 to the distances of ``points`` (n, D) float32 to ``centres`` (k, D) float32.

    Computes only pairs that may be nearer by ``found``, whose distances are ``scale`` times too small.
    """
    products, own, norms, slack = found
    for i in range(len(own)):
        bound = squared[i]
        if bound < 0.0:
            continue
        for c in range(len(norms)):
            sum_of = own[i] + norms[c]
            if (sum_of - 2.0 * products[i, c] - slack * sum_of) * scale < bound:
                distance = squared_distance(points, i, centres, c)
                bound = distance if distance < bound else bound
        squared[i] = bound


@kernel
def decide(
    points: npt.NDArray[np.floating[Any]],
    centres: npt.NDArray[np.floating[Any]],
    found: Products,
    squared: Float64,
    index: Int64,
) -> None:
    """Find the nearest of ``centres`` (k, D) for each of ``points`` (n, D), among the candidates by ``found``.

    Both are float32 or float64. Writes ``squared`` (n,) float64 and ``index`` (n,) int64.

    Arrays: ``centres`` are of the same dtype as ``points``.
    """
    products, own, norms, slack = found
    k = len(norms)
    for i in range(len(own)):
        bound = np.inf
        for c in range(k):
            upper = norms[c] * (1.0 + slack) - 2.0 * products[i, c]
            bound = upper if upper < bound else bound
        bound += 2.0 * slack * own[i]
        best, nearest = np.inf, 0
        for c in range(k):
            if norms[c] * (1.0 - slack) - 2.0 * products[i, c] <= bound:
                distance = squared_distance(points, i, centres, c)
                if distance < best:
                    best, nearest = distance, c
        squared[i], index[i] = best, nearest


@kernel
def squared_distance(
    points: npt.NDArray[np.floating[Any]], i: int, centres: npt.NDArray[np.floating[Any]], c: int
) -> float:
    """Return Σ (x − y)² in float64, in eight lanes.

    Arrays: ``points`` (n, D) and ``centres`` (k, D), float32 or float64.
    """
    d = points.shape[1]
    a0, a1, a2, a3, a4, a5, a6, a7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    whole = d - d % 8
    for j in range(0, whole, 8):
        g0 = np.float64(points[i, j]) - np.float64(centres[c, j])
        g1 = np.float64(points[i, j + 1]) - np.float64(centres[c, j + 1])
        g2 = np.float64(points[i, j + 2]) - np.float64(centres[c, j + 2])
        g3 = np.float64(points[i, j + 3]) - np.float64(centres[c, j + 3])
        g4 = np.float64(points[i, j + 4]) - np.float64(centres[c, j + 4])
        g5 = np.float64(points[i, j + 5]) - np.float64(centres[c, j + 5])
        g6 = np.float64(points[i, j + 6]) - np.float64(centres[c, j + 6])
        g7 = np.float64(points[i, j + 7]) - np.float64(centres[c, j + 7])
        a0 += g0 * g0
        a1 += g1 * g1
        a2 += g2 * g2
        a3 += g3 * g3
        a4 += g4 * g4
        a5 += g5 * g5
        a6 += g6 * g6
        a7 += g7 * g7
    for j in range(whole, d):
        gap = np.float64(points[i, j]) - np.float64(centres[c, j])
        a0 += gap * gap
    return ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))


@kernel
def offer(products: Float32, norms: Float32, mine: Int64, begin: int, held: Float32, found: Int64) -> None:
    """Offer the points begin… to the lists of the queries ``mine`` (q,), given their products (q, points).

    Arrays: ``products`` (q, points) float32, ``norms`` (points,) float32, ``mine`` int64; ``held`` (queries, keep)
    float32 and ``found`` (queries, keep) int64 are the lists, least first.
    """
    keep = held.shape[1]
    for i in range(len(mine)):
        query = mine[i]
        worst = held[query, keep - 1]
        for c in range(len(norms)):
            value = norms[c] - np.float32(2.0) * products[i, c]
            if value < worst:
                at = keep - 1
                while at > 0 and held[query, at - 1] > value:
                    held[query, at] = held[query, at - 1]
                    found[query, at] = found[query, at - 1]
                    at -= 1
                held[query, at] = value
                found[query, at] = begin + c
                worst = held[query, keep - 1]


@kernel
def finish(
    x: Float32, points: Float32, rows: Int64, found: Int64, own: Int64, indices: Int32, distances: Float32
) -> None:
    """Sort what each query found by distance, then index, and write the first; ``own`` (−1: none) leads its list.

    Arrays: ``x`` (m, D) and ``points`` (n, D) float32, ``rows`` (n,) int64 the index of each point, ``found`` (m,
    keep) int64, ``own`` (m,) int64; ``indices`` (m, k) int32 and ``distances`` (m, k) float32 are written.
    """
    k = indices.shape[1]
    keep = found.shape[1]
    key, name = np.empty(keep + 1), np.empty(keep + 1, np.int64)
    for i in range(len(x)):
        number = 0
        if own[i] >= 0:
            key[0], name[0] = -1.0, own[i]
            number = 1
        for t in range(keep):
            c = found[i, t]
            if c < 0 or rows[c] == own[i]:
                continue
            value, row = squared_distance(x, i, points, c), rows[c]
            at = number
            while at > 0 and (key[at - 1] > value or (key[at - 1] == value and name[at - 1] > row)):
                key[at], name[at] = key[at - 1], name[at - 1]
                at -= 1
            key[at], name[at] = value, row
            number += 1
        for t in range(k):
            at = min(t, number - 1)
            indices[i, t] = name[at]
            distances[i, t] = np.sqrt(max(0.0, key[at]))
