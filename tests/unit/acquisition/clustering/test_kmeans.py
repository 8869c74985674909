"""k-means kernels against the plain form: every pair tried, nothing pruned."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition.clustering import kmeans
from tessera.errors import BadInput


def scaled(x: np.ndarray, by: np.ndarray) -> np.ndarray:
    """By a power of two, as the index does: exact, and clear of overflow and underflow."""
    return np.ldexp(by, -int(np.frexp(np.abs(x).max())[1]))


def all_pairs(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    total = np.zeros((len(points), len(centres)))
    for axis in range(points.shape[1]):
        total += np.square(points[:, axis, None] - centres[None, :, axis])
    return total


def lanes(values: np.ndarray) -> float:
    """Sum of a leaf's 16 values in four lanes."""
    a = [0.0] * 4
    for i, value in enumerate(values):
        a[i % 4] += float(value)
    return (a[0] + a[1]) + (a[2] + a[3])


def tree_sums(nearest: np.ndarray) -> list[np.ndarray]:
    """Σ D² of every node, leaves first."""
    padded = np.zeros(-(-len(nearest) // 16) * 16)
    padded[: len(nearest)] = nearest
    levels = [np.array([lanes(leaf) for leaf in padded.reshape(-1, 16)])]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append(np.array([sum(below[i : i + 4].tolist(), 0.0) for i in range(0, len(below), 4)]))
    return levels


def descend(levels: list[np.ndarray], nearest: np.ndarray, uniform: float) -> int:
    """Place at which the running sum of D² passes the given part of the whole."""
    target, at = uniform * levels[-1][0], 0
    for values, fan in [*((level, 4) for level in reversed(levels[:-1])), (nearest, 16)]:
        for child in range(at * fan, min((at + 1) * fan, len(values))):
            if values[child] > 0:
                place = child
                if target < values[child]:
                    break
                target -= values[child]
        at = place
    return at


def plain_seed(points: np.ndarray, k: int, rng: np.random.Generator, trials: int) -> np.ndarray:
    """k-means++ with the same draws, D² of every point from every seed, summed in the order of the index."""
    rows = kmeans.index(points).rows
    x = scaled(points, points)[rows]
    first = int(rng.integers(len(x)))
    uniforms = rng.random((k - 1, trials))
    chosen = [int(np.flatnonzero(rows == first)[0])]
    nearest = all_pairs(x, x[chosen])[:, 0]
    for draws in uniforms:
        levels = tree_sums(nearest)
        if levels[-1][0] <= 0:
            break
        places = [descend(levels, nearest, uniform) for uniform in draws]
        afters = [np.minimum(nearest, all_pairs(x, x[[place]])[:, 0]) for place in places]
        gains = [sum(tree_sums(nearest - after)[0].tolist(), 0.0) for after in afters]
        best = int(np.argmax(gains)) if trials > 1 else 0
        chosen.append(places[best])
        nearest = afters[best]
    return kmeans.fill_up(rows[chosen], k, len(x), rng)


def plain_lloyd(x: np.ndarray, centres: np.ndarray, iterations: int) -> np.ndarray:
    """Lloyd with scikit-learn's rule for empty clusters."""
    c = centres.copy()
    for _ in range(iterations):
        pairs = all_pairs(x, c)
        label, means = pairs.argmin(axis=1), c.copy()
        far = np.take_along_axis(pairs, label[:, None], axis=1)[:, 0]
        for j in range(len(c)):
            if (label == j).any():
                means[j] = x[label == j].mean(axis=0)
        order = [i for i in np.lexsort((np.arange(len(x)), -far)) if far[i] > 0]
        empty = [j for j in range(len(c)) if not (label == j).any()]
        for j, i in zip(empty, order, strict=False):
            means[j] = x[i]
        c = means
    return c


@st.composite
def clouds(draw: st.DrawFn) -> np.ndarray:
    n, d = draw(st.integers(1, 150)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["normal", "lattice", "equal", "line", "huge", "tiny"]))
    x = rng.normal(size=(n, d))
    return {
        "normal": x,
        "lattice": rng.integers(-2, 3, (n, d)).astype(float),
        "equal": np.repeat(x[:1], n, axis=0),
        "line": np.repeat(x[:, :1], d, axis=1),
        "huge": x * 1e200,
        "tiny": x * 1e-200,
    }[kind]


@settings(deadline=None, max_examples=60)
@given(clouds(), st.integers(0, 2**32), st.sampled_from([False, True, 1, 3]), st.data())
def test_seeds_are_those_of_the_plain_form(points, seed, greedy, data):
    k = data.draw(st.integers(1, len(points)))
    got = kmeans.seed(points, k, np.random.default_rng(seed), greedy)
    expected = plain_seed(points, k, np.random.default_rng(seed), kmeans.trials_for(greedy, k))
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(got)) == k


def test_seeds_follow_the_d2_distribution():
    points = np.random.default_rng(3).normal(size=(40, 2))
    d2 = all_pairs(points, points)
    expected = (d2 / d2.sum(axis=0)).sum(axis=1) / 40  # second seed: mean over a uniform first one
    draws, tree = 20_000, kmeans.index(points)
    seconds = [kmeans.seed(tree, 2, np.random.default_rng(i))[1] for i in range(draws)]
    seen = np.bincount(seconds, minlength=40)
    statistic = ((seen - expected * draws) ** 2 / (expected * draws)).sum()
    assert statistic < 39 + 4.5 * np.sqrt(2 * 39)


