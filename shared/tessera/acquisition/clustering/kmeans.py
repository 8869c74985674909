"""k-means in low dimension: k-means++ seeds, Lloyd's iterations, exact assignment, the best row of each cluster.

Rows are expected in the pool's canonical order: ties go to the smaller index, and draws depend on the order of rows.
"""

from __future__ import annotations

import numpy as np

from tessera.acquisition.clustering.checks import Float64, Int64, require_count, require_points, require_width
from tessera.acquisition.selection.seeding import kmeans_plusplus
from tessera.errors import BadInput


def trials_for(greedy: bool | int, k: int) -> int:
    """Candidates a draw: 1 for False, 2 + ⌊ln k⌋ (scikit-learn's choice) for True, else the number given."""
    if greedy is True:
        return 2 + int(np.log(k))
    return max(1, int(greedy))


def seed(points: Float64, k: int, rng: np.random.Generator, greedy: bool | int = False) -> Int64:
    """Indices (k,) of k distinct points (n, d) by k-means++, in the order drawn.

    Arthur & Vassilvitskii 2007, §2.2. ``greedy`` draws several candidates a step and keeps the one that leaves the
    least Σ D²: True takes 2 + ⌊ln k⌋ of them, a number that many. BadInput when k > n, k < 1 or a row is not finite.
    """
    x = require_points(points, "k-means++ points")
    require_count(k, len(x), "k-means++")
    return kmeans_plusplus(x, k, rng, trials_for(greedy, k))


def assign(points: Float64, centres: Float64) -> Int64:
    """Index (n,) of the nearest of ``centres`` (k, d) for each point (n, d); ties go to the smaller index."""
    x, c = require_points(points, "points"), require_points(centres, "centres")
    require_width(x, c, "assign")
    nearest = np.empty(len(x), np.int64)
    rows = max(1, (1 << 22) // len(c))
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        distances = np.zeros((len(block), len(c)))
        for axis in range(x.shape[1]):
            distances += np.square(block[:, axis, None] - c[None, :, axis])
        nearest[start : start + rows] = distances.argmin(axis=1)
    return nearest


def lloyd(points: Float64, centres: Float64, iterations: int = 20) -> tuple[Float64, Int64]:
    """Centres (k, d) after at most ``iterations`` of Lloyd's algorithm, and each point's nearest of them (n,).

    Stops early when the assignment repeats. A centre that no point is nearest to stays where it is, so that a cluster
    may be empty in the result.
    """
    if iterations < 0:
        raise BadInput(f"k-means: {iterations} iterations; expected 0 or more")
    x, c = require_points(points, "points"), require_points(centres, "centres").copy()
    require_width(x, c, "lloyd")
    assignment = assign(x, c)
    for _ in range(iterations):
        counts = np.bincount(assignment, minlength=len(c))
        sums = np.stack([np.bincount(assignment, x[:, axis], len(c)) for axis in range(x.shape[1])], axis=1)
        c[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
        after = assign(x, c)
        if np.array_equal(after, assignment):
            break
        assignment = after
    return c, assignment


def best_per_cluster(assignment: Int64, score: Float64, k: int) -> Int64:
    """Row (k,) with the largest ``score`` in each cluster, the smaller row among equals; −1 for an empty cluster."""
    order = np.lexsort((np.arange(len(score)), -score, assignment))
    clusters = assignment[order]
    first = np.flatnonzero(np.concatenate([[True], clusters[1:] != clusters[:-1]])) if len(order) else order
    rows = np.full(k, -1, np.int64)
    rows[clusters[first]] = order[first]
    return rows
