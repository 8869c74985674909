"""k-means: k-means++ seeds, Lloyd's iterations, exact assignment, the best row of each cluster.

Up to 16 dimensions everything runs on an index of the points (``kd_tree.py``), which several calls can share; above
that on blocks of matrix products. Rows are expected in the pool's canonical order: ties go to the smaller row, and the
same draws choose other points when the rows are permuted. Nothing depends on the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tessera.acquisition.clustering.fill_up import fill_up
from tessera.acquisition.neighbours.checks import Float64, Int64, require_count, require_points, require_width
from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.acquisition.clustering.kd_tree import Index

Int32 = npt.NDArray[np.int32]
_FLAT = 16
# Lloyd stops when no centre moves by more than this part of the extent: sums of the same points in another order.
_STILL = 1e-13


def index(points: Float64) -> Index:
    """Return an index of points (n, d ≤ 16), which the functions below take in place of the points."""
    from tessera.acquisition.clustering.kd_tree import build

    return build(points)


def trials_for(greedy: bool | int, k: int) -> int:
    """Return the candidates per draw: 1 for False, 2 + ⌊ln k⌋ (scikit-learn's) for True, else as given."""
    if greedy is True:
        return 2 + int(np.log(k))
    return max(1, int(greedy))


def seed(points: Float64 | Index, k: int, rng: np.random.Generator, greedy: bool | int = False) -> Int64:
    """Return the indices (k,) of k distinct points (n, d) by k-means++, in the order drawn.

    Arthur & Vassilvitskii 2007, §2.2. ``greedy`` draws several candidates per step and keeps the one that leaves the
    least Σ D² (the first drawn among equals): True: 2 + ⌊ln k⌋ candidates, a number: that many. The first point is
    ``rng.integers(n)``; each next is where the running sum of D², in the index's order, passes ``rng.random()`` · Σ D².
    When every point coincides with a seed, the rest is drawn uniformly among the points not drawn yet. BadInput when k
    > n, k < 1 or a row is not finite.
    """
    x = _checked(points, "k-means++ points")
    n = len(x) if isinstance(x, np.ndarray) else x.count
    require_count(k, n, "k-means++")
    trials = trials_for(greedy, k)
    if isinstance(x, np.ndarray) and x.shape[1] > _FLAT:
        return _seed_high(x, k, rng, trials)
    from tessera.acquisition.clustering.seeding_kernel import seeds

    tree = index(x) if isinstance(x, np.ndarray) else x
    first = int(np.flatnonzero(tree.rows == rng.integers(n))[0])
    uniforms = rng.random((k - 1, trials))
    places = seeds(tree.nodes, n, first, uniforms)
    return fill_up(tree.rows[places], k, n, rng)


def assign(points: Float64 | Index, centres: Float64) -> Int64:
    """Return the index (n,) of the nearest of ``centres`` (k, d) for each point (n, d); ties go to the smaller index.

    Distances are sums of squared differences, coordinate after coordinate, in float64: equal to trying every pair.
    """
    x, c = _checked(points, "points"), require_points(centres, "centres")
    if isinstance(x, np.ndarray):
        require_width(x, c, "assign")
        if x.shape[1] > _FLAT:
            from tessera.acquisition.neighbours.nearest_centre import closest

            return closest(x, c)[1]
    tree = index(x) if isinstance(x, np.ndarray) else x
    require_width(tree.nodes.low, c, "assign")
    return _labels(tree, _scaled(c, -tree.exponent))


def lloyd(points: Float64 | Index, centres: Float64, iterations: int = 20) -> tuple[Float64, Int64]:
    """Return the centres (k, d) after at most ``iterations`` of Lloyd's algorithm, and each point's nearest (n,).

    Stops early when no centre moves. A centre that no point is nearest to moves to the point that is farthest from its
    own centre (the smaller row among equals), as in scikit-learn; clusters stay empty only when fewer than k points
    differ, or when the iterations end first.
    """
    if iterations < 0:
        raise BadInput(f"k-means: {iterations} iterations; expected 0 or more")
    x, c = _checked(points, "points"), require_points(centres, "centres")
    require_width(x if isinstance(x, np.ndarray) else x.nodes.low, c, "lloyd")
    if isinstance(x, np.ndarray) and x.shape[1] > _FLAT:
        return _lloyd_high(x, c, iterations)
    tree = index(x) if isinstance(x, np.ndarray) else x
    c = _scaled(c, -tree.exponent)
    extent = float((tree.nodes.high[-1] - tree.nodes.low[-1]).max())
    for _ in range(iterations):
        after = _means(tree, c)
        still = np.abs(after - c).max() <= _STILL * extent
        c = after
        if still:
            break
    return _scaled(c, tree.exponent), _labels(tree, c)


def best_per_cluster(assignment: Int64, score: Float64, k: int) -> Int64:
    """Return the row (k,) of largest ``score`` in each cluster, the smaller row among equals; −1 for empty clusters."""
    from tessera.acquisition.clustering.best_per_cluster_kernel import best_rows

    labels, values = np.ascontiguousarray(assignment, np.int64), np.ascontiguousarray(score, np.float64)
    if labels.shape != values.shape or labels.ndim != 1:
        raise BadInput(f"best per cluster: {labels.shape} assignments and {values.shape} scores; expected one each")
    rows = np.full(k, -1, np.int64)
    bad = best_rows(labels, values, np.empty(k), rows)
    if bad >= 0:
        raise BadInput(f"best per cluster: row {bad} has score {values[bad]} and cluster {labels[bad]} of {k}")
    return rows


def _checked(points: Float64 | Index, what: str) -> Float64 | Index:
    return require_points(points, what) if isinstance(points, np.ndarray) else points


def _scaled(values: Float64, exponent: int) -> Float64:
    return np.ldexp(values, exponent) if exponent else values


def _parts(tree: Index) -> tuple[int, int]:
    """Return the level whose nodes are the units of parallel work, and their number: 16 to 61, fewer for few points."""
    sizes = tree.nodes.sizes
    level = int(np.flatnonzero((sizes >= 16) | (np.arange(len(sizes)) == 0))[-1])
    return level, int(sizes[level])


def _labels(tree: Index, centres: Float64) -> Int64:
    labels = np.empty(tree.count, np.int32)
    _every_part(tree, centres, labels)
    out = np.empty(tree.count, np.int64)
    out[tree.rows] = labels
    return out


def _every_part(tree: Index, centres: Float64, labels: Int32) -> Float64:
    """(k, d + 1) sum and number of each centre's points, parts added up in their order; or the ``labels``, if any."""
    from tessera.acquisition.clustering.lloyd_kernel import assign_part, assign_parts
    from tessera.acquisition.neighbours.threads import each

    level, parts = _parts(tree)
    total = np.zeros((len(centres), centres.shape[1] + 1))
    if tree.count < 1 << 18 and len(centres) < 512:  # takes less time than starting threads
        assign_parts(tree.nodes, centres, level, parts, labels, total)
        return total
    for near, sums in each(lambda part: assign_part(tree.nodes, centres, level, part, labels), parts):
        if len(sums):
            total[near] += sums
    return total


def _means(tree: Index, centres: Float64) -> Float64:
    """Return the mean of each centre's points; a centre without points moves to a far one."""
    total = _every_part(tree, centres, np.empty(0, np.int32))
    count = total[:, -1:]
    means = np.where(count > 0, total[:, :-1] / np.maximum(count, 1.0), centres)
    empty = np.flatnonzero(count[:, 0] == 0)
    if len(empty):
        leaf, lane = np.divmod(np.argsort(tree.rows), 16)
        _relocate(means, centres, empty, tree.nodes.points[leaf, :, lane], _labels(tree, centres))
    return means


def _relocate(means: Float64, centres: Float64, empty: Int64, points: Float64, labels: Int64) -> None:
    """Move the ``empty`` centres to the points farthest from their own centre; ones at distance 0 are left alone."""
    far = np.square(points - centres[labels]).sum(axis=1)
    order = np.lexsort((np.arange(len(far)), -far))[: len(empty)]
    order = order[far[order] > 0]
    means[empty[: len(order)]] = points[order]


def _seed_high(x: Float64, k: int, rng: np.random.Generator, trials: int) -> Int64:
    if trials > 1:
        from tessera.acquisition.clustering.plain_seeding import plain_kmeans_plusplus

        return plain_kmeans_plusplus(x, k, rng, trials)
    from tessera.acquisition.clustering.d2_sampling import d2_sample

    return d2_sample(x.astype(np.float32), k, rng)


def _lloyd_high(x: Float64, centres: Float64, iterations: int) -> tuple[Float64, Int64]:
    from tessera.acquisition.neighbours.nearest_centre import closest

    c, labels = centres.copy(), closest(x, centres)[1]
    for _ in range(iterations):
        counts = np.bincount(labels, minlength=len(c))
        means = c.copy()
        for axis in range(x.shape[1]):
            means[:, axis] = np.bincount(labels, x[:, axis], len(c)) / np.maximum(counts, 1)
        means[counts == 0] = c[counts == 0]
        _relocate(means, c, np.flatnonzero(counts == 0), x, labels)
        c, before = means, labels
        labels = closest(x, c)[1]
        if np.array_equal(before, labels):
            break
    return c, labels
