"""Choices in high dimension against the plain form: k-center greedy, D² sampling, nearest centres and neighbours."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition.clustering import d2_sampling, k_center, lazy_distances_kernel
from tessera.acquisition.neighbours import inverted_file, nearest_centre
from tessera.acquisition.neighbours.exact import nearest
from tessera.acquisition.neighbours.inverted_file import InvertedFile
from tessera.errors import BadInput


def squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.square(x[:, None].astype(np.float64) - y[None]).sum(axis=2)


def plain_k_center(x: np.ndarray, labelled: np.ndarray, k: int, first: int) -> list[int]:
    """Sener & Savarese 2018, Algorithm 1; each pair is measured once."""
    chosen = [] if len(labelled) else [first]
    reach = squared(x, labelled if len(labelled) else x[chosen]).min(axis=1)
    while len(chosen) < k:
        reach[chosen] = -1.0
        chosen.append(int(reach.argmax()))
        reach = np.minimum(reach, squared(x, x[chosen[-1:]])[:, 0])
    return chosen


@st.composite
def features(draw: st.DrawFn) -> np.ndarray:
    """Lattice points have exact distances, so that ties are ties in any arithmetic."""
    n, d = draw(st.integers(1, 40)), draw(st.sampled_from([1, 3, 8, 33, 70]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(-2, 3, (n, d)) if draw(st.booleans()) else np.repeat(rng.integers(0, 2, (n, 1)), d, axis=1)
    return x.astype(np.float32)


@settings(deadline=None, max_examples=150)
@given(features(), st.integers(0, 3), st.integers(0, 2**32), st.data())
def test_k_center_is_the_plain_one(x, labelled, seed, data):
    k = data.draw(st.integers(1, len(x)))
    y = np.random.default_rng(seed).integers(-2, 3, (labelled, x.shape[1])).astype(np.float32)
    first = seed % len(x)
    assert k_center.greedy(x, y, k, first).tolist() == plain_k_center(x, y, k, first)


def test_k_center_on_features_looks_at_few_pairs():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2_000, 5)) @ rng.normal(size=(5, 64)) + 0.1 * rng.normal(size=(2_000, 64))).astype(np.float32)
    y = x[:20] + np.float32(0.01)
    assert k_center.greedy(x, y, 100).tolist() == plain_k_center(x, y, 100, 0)
    # Distances to the second half of the choices are redone for few of the 2,000 points.
    chosen, squared_now = np.empty(100, np.int64), nearest_centre.closest(x, y)[0]
    stop = lazy_distances_kernel.farthest_first(x, k_center.lengths_from_mean(x), squared_now, chosen, 0, 0.3)
    assert stop == 100


@pytest.mark.parametrize("patience", [0.0, 0.01, 1e9])
def test_k_center_is_the_same_however_distances_are_redone(patience, monkeypatch):
    monkeypatch.setattr(k_center, "_PATIENCE", patience)
    rng = np.random.default_rng(2)
    # Far from the origin, of unequal lengths, with duplicates: nothing is pruned by length.
    x = (rng.normal(size=(200, 37)) * rng.uniform(0.1, 9, (200, 1)) + 100.0).astype(np.float32)
    x[150:] = x[:50]
    assert k_center.greedy(x, x[:3], 150).tolist() == plain_k_center(x, x[:3], 150, 0)
    assert k_center.greedy(x * np.float32(1e18), x[:0], 150, 5).tolist() == plain_k_center(
        x.astype(float), x[:0], 150, 5
    )


@settings(deadline=None, max_examples=80)
@given(features(), st.integers(0, 2**32))
def test_lowering_distances_is_that_of_all_pairs(x, seed):
    rng = np.random.default_rng(seed)
    first, rest = rng.integers(0, len(x), (2, 3))
    held = squared(x, x[first]).min(axis=1)
    held[first[0]] = -1.0
    expected = np.where(held < 0, held, np.minimum(held, squared(x, x[rest]).min(axis=1)))
    nearest_centre.Prepared(x).lower(held, rest)
    np.testing.assert_array_equal(held, expected)


def test_k_center_far_from_the_origin_keeps_its_order():
    x = (np.random.default_rng(1).integers(0, 50, (60, 9)) + 4096).astype(np.float32)
    assert k_center.greedy(x, x[:0], 60, 7).tolist() == plain_k_center(x, x[:0], 60, 7)


def test_d2_sampling_follows_its_distribution():
    points = np.array([[0.0, 0], [1, 0], [0, 2], [3, 3], [3, 3.5]], np.float32)
    d2, draws = squared(points, points), 1_000
    orders = list(itertools.permutations(range(5), 3))
    expected = np.array(
        [d2[a, b] / d2[a].sum() * min(d2[a, c], d2[b, c]) / np.minimum(d2[a], d2[b]).sum() / 5 for a, b, c in orders]
    )
    assert expected.sum() == pytest.approx(1.0)
    seen = {order: 0 for order in orders}
    for seed in range(draws):
        seen[tuple(d2_sampling.d2_sample(points, 3, np.random.default_rng(seed)).tolist())] += 1
    keep = expected * draws >= 5
    counts = np.array(list(seen.values()))
    statistic = ((counts - expected * draws) ** 2 / (expected * draws))[keep].sum()
    assert statistic < keep.sum() - 1 + 4.5 * np.sqrt(2 * keep.sum())


def test_d2_sampling_that_catches_up_stays_exact(monkeypatch):
    """Two blobs: after one seed nearly all weight is old, so that proposals are refused and distances redone."""
    monkeypatch.setattr(d2_sampling, "_PATIENCE", 2)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(300, 20)), rng.normal(size=(300, 20)) + 30.0]).astype(np.float32)
    for seed in range(20):
        chosen = d2_sampling.d2_sample(x, 12, np.random.default_rng(seed), first=0)
        assert len(np.unique(chosen)) == 12
        assert (chosen[:3] >= 300).any()


@settings(deadline=None, max_examples=60)
@given(features(), st.integers(0, 2**32), st.data())
def test_d2_sampling_takes_different_points_first(x, seed, data):
    k = data.draw(st.integers(1, len(x)))
    chosen = d2_sampling.d2_sample(x, k, np.random.default_rng(seed))
    assert len(np.unique(chosen)) == k
    different = len(np.unique(x, axis=0))
    assert len(np.unique(x[chosen[: min(k, different)]], axis=0)) == min(k, different)


@settings(deadline=None, max_examples=80)
@given(features(), st.integers(1, 30), st.integers(0, 2**32), st.sampled_from([1.0, 1e-18, 1e18]))
def test_closest_is_that_of_all_pairs(x, k, seed, scale):
    rng = np.random.default_rng(seed)
    y = np.concatenate([x[rng.integers(0, len(x), k)], rng.integers(-3, 4, (k, x.shape[1]))]).astype(np.float64)
    pairs = squared(x, y)
    distance, index = nearest_centre.closest(x.astype(np.float64) * scale, y * scale)
    if scale == 1.0:
        np.testing.assert_array_equal(index, pairs.argmin(axis=1))
    np.testing.assert_allclose(distance, pairs.min(axis=1) * scale**2, rtol=1e-9)


def test_threads_and_blocks_change_nothing(monkeypatch):
    x = np.random.default_rng(0).normal(size=(3_000, 24)).astype(np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads, block in ((1, 1 << 22), (min(2, numba.config.NUMBA_NUM_THREADS), 1 << 14)):
            numba.set_num_threads(threads)
            monkeypatch.setattr(nearest_centre, "_BLOCK_ELEMENTS", block)
            monkeypatch.setattr(inverted_file, "_CHUNK", 4096 if threads == 1 else 256)
            found = InvertedFile.build(x, 3).nearest(x, 10, self_first=True)
            drawn = d2_sampling.d2_sample(x, 40, np.random.default_rng(1))
            results.append((k_center.greedy(x, x[:5], 50), drawn, *nearest_centre.closest(x, x[:99]), *found))
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("n", [1, 5, 40, 3_000])
@pytest.mark.parametrize("kind", ["different", "duplicates", "equal"])
def test_cells_find_neighbours(n, kind):
    rng = np.random.default_rng(n)
    centres = rng.normal(size=(8, 32)) * 3
    x = (centres[rng.integers(0, 8, n)] + rng.normal(size=(n, 4)) @ rng.normal(size=(4, 32))).astype(np.float32)
    x = {"different": x, "duplicates": x[rng.integers(0, max(1, n // 3), n)], "equal": np.repeat(x[:1], n, axis=0)}[
        kind
    ]
    k = min(n, 12)
    index = InvertedFile.build(x, 0)
    own, zero = index.nearest(x, k, self_first=True)
    expected, distance = nearest(x, x, k, self_first=True)
    assert own[:, 0].tolist() == list(range(n))
    assert (zero[:, 0] == 0).all()
    assert all(len(set(row)) == k for row in own.tolist())
    assert (zero >= distance - 1e-4).all()
    if kind == "different":
        assert np.mean([len(set(a) & set(b)) / k for a, b in zip(own, expected, strict=True)]) > 0.93
    queries = x[: min(n, 50)] + rng.normal(size=(min(n, 50), 32)).astype(np.float32)
    order = rng.permutation(len(queries))
    for one, two in zip(index.nearest(queries, k), index.nearest(queries[order], k), strict=True):
        np.testing.assert_array_equal(one[order], two)


def test_bad_input_is_named():
    x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    with pytest.raises(BadInput, match=r"k-center: 6 are asked for and 5 points"):
        k_center.greedy(x, x[:1], 6)
    with pytest.raises(BadInput, match=r"nothing is labelled and the first point is None; name one of the 5"):
        k_center.greedy(x, x[:0], 2)
    with pytest.raises(BadInput, match=r"8 dimensions against 3"):
        k_center.greedy(x, np.zeros((2, 3), np.float32), 2)
    with pytest.raises(BadInput, match=r"the first point is 5; name one of the 5"):
        d2_sampling.d2_sample(x, 2, np.random.default_rng(0), first=5)
    x[2, 0] = np.inf
    with pytest.raises(BadInput, match=r"k-center points: row 2 is not finite"):
        k_center.greedy(x, x[:1], 2)
    with pytest.raises(BadInput, match=r"D² sampling points: row 2 is not finite"):
        d2_sampling.d2_sample(x, 2, np.random.default_rng(0))
