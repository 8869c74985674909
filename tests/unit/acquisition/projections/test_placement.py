"""The place of new points in a fitted map: against umap-learn, and the same whatever runs them."""

from __future__ import annotations

import dataclasses
import warnings

import numba
import numpy as np
import pytest

from tessera.acquisition.neighbours.inverted_file import InvertedFile
from tessera.acquisition.projections.umap import UmapParams, fit, placement_kernel
from tessera.errors import BadInput

CURVE = (1.577, 0.895)


def blobs(n: int, seed: int, dimension: int = 24) -> np.ndarray:
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    centres, basis = fixed.normal(0, 3, (8, dimension)), fixed.normal(size=(4, dimension))
    return (centres[rng.integers(0, 8, n)] + rng.normal(size=(n, 4)) @ basis).astype(np.float32)


def trustworthiness(x: np.ndarray, y: np.ndarray) -> float:
    from sklearn.manifold import trustworthiness as measure

    return float(measure(x, y, n_neighbors=15))


def test_forces_are_those_of_the_paper():
    a, b = CURVE
    tables = placement_kernel.force_tables(a, b)
    for squared in [*np.geomspace(1e-10, 1e8, 400), 1.0, 2.0, 3.0]:
        attraction = -2 * a * b * squared ** (b - 1) / (1 + a * squared**b)
        repulsion = 2 * b / ((0.001 + squared) * (1 + a * squared**b))
        for table, expected in zip(tables, (attraction, repulsion), strict=True):
            assert placement_kernel.look_up(table, np.float32(squared)) == pytest.approx(expected, rel=2e-4)
    for squared in (1e-38, 1e38):
        assert np.isfinite(placement_kernel.look_up(tables[0], np.float32(squared)))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_one_pull_is_a_clipped_step_along_the_difference(dimensions):
    a, b = CURVE
    tables = placement_kernel.force_tables(a, b)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 30.0):
        here, there = (rng.normal(size=(2, 1, dimensions)) * scale).astype(np.float32)
        squared = float(np.square(here - there).sum())
        for table, force in (
            (tables[0], -2 * a * b * squared ** (b - 1) / (1 + a * squared**b)),
            (tables[1], 2 * b / ((0.001 + squared) * (1 + a * squared**b))),
        ):
            expected = here[0] + 0.5 * np.clip(force * (here[0] - there[0]), -4, 4)
            moved = here[0].copy()
            placement_kernel.pull(moved, here[0], there, 0, table, np.float32(0.5))
            np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-5)
            if dimensions == 2:
                flat = here[0] + np.float32(0.5) * np.array(placement_kernel.force_2d(*here[0], there, 0, table))
                np.testing.assert_allclose(flat, expected, rtol=1e-3, atol=1e-5)


def test_five_points_push_at_once_from_where_the_pull_ends():
    tables = placement_kernel.force_tables(*CURVE)
    fixed = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    rate, start = np.float32(0.25), np.uint64(7)
    for d in (2, 3):
        places, mask = np.ascontiguousarray(fixed[:, :d]), 2**64 - 1
        moved, state = np.ones(d, np.float32), int(start)
        fitted = placement_kernel.Fitted(places, tables)
        neighbors, often = np.array([4, 9], np.int32), np.array([1.0, 0.5], np.float32)
        end = placement_kernel.move_point(moved, fitted, neighbors, often, 2, rate, start)
        expected = np.ones(d, np.float32)
        for neighbor in neighbors:  # in the second epoch both have their turn
            placement_kernel.pull(expected, expected.copy(), places, neighbor, tables[0], rate)
            pushed = np.zeros(d)
            for _ in range(5):
                state = (state + 0x9E3779B97F4A7C15) & mask
                j = ((int(placement_kernel.mixed(np.uint64(state))) >> 32) * 50) >> 32
                after = expected.copy()
                placement_kernel.pull(after, expected, places, j, tables[1], rate)
                pushed += after - expected
            expected = (expected + pushed).astype(np.float32)
        assert int(end) == state
        np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)


def test_an_edge_has_its_turn_in_its_part_of_the_epochs():
    """Where nobody pushes (one fitted point, at the place itself), an edge of a quarter moves in every fourth epoch."""
    fitted = placement_kernel.Fitted(np.array([[0.5, 0.5]], np.float32), placement_kernel.force_tables(*CURVE))
    neighbors, often, moves = np.array([0], np.int32), np.array([0.25], np.float32), []
    for epoch in range(1, 101):
        position = np.array([1.0, 1.0], np.float32)
        placement_kernel.move_point(position, fitted, neighbors, often, epoch, np.float32(0.1), np.uint64(3))
        moves.append(bool((position != 1.0).any()))
    assert [epoch + 1 for epoch, moved in enumerate(moves) if moved] == list(range(4, 101, 4))


