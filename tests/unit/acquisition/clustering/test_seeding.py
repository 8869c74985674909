"""k-means++ seeding against brute-force D² sampling, and its edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition.clustering.seeding import kmeans_plusplus
from tessera.errors import BadInput


def sequence_probability(points: np.ndarray, order: tuple[int, ...]) -> float:
    """P(order) by Arthur & Vassilvitskii: 1/n, then D(x)² / Σ D² given what was drawn before."""
    probability = 1.0 / len(points)
    for i in range(1, len(order)):
        d2 = np.array([min(((x - points[c]) ** 2).sum() for c in order[:i]) for x in points])
        probability *= d2[order[i]] / d2.sum()
    return probability


@pytest.mark.parametrize("k", [2, 3])
def test_draws_follow_the_d2_distribution(k):
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [3.0, 3.5]])
    draws = 20_000
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(draws):
        order = tuple(kmeans_plusplus(points, k, np.random.default_rng(seed)).tolist())
        counts[order] = counts.get(order, 0) + 1
    orders = list(itertools.permutations(range(5), k))
    expected = np.array([sequence_probability(points, order) for order in orders]) * draws
    assert expected.sum() == pytest.approx(draws)
    seen = np.array([counts.pop(order, 0) for order in orders])
    assert not counts
    # Rare orders together, so that every cell of the chi-square has 5 or more.
    rare = expected < 5
    seen = np.append(seen[~rare], seen[rare].sum())
    expected = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
    keep = expected >= 5
    statistic = ((seen[keep] - expected[keep]) ** 2 / expected[keep]).sum()
    freedom = keep.sum() - 1
    assert statistic < freedom + 4.5 * np.sqrt(2 * freedom)


def test_greedy_leaves_less_than_plain_on_average():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 2))

    def left(trials: int) -> float:
        total = 0.0
        for seed in range(30):
            centres = points[kmeans_plusplus(points, 12, np.random.default_rng(seed), trials)]
            total += ((points[:, None] - centres[None]) ** 2).sum(axis=2).min(axis=1).sum()
        return total

    assert left(6) < 0.95 * left(1)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=25),
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.data(),
)
def test_distinct_indices_and_distinct_points_first(rows, seed, trials, data):
    points = np.array(rows, float)
    k = data.draw(st.integers(1, len(points)))
    chosen = kmeans_plusplus(points, k, np.random.default_rng(seed), trials)
    assert len(np.unique(chosen)) == k == len(chosen)
    different = len(np.unique(points, axis=0))
    first = points[chosen[: min(k, different)]]
    assert len(np.unique(first, axis=0)) == len(first)  # a duplicate comes only when no new point is left


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e150])
def test_scale_changes_nothing(scale):
    points = np.random.default_rng(1).normal(size=(40, 3))
    expected = kmeans_plusplus(points * 2.0**0, 10, np.random.default_rng(5))
    got = kmeans_plusplus(points * 2.0 ** np.round(np.log2(scale)), 10, np.random.default_rng(5))
    assert np.array_equal(got, expected)


def test_k_equals_n_takes_every_point():
    points = np.random.default_rng(1).normal(size=(17, 2))
    assert sorted(kmeans_plusplus(points, 17, np.random.default_rng(0)).tolist()) == list(range(17))


def test_all_equal_points_are_drawn_uniformly():
    firsts = [kmeans_plusplus(np.zeros((4, 2)), 2, np.random.default_rng(seed))[1] for seed in range(4_000)]
    assert (np.abs(np.bincount(firsts, minlength=4) - 1_000) < 130).all()


def test_more_seeds_than_points_is_refused_with_both_numbers():
    with pytest.raises(BadInput, match=r"5 regions are asked for and 4 are left"):
        kmeans_plusplus(np.zeros((4, 2)), 5, np.random.default_rng(0))
