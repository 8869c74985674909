"""Redundancy of a pool and crowding of a batch, against brute force from the definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tessera.acquisition.diagnostics import batch, class_entropy, cosine, plane, redundancy, spread
from tessera.errors import BadInput

matrices = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 12), st.integers(1, 5)),
    elements=st.floats(-4, 4).map(lambda value: round(value, 1)),
)


def names(features):
    return [f"im{index}" for index in range(len(features))]


def brute_cosine(a, b):
    if not a.any() or not b.any():
        return float(not a.any() and not b.any())
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@settings(deadline=None)
@given(matrices)
def test_similarities_are_cosines(features):
    made = cosine.similarities(features)
    for i, j in itertools.product(range(len(features)), repeat=2):
        assert made[i, j] == pytest.approx(brute_cosine(features[i], features[j]), abs=1e-12)


@settings(deadline=None)
@given(matrices, st.sampled_from([0.01, 0.05, 0.3]))
def test_every_figure_against_brute_force(features, radius):
    made = redundancy(features, names(features), radius=radius)
    similar = cosine.similarities(features)
    count = len(features)
    closest = [max(similar[i, j] for j in range(count) if j != i) for i in range(count)]
    assert made.nearest == pytest.approx(np.mean(closest))
    assert made.twins == np.mean([one >= 1 - radius for one in closest])
    leaders = []
    for i in range(count):
        if all(similar[i, j] < 1 - radius for j in leaders):
            leaders.append(i)
    assert made.leaders == len(leaders)
    kernel = np.exp(-(1 - similar) / radius) / count
    # Entropy of a density matrix, by its logarithm: −tr(K log K).
    values, vectors = np.linalg.eigh(kernel)
    values = values.clip(1e-300)
    entropy = -np.trace(kernel @ (vectors * np.log(values)) @ vectors.T)
    assert made.effective_size == pytest.approx(np.exp(entropy), rel=1e-6)
    assert 1 - 1e-9 <= made.effective_size <= count + 1e-9


@settings(deadline=None)
@given(matrices, st.randoms())
def test_order_of_the_images_does_not_matter(features, random):
    order = list(range(len(features)))
    random.shuffle(order)
    first, second = redundancy(features, names(features)), redundancy(features[order], names(features))
    assert first.nearest == pytest.approx(second.nearest)
    assert first.effective_size == pytest.approx(second.effective_size)
    assert first.twins == second.twins


def test_copies_and_distinct_images():
    distinct = np.eye(6)
    alone = redundancy(distinct, names(distinct))
    assert (alone.leaders, alone.twins, alone.nearest) == (6, 0.0, 0.0)
    assert alone.effective_size == pytest.approx(6, rel=1e-6)
    copied = np.repeat(distinct, 5, axis=0) * np.arange(1, 31)[:, None]
    many = redundancy(copied, names(copied))
    assert (many.leaders, many.twins) == (6, 1.0)
    assert many.nearest == pytest.approx(1)
    assert many.effective_size == pytest.approx(6, rel=1e-6)
    assert many.leader_share == pytest.approx(0.2)
    assert many.effective_share == pytest.approx(0.2)
    zeros = redundancy(np.zeros((4, 3)), names(np.zeros((4, 3))))
    assert (zeros.leaders, zeros.twins) == (1, 1.0)
    assert zeros.effective_size == pytest.approx(1)


def test_adjacency_counts_frames_beside_each_other():
    """Two videos that turn slowly; each frame is most like the one before or after. A still is not counted."""
    angle = np.array([0.0, 0.1, 0.21, 2.0, 2.1, 2.21, 4.0])
    features = np.column_stack([np.cos(angle), np.sin(angle)])
    order = [3, 0, 6, 5, 1, 4, 2]
    sequences = ["a", "a", "a", "b", "b", "b", ""]
    times = [0.0, 0.5, 1.0, 7.0, 7.5, 8.5, 0.0]
    made = redundancy(features[order], names(features), [sequences[i] for i in order], [times[i] for i in order])
    assert made.adjacent == 1.0
    assert made.adjacent_by_chance == pytest.approx(np.mean([1, 2, 1, 1, 2, 1]) / 6)
    assert made.frame_seconds == 0.5
    # The middle frame of the second video leaves: its neighbours are then each other's.
    swapped = redundancy(features[[0, 3, 1]], names(features)[:3], ["a", "a", "a"], [0.0, 1.0, 2.0])
    assert swapped.adjacent == pytest.approx(1 / 3), "only the frame in between is beside both"
    assert redundancy(features, names(features), [""] * 7, [0.0] * 7).adjacent is None
    assert redundancy(features, names(features)).frame_seconds is None


def test_what_cannot_be_measured():
    good = np.eye(3)
    with pytest.raises(BadInput, match="1 images"):
        redundancy(good[:1], ["a"])
    with pytest.raises(BadInput, match="for 2 images"):
        redundancy(good, ["a", "b"])
    with pytest.raises(BadInput, match=r"radius 1\.5"):
        redundancy(good, ["a", "b", "c"], radius=1.5)
    bad = good.copy()
    bad[1, 0] = np.nan
    with pytest.raises(BadInput, match=r"image b hold NaN or infinity \(1 images"):
        redundancy(bad, ["a", "b", "c"])


def brute_mean(points):
    return float(np.mean([np.linalg.norm(a - b) for a, b in itertools.combinations(points, 2)]))


@settings(deadline=None)
@given(matrices, st.data())
def test_spread_is_the_ratio_of_mean_distances(points, data):
    rows = data.draw(st.lists(st.integers(0, len(points) - 1), min_size=2, max_size=len(points), unique=True))
    made = spread(points, np.array(rows))
    assert made.inside == pytest.approx(brute_mean(points[rows]), abs=2e-5)
    assert made.random == pytest.approx(brute_mean(points), abs=2e-5)
    assert (made.ratio is None) == (made.random == 0)


def test_a_random_batch_has_the_distance_of_the_pool_on_average():
    """The expectation that is used in place of drawing batches."""
    points = np.random.default_rng(0).normal(size=(7, 2))
    batches = [brute_mean(points[list(rows)]) for rows in itertools.combinations(range(7), 3)]
    assert spread(points, np.arange(3)).random == pytest.approx(np.mean(batches))


def test_spread_of_many_points_is_estimated_closely():
    points = np.random.default_rng(1).normal(size=(batch.EXACT + 500, 3))
    exact = brute_mean(points[:900])
    assert batch.mean_distance(points) == pytest.approx(exact, rel=0.03)
    assert batch.mean_distance(points) == batch.mean_distance(points)


def test_spread_at_the_edges():
    same = np.full((5, 3), 0.1)
    assert spread(same, np.array([0, 3])).ratio is None
    assert spread(np.eye(3), np.array([1])) is None
    assert spread(np.eye(3), np.array([], int)) is None
    whole = spread(np.eye(3), np.arange(3))
    assert whole.ratio == pytest.approx(1)
    for rows in ([0, 0], [3], [-1, 0]):
        with pytest.raises(BadInput, match="rows must be different"):
            spread(np.eye(3), np.array(rows))
    with pytest.raises(BadInput, match="NaN"):
        spread(np.array([[np.inf], [0.0]]), np.array([0, 1]))


def test_class_entropy():
    assert class_entropy([[3], [3], [3]], 5) == 0
    assert class_entropy([[0, 1], [2, 3]], 4) == pytest.approx(np.log(4))
    assert class_entropy([[0], [0], [1]], 4) == pytest.approx(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)))
    assert class_entropy([[0, 255], [255]], 4) == 0, "undefined is no class"
    assert class_entropy([[255]], 4) is None
    assert class_entropy([], 4) is None


@settings(deadline=None)
@given(matrices)
def test_plane_keeps_the_most_variance(points):
    made, share = plane(points)
    assert made.shape == (len(points), 2)
    centred = points - points.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    total = (centred**2).sum()
    assert (made**2).sum() == pytest.approx(values[:2].sum(), abs=1e-9)
    assert share == pytest.approx(values[:2].sum() / total if total else 1.0, abs=1e-9)
    assert (plane(points)[0] == made).all()