@settings(deadline=None, max_examples=60)
@given(clouds(), st.integers(0, 2**32), st.integers(1, 60), st.booleans())
def test_assignment_is_that_of_all_pairs(points, seed, k, from_points):
    rng = np.random.default_rng(seed)
    d = points.shape[1]
    centres = points[rng.integers(0, len(points), k)] if from_points else rng.normal(size=(k, d)) * np.ptp(points)
    expected = all_pairs(scaled(points, points), scaled(points, centres)).argmin(axis=1)
    np.testing.assert_array_equal(kmeans.assign(points, centres), expected)


@settings(deadline=None, max_examples=60)
@given(clouds(), st.integers(0, 2**32), st.integers(0, 4), st.data())
def test_lloyd_is_the_plain_one(points, seed, iterations, data):
    k = data.draw(st.integers(1, len(points)))
    x = scaled(points, points)
    start = x[np.sort(np.random.default_rng(seed).choice(len(x), k, replace=False))]
    centres, labels = kmeans.lloyd(x, start, iterations)
    # After two iterations the last bit of a mean, which depends on the order of summation, may have turned a tie.
    if iterations == 1:
        np.testing.assert_allclose(centres, plain_lloyd(x, start, 1), atol=1e-12)
    assert all_pairs(x, centres).min(axis=1).sum() <= all_pairs(x, start).min(axis=1).sum() * (1 + 1e-9) + 1e-25
    np.testing.assert_array_equal(labels, all_pairs(x, centres).argmin(axis=1))


def test_lloyd_equals_the_plain_one_on_points_without_ties():
    x = np.random.default_rng(0).normal(size=(3_000, 2))
    start = x[kmeans.seed(x, 40, np.random.default_rng(1))]
    centres, _ = kmeans.lloyd(x, start, 8)
    np.testing.assert_allclose(centres, plain_lloyd(x, start, 8), atol=1e-10)


@pytest.mark.parametrize("d", [2, 3, 10, 16, 17, 40])
def test_every_dimension_gives_all_pairs(d):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(700, d))
    x[100:140] = x[:40]
    centres = x[kmeans.seed(x, 60, rng, d % 2 == 0)]
    np.testing.assert_array_equal(kmeans.assign(x, centres), all_pairs(x, centres).argmin(axis=1))
    moved, labels = kmeans.lloyd(x, centres, 5)
    assert all_pairs(x, moved).min(axis=1).sum() < all_pairs(x, centres).min(axis=1).sum()
    np.testing.assert_array_equal(labels, all_pairs(x, moved).argmin(axis=1))


def test_an_empty_cluster_moves_to_the_farthest_point():
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [50.0, 0.0]])
    centres, labels = kmeans.lloyd(x, np.array([[0.0, 0.0], [0.0, 0.0]]), 10)
    assert labels.tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(centres, [[1 / 3, 1 / 3], [50.0, 0.0]])


def test_equal_points_leave_clusters_empty():
    x = np.ones((40, 2))
    centres, labels = kmeans.lloyd(x, x[:3], 10)
    assert (labels == 0).all()
    assert (centres == 1.0).all()
    assert kmeans.best_per_cluster(labels, np.zeros(40), 3).tolist() == [0, -1, -1]


def test_one_index_serves_every_function():
    x = np.random.default_rng(0).normal(size=(500, 2))
    tree = kmeans.index(x)
    assert sorted(tree.rows.tolist()) == list(range(500))
    seeds = kmeans.seed(tree, 9, np.random.default_rng(4), True)
    np.testing.assert_array_equal(seeds, kmeans.seed(x, 9, np.random.default_rng(4), True))
    for one, two in zip(kmeans.lloyd(tree, x[seeds], 7), kmeans.lloyd(x, x[seeds], 7), strict=True):
        np.testing.assert_array_equal(one, two)
    before = x.copy()
    kmeans.index(x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("d", [2, 30])
def test_threads_change_nothing(d):
    x = np.random.default_rng(0).normal(size=(20_000 if d == 2 else 2_000, d))
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            seeds = kmeans.seed(x, 50, np.random.default_rng(2))
            results.append((seeds, *kmeans.lloyd(x, x[seeds], 5), kmeans.assign(x, x[seeds])))
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**32))
def test_best_per_cluster_is_the_first_of_the_best(n, k, seed):
    rng = np.random.default_rng(seed)
    labels, score = rng.integers(0, k, n), rng.integers(0, 3, n).astype(float)
    rows = kmeans.best_per_cluster(labels, score, k)
    for cluster in range(k):
        members = [i for i in range(n) if labels[i] == cluster]
        assert rows[cluster] == (max(members, key=lambda i: (score[i], -i)) if members else -1)


def test_bad_input_is_named():
    x = np.random.default_rng(0).normal(size=(5, 2))
    rng = np.random.default_rng(0)
    with pytest.raises(BadInput, match=r"6 are asked for and 5 points"):
        kmeans.seed(x, 6, rng)
    with pytest.raises(BadInput, match=r"0 are asked for"):
        kmeans.seed(x, 0, rng)
    x[3, 1] = np.nan
    with pytest.raises(BadInput, match=r"row 3 is not finite \(1 in all\)"):
        kmeans.seed(x, 2, rng)
    with pytest.raises(BadInput, match=r"row 3 is not finite"):
        kmeans.lloyd(x, x[:2])
    with pytest.raises(BadInput, match=r"2 dimensions against 3"):
        kmeans.assign(x[:3], np.zeros((2, 3)))
    with pytest.raises(BadInput, match=r"-1 iterations"):
        kmeans.lloyd(x[:3], x[:2], -1)
    with pytest.raises(BadInput, match=r"row 1 has score nan"):
        kmeans.best_per_cluster(np.array([0, 0]), np.array([1.0, np.nan]), 1)
    with pytest.raises(BadInput, match=r"row 0 has score 1.0 and cluster 2 of 2"):
        kmeans.best_per_cluster(np.array([2]), np.array([1.0]), 2)