@pytest.mark.full
def test_strengths_are_those_of_umap_learn():
    lib = fit._library()
    distances = np.sort(np.abs(np.random.default_rng(0).normal(2, 1, (200, 15))), axis=1).astype(np.float32)
    distances[3, 0] = 0.0
    sigmas, rhos = lib.smooth_knn_dist(distances, 15.0, local_connectivity=0.0)
    assert (rhos == 0).all()
    weights = np.empty_like(distances)
    placement_kernel.strengths(distances, 0, 200, weights)
    np.testing.assert_allclose(weights, np.exp(-distances / sigmas[:, None]), rtol=1e-3)
    np.testing.assert_allclose(weights[:, 1:].sum(axis=1), np.log2(15), atol=1e-3)
    placement_kernel.strengths(np.zeros((1, 15), np.float32), 0, 1, weights[:1])
    assert (weights[0] == 1.0).all()


@pytest.mark.full
def test_new_points_are_placed_as_trustworthily_as_by_umap_learn():
    x, new = blobs(1_500, 0), blobs(300, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = fit._library().UMAP(random_state=3, n_jobs=1, n_epochs=200)
        theirs = library.fit_transform(x)
        their_new = library.transform(new)
    ours = fit.Umap(UmapParams(epochs=200, refine=30))
    state, embedding = ours.fit(x, 3)
    both = np.concatenate([x, new])
    expected = trustworthiness(both, np.concatenate([theirs, their_new]))
    assert trustworthiness(both, np.concatenate([embedding, ours.transform(state, new, 1)])) >= expected - 0.01
    # The same places for new points whose neighbours were found by cells.
    cells = fit.Umap(UmapParams(search="approximate"))
    assert trustworthiness(both, np.concatenate([embedding, cells.transform(state, new, 1)])) >= expected - 0.01


@pytest.mark.parametrize("init", ["spectral", "pca", "random"])
@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_fit_and_placement_repeat_on_any_number_of_threads(init, search):
    x, new = blobs(400, 0), blobs(90, 1)
    projection = fit.Umap(UmapParams(init=init, search=search, epochs=30, refine=10))
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            state, embedding = projection.fit(x, 5)
            results.append((embedding, projection.transform(state, new, 2)))
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.isfinite(results[0][0]).all()


@pytest.mark.parametrize("search", ["exact", "approximate"])
@pytest.mark.parametrize("refine", [0, 10])
def test_new_points_depend_on_themselves_alone(search, refine):
    x, new = blobs(300, 0), blobs(60, 1)
    projection = fit.Umap(UmapParams(search=search, refine=refine, epochs=20))
    state, _ = projection.fit(x, 5)
    placed = projection.transform(state, new, 2)
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(projection.transform(state, new[order], 2), placed[order])
    np.testing.assert_array_equal(projection.transform(state, new[:7], 2), placed[:7])
    assert (refine == 0) == np.array_equal(projection.transform(state, new, 3), placed)


def test_cells_are_kept_with_the_map_bit_for_bit():
    x, new = blobs(500, 0), blobs(60, 1)
    projection = fit.Umap(UmapParams(search="approximate", epochs=10))
    state, _ = projection.fit(x, 0)
    one, two = InvertedFile.build(x, 0), InvertedFile.restore(x, state)
    for field in dataclasses.fields(InvertedFile):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))
    # A map fitted before cells were kept: they are made anew, from the seed that this one was fitted with.
    without = {name: value for name, value in state.items() if not name.startswith("cell_")}
    assert set(state) - set(without) == {"cell_rows", "cell_starts", "cell_centres", "cell_middle"}
    np.testing.assert_array_equal(projection.transform(state, new, 2), projection.transform(without, new, 2))
    exact = fit.Umap(UmapParams(search="exact", epochs=10)).fit(x, 0)[0]
    assert set(exact) == set(without)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("cell_rows", lambda a: a[:-1]),
        ("cell_rows", lambda a: np.full_like(a, 3)),
        ("cell_rows", lambda a: a - 1),
        ("cell_rows", lambda a: a + 1),
        ("cell_starts", lambda a: a + 1),
        ("cell_starts", lambda a: a[::-1].copy()),
        ("cell_starts", lambda a: a[1:]),
        ("cell_centres", lambda a: a[:, 1:]),
        ("cell_centres", lambda a: a[:0]),
        ("cell_middle", lambda a: a[1:]),
    ],
)
def test_cells_that_do_not_fit_are_refused(name, damage):
    x = blobs(200, 0)
    state = InvertedFile.build(x, 0).state()
    with pytest.raises(BadInput, match="fit it again"):
        InvertedFile.restore(x, {**state, name: damage(state[name])})


def test_without_refinement_a_fitted_point_is_found_where_it_is():
    x = blobs(300, 0)
    projection = fit.Umap(UmapParams(refine=0, epochs=20))
    state, embedding = projection.fit(x, 5)
    np.testing.assert_array_equal(projection.transform(state, x[:40], 2), embedding[:40])


def test_the_start_at_components_equals_the_singular_vectors():
    x = blobs(5_000, 0)
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    scores = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    start = fit.start_at_components(x, 2, 0)
    np.testing.assert_allclose(np.abs(start), np.abs(scores) * 10 / np.abs(scores).max(), atol=2e-3)
    assert np.isfinite(fit.start_at_components(np.zeros((5, 3), np.float32), 4, 0)).all()
