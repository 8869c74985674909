"""Clustering and projection against scikit-learn, umap-learn and numpy used plainly: ratios, with equality beside them.

``TESSERA_BENCH_POINTS`` caps the sizes (default 100,000; the largest is 6,000,000). Both sides use all cores where
they can. Times are medians of three below 100,000 points and single runs above, after one call that compiles.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tessera.acquisition.clustering import k_center, kmeans
from tessera.acquisition.projections.umap import UmapParams, fit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
CAP = int(os.environ.get("TESSERA_BENCH_POINTS", "100000"))
ITERATIONS = 20
CAP_SAME = 100_000
# Points, clusters, whether scikit-learn runs to the end; where not, one of its iterations is timed, from our seeds.
CASES = [
    (60_555, 32, True),
    (60_555, 1_000, True),
    (60_555, 10_000, True),
    (1_000_000, 1_000, True),
    (1_000_000, 10_000, False),
    (6_000_000, 32, True),
]


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}")


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), result


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def plane(n: int) -> np.ndarray:
    """Points of unequal density in 2-D, as a map of regions has."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 2)) * 5
    return centres[rng.integers(0, 200, n)] + rng.normal(size=(n, 2)) * rng.uniform(0.1, 1, (n, 1))


def features(n: int, seed: int, dimension: int = 128) -> np.ndarray:
    """Vectors near forty curved sheets of ten dimensions."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(77)
    basis, middle = fixed.normal(size=(10, 128)) / 3, fixed.normal(size=(40, 128))
    mixing = fixed.normal(size=(128, dimension)) / 8
    curved = np.tanh(middle[rng.integers(0, 40, n)] + rng.normal(size=(n, 10)) @ basis) @ mixing * 3
    return np.maximum(0, curved + 0.1 * rng.normal(size=(n, dimension))).astype(np.float32)


def inertia(x: np.ndarray, centres: np.ndarray, labels: np.ndarray) -> float:
    return float(np.square(x - centres[labels]).sum())


def wrong(x: np.ndarray, centres: np.ndarray, labels: np.ndarray) -> int:
    """How many of 2,000 rows are not at the first of their nearest centres, every pair tried."""
    rows = np.random.default_rng(1).choice(len(x), 2_000, replace=False)
    exponent = -int(np.frexp(np.abs(x).max())[1])
    a, c = np.ldexp(x[rows], exponent), np.ldexp(centres, exponent)
    pairs = np.square(a[:, 0, None] - c[None, :, 0]) + np.square(a[:, 1, None] - c[None, :, 1])
    return int((pairs.argmin(axis=1) != labels[rows]).sum())


def ours(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    tree = kmeans.index(x)
    begun = time.perf_counter()
    start = x[kmeans.seed(tree, k, np.random.default_rng(3), True)]
    seeding = time.perf_counter() - begun
    return *kmeans.lloyd(tree, start, ITERATIONS), start, seeding


@pytest.mark.parametrize(("n", "k", "whole"), CASES)
def test_k_means(n: int, k: int, whole: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Index, greedy k-means++, 20 iterations and the final assignment, against ``KMeans`` with the same."""
    if n > CAP:
        pytest.skip(f"{n} points are over TESSERA_BENCH_POINTS={CAP}")
    from sklearn.cluster import KMeans

    x = plane(n)
    ours(x[:5_000], 10)
    seconds, (centres, labels, begin, seeding) = timed(lambda: ours(x, k), 3 if n < 100_000 else 1)
    held = peak_gib()
    own = inertia(x, centres, labels)
    # One assignment more in ``KMeans`` where it stops early would help it: tol 0 keeps both at twenty.
    start: dict[str, Any] = {"init": "k-means++", "max_iter": ITERATIONS} if whole else {"init": centres, "max_iter": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that twenty iterations are few
        model = KMeans(k, n_init=1, tol=0.0, random_state=3, **start)
        theirs, _ = timed(lambda: model.fit(x), 1)
        # Where k-means ends depends on where it starts: results are the same only from the same start. Of many points
        # a part is taken, whose iterations take scikit-learn seconds and not minutes.
        part = x if n < CAP_SAME else x[: CAP_SAME // 2]
        same = KMeans(k, init=begin, n_init=1, tol=0.0, max_iter=ITERATIONS).fit(part).inertia_
    ends = inertia(part, *kmeans.lloyd(part, begin, ITERATIONS))
    first, step = kmeans.assign(x, begin), kmeans.lloyd(x, begin, 1)[0]
    counts = np.bincount(first, minlength=k)
    means = np.stack([np.bincount(first, axis, k) for axis in x.T], axis=1)[counts > 0] / counts[counts > 0, None]
    more = "" if whole else " (one iteration × 20, without seeding)"
    other = theirs if whole else theirs * ITERATIONS
    say(
        capsys,
        f"k-means n={n} k={k}: {seconds:.3f} s, of which seeding {seeding:.3f}; scikit-learn {other:.2f} s{more}, "
        f"ratio {other / seconds:.0f}; inertia against its own start {own / model.inertia_ - 1:+.2%}, from our start "
        f"on {len(part)} points {ends / same - 1:+.2%}; wrong assignments {wrong(x, centres, labels)} of 2,000; "
        f"peak {held:.2f} GiB",
    )
    assert wrong(x, centres, labels) == 0
    assert wrong(x, begin, first) == 0
    np.testing.assert_allclose(step[counts > 0], means, rtol=1e-9, atol=1e-12)
    assert ends <= 1.01 * same
    assert own < inertia(x, begin, first)


@pytest.mark.parametrize("k", [1_000, 10_000])
def test_seeding_and_best_rows(k: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Seeding alone, and the best row of each cluster against a sort."""
    from sklearn.cluster import kmeans_plusplus

    x = plane(60_555)
    tree = kmeans.index(x)
    kmeans.seed(tree, 10, np.random.default_rng(0))
    plain, _ = timed(lambda: kmeans.seed(tree, k, np.random.default_rng(0)), 5)
    greedy, seeds = timed(lambda: kmeans.seed(tree, k, np.random.default_rng(0), True), 5)
    theirs, (other, _) = timed(lambda: kmeans_plusplus(x, k, random_state=0), 1)
    left, right = (inertia(x, c, kmeans.assign(tree, c)) for c in (x[seeds], other))
    labels, score = kmeans.assign(tree, x[seeds]), np.random.default_rng(0).random(len(x))
    kmeans.best_per_cluster(labels, score, k)
    one_pass, rows = timed(lambda: kmeans.best_per_cluster(labels, score, k), 9)

    def sorting() -> np.ndarray:
        order = np.lexsort((-score, labels))
        return order[np.flatnonzero(np.diff(labels[order], prepend=-1))]

    sort, expected = timed(sorting, 3)
    say(
        capsys,
        f"seeding n=60555 k={k}: plain {plain * 1e3:.1f} ms, greedy {greedy * 1e3:.1f} ms; scikit-learn (greedy) "
        f"{theirs:.2f} s, ratio {theirs / greedy:.0f}; Σ D² left {left / right - 1:+.2%}. Best rows "
        f"{one_pass * 1e3:.2f} ms against lexsort {sort * 1e3:.1f}, ratio {sort / one_pass:.0f}, "
        f"equal: {np.array_equal(rows, expected)}",
    )
    np.testing.assert_array_equal(rows, expected)


def test_k_center(capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 farthest of 60,555 × 320, 100 labelled, against one matrix product a step."""
    x, y, k = features(60_555, 0, 320), features(100, 1, 320), 1_000
    k_center.greedy(x[:100], y, 5)
    seconds, chosen = timed(lambda: k_center.greedy(x, y, k), 3)
    norms = np.einsum("nd,nd->n", x, x)

    def plain() -> np.ndarray:
        reach = (norms[:, None] + np.einsum("nd,nd->n", y, y) - 2 * x @ y.T).min(axis=1)
        rows = []
        for _ in range(k):
            rows.append(int(reach.argmax()))
            centre = x[rows[-1]]
            np.minimum(reach, norms + centre @ centre - 2 * (x @ centre), out=reach)
        return np.array(rows)

    theirs, expected = timed(plain, 1)

    def radius(rows: np.ndarray) -> float:
        centres = np.concatenate([x[rows], y])
        own = np.einsum("nd,nd->n", centres, centres)
        nearest = [(own - 2 * part @ centres.T).min(axis=1) for part in np.array_split(x, 16)]
        reach = norms + np.concatenate(nearest)
        return float(np.sqrt(reach.max()))

    radii = radius(chosen), radius(expected)
    say(
        capsys,
        f"k-center n=60555 D=320 k={k}: {seconds:.2f} s; numpy {theirs:.1f} s, ratio {theirs / seconds:.0f}; "
        f"the same rows: {np.mean(chosen == expected):.1%}; radius {radii[0] / radii[1] - 1:+.3%}",
    )
    assert len(set(chosen.tolist())) == k
    assert radii[0] <= 1.001 * radii[1]


def trust(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> float:
    """Trustworthiness (15 neighbours) of some rows of a map."""
    from scipy.spatial import cKDTree

    near = cKDTree(y).query(y[rows], 16)[1][:, 1:]
    distance = np.einsum("nd,nd->n", x, x) - 2 * x[rows] @ x.T
    rank = np.empty(distance.shape, np.int64)
    np.put_along_axis(rank, distance.argsort(axis=1), np.arange(len(x))[None].repeat(len(rows), 0), axis=1)
    lost = np.maximum(0, np.take_along_axis(rank, near, axis=1) - 15).sum()
    return float(1 - 2 / (len(rows) * 15 * (2 * len(x) - 46)) * lost)


def test_map(capsys: pytest.CaptureFixture[str]) -> None:
    """50,000 new points in a fit of 50,000 × 128, against umap-learn with a seed; the fit is umap-learn's own."""
    x, new = features(50_000, 0), features(50_000, 1)
    ours = fit.Umap(UmapParams())
    ours.transform(ours.fit(x[:9_000], 0)[0], new[:20_000], 0)  # compiles
    library = fit._library().UMAP
    rows = np.random.default_rng(0).choice(50_000, 500, replace=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library(random_state=1, n_epochs=11).fit(x[:9_000]).transform(new[:100])  # compiles
        seconds, (state, embedding) = timed(lambda: ours.fit(x, 1), 1)
        theirs, model = timed(lambda: library(random_state=1).fit(x), 1)
        place, placed = timed(lambda: ours.transform(state, new, 1), 1)
        their_place, their_placed = timed(lambda: model.transform(new), 1)
    own, other = trust(x, embedding, rows), trust(x, model.embedding_, rows)
    both, at = np.concatenate([x, new]), rows + len(x)
    own_new = trust(both, np.concatenate([embedding, placed]), at)
    other_new = trust(both, np.concatenate([model.embedding_, their_placed]), at)
    say(
        capsys,
        f"map n=50000 D=128: fit {seconds:.1f} s, umap-learn {theirs:.1f} s, ratio {theirs / seconds:.1f}, "
        f"trustworthiness {own:.4f} against {other:.4f}; new points {place / 50_000 * 1e6:.1f} µs each, umap-learn "
        f"{their_place / 50_000 * 1e6:.1f}, ratio {their_place / place:.1f}, trustworthiness {own_new:.4f} against "
        f"{other_new:.4f}",
    )
    assert own >= other - 0.01
    assert own_new >= other_new - 0.01
