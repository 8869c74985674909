"""Every stage against a brute force written from its definition."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from tessera.acquisition import STAGES as REGISTRY
from tessera.acquisition.selection.budget import Budget
from tessera.acquisition.selection.pipeline import Stage, run_stages
from tessera.acquisition.selection.pool import Pool
from tessera.acquisition.traits import StageTraits
from tessera.errors import BadInput
from unit.acquisition.selection.pools import STAGES, TIMES, N, keys, pool


def run(made: Pool, name: str, count: int = 9, seed: int = 5, **parameters: object):
    return run_stages(made, [Stage(name, json.dumps(parameters))], Budget("regions", count), seed)


def test_every_registered_stage_is_tested_here():
    covered = {stage.name for stages in STAGES.values() for stage in stages}
    # Stages that make or need certain score columns have tests of their own.
    traits = {name: REGISTRY.entry(name).traits for name in REGISTRY.names()}
    usual = StageTraits()
    scoring = {
        name
        for name, own in traits.items()
        if own.makes_columns is not usual.makes_columns or own.needs_columns is not usual.needs_columns
    }
    assert set(REGISTRY.names()) - scoring == covered


def distance(a, b) -> float:
    return float(((np.float64(a) - np.float64(b)) ** 2).sum() ** 0.5)


def cosine(a, b) -> float:
    a, b = np.float64(a), np.float64(b)
    return float(1 - (a @ b) / ((a @ a) ** 0.5 * (b @ b) ** 0.5))


@pytest.mark.parametrize(("metric", "measure"), [("euclidean", distance), ("cosine", cosine)])
@pytest.mark.parametrize("labelled", [True, False])
def test_k_center_is_farthest_first_from_the_labelled(metric, measure, labelled):
    made = pool()
    if not labelled:
        made = made.with_labelled(np.array([], object), np.array([], int), None)
    got = run(made, "k_center", metric=metric).rows.tolist()
    assert made.embedding is not None
    centres = [] if made.labelled is None else list(made.labelled)
    chosen = []
    if not centres:
        chosen = [got[0]]  # drawn: any will do
        centres = [made.embedding[got[0]]]
    while len(chosen) < 9:
        far = [min(measure(x, c) for c in centres) if i not in chosen else -1 for i, x in enumerate(made.embedding)]
        chosen.append(int(np.argmax(far)))
        centres.append(made.embedding[chosen[-1]])
    assert got == chosen


def test_k_center_of_nothing_labelled_starts_anywhere_and_a_subset_bounds_it():
    made = pool().with_labelled(np.array([], object), np.array([], int), None)
    starts = {run(made, "k_center", 1, seed).rows[0] for seed in range(300)}
    assert len(starts) > 0.9 * N
    seen = {tuple(run(pool(), "k_center", 4, seed, subset=0.5).rows) for seed in range(10)}
    assert len(seen) > 1
    assert len(run(pool(), "k_center", 40, subset=0.5).rows) == 40  # never fewer than asked for


@pytest.mark.parametrize("name", ["k_center", "knn"])
def test_distances_to_labelled_regions_that_nobody_described_are_refused(name):
    made = pool().with_labelled(np.array(["still"], object), np.array([90]), None)
    with pytest.raises(BadInput, match=rf"{name}: measures distances to labelled regions, and the embedding does not"):
        run(made, name)


@pytest.mark.parametrize("neighbors", [1, 2, 3, 8])
@pytest.mark.parametrize("reduce", ["mean", "kth"])
@pytest.mark.parametrize(("metric", "measure"), [("euclidean", distance), ("cosine", cosine)])
def test_knn_ranks_by_the_nearest_labelled(neighbors, reduce, metric, measure):
    made = pool()
    assert made.embedding is not None
    assert made.labelled is not None
    score = []
    for x in made.embedding:
        near = sorted(measure(x, y) for y in made.labelled)[:neighbors]
        if metric == "cosine":
            near = [(2 * one) ** 0.5 for one in near]  # the chord between directions
        score.append(sum(near) / len(near) if reduce == "mean" else near[-1])
    ranked = run(made, "knn", N, neighbors=neighbors, reduce=reduce, metric=metric)
    np.testing.assert_allclose(ranked.score, np.array(score)[ranked.rows], rtol=1e-12)
    assert (np.diff(ranked.score) <= 0).all()
    with pytest.raises(BadInput, match="nothing is labelled yet"):
        run(made.with_labelled(np.array([], object), np.array([], int), None), "knn")


def lloyd(points, centres, iterations):
    points, centres = points.tolist(), [list(centre) for centre in centres]
    for turn in range(iterations + 1):
        nearest = [int(np.argmin([distance(p, c) for c in centres])) for p in points]
        if turn == iterations:
            break
        for c in range(len(centres)):
            mine = [p for p, near in zip(points, nearest, strict=True) if near == c]
            if mine:
                centres[c] = list(np.mean(mine, axis=0))
    return nearest


@pytest.mark.parametrize("iterations", [0, 1, 20])
def test_kmeans_takes_the_best_of_each_cluster(iterations):
    from tessera.acquisition.clustering import kmeans as clustering

    made = pool()
    assert made.embedding is not None
    ranked = run(made, "kmeans", 8, by="e", iterations=iterations)
    seeds = clustering.seed(made.embedding, 8, np.random.default_rng([5, 0]), False)
    nearest = lloyd(made.embedding, made.embedding[seeds], iterations)
    best = {}
    for row, cluster in enumerate(nearest):
        if cluster not in best or made.scores["e"][row] > made.scores["e"][best[cluster]]:
            best[cluster] = row
    assert len(best) == 8
    expected = sorted(best.values(), key=lambda row: (-made.scores["e"][row], row))
    assert ranked.rows.tolist() == expected
    assert ranked.cluster.tolist() == [nearest[row] for row in expected]


def test_kmeans_fills_empty_clusters_with_the_highest_scores_and_says_so():
    x = np.zeros((N, 3), np.float32)
    x[5:] = 1
    ranked = run(pool(x=x), "kmeans", 6, by="e")
    assert len(ranked.rows) == 6
    assert ranked.notes == ("kmeans: 4 of 6 clusters are empty; filled with the highest scores",)
    made = pool(x=x)
    best = {int(np.argmax(made.scores["e"][:5])), 5 + int(np.argmax(made.scores["e"][5:]))}
    rest = sorted(set(range(N)) - best, key=lambda row: (-made.scores["e"][row], row))[:4]
    assert set(ranked.rows.tolist()) == best | set(rest)


def test_badge_starts_with_the_longest_gradient_and_draws_by_squared_distance():
    x = np.array([[0, 0, 1], [0, 3, 0], [2, 0, 0], [0, 0, 1.5], [1, 1, 1]], np.float32)
    made = Pool.build(np.array(["a"] * 5, object), np.arange(5), np.ones(5, int), {}, x)
    draws, counts = 600, {}
    for seed in range(draws):
        order = tuple(run(made, "badge", 3, seed).rows.tolist())
        counts[order] = counts.get(order, 0) + 1
    for order in itertools.permutations(range(5), 3):
        probability = float(order[0] == 1)
        for at in (1, 2):
            d2 = np.array([min(distance(p, x[c]) for c in order[:at]) ** 2 for p in x])
            probability *= d2[order[at]] / d2.sum()
        spread = 4.5 * (draws * probability * (1 - probability)) ** 0.5
        assert abs(counts.get(order, 0) - draws * probability) <= spread + 1e-9
    assert {run(made, "badge", 1, seed, first="random").rows[0] for seed in range(60)} == set(range(5))
    np.testing.assert_allclose(run(made, "badge", 1).score, [3.0])


def test_round_robin_takes_turns():
    made = pool(ties=True)
    classes, e = made.scores["predicted_majority"], made.scores["e"]
    queues = {c: sorted(np.flatnonzero(classes == c), key=lambda row: (-e[row], row)) for c in np.unique(classes)}
    expected = []
    while any(queues.values()):
        turn = [queue.pop(0) for queue in queues.values() if queue]
        expected += sorted(turn, key=lambda row: (-e[row], row))
    ranked = run(made, "round_robin", N, by="e")
    assert ranked.rows.tolist() == expected
    assert ranked.cluster.tolist() == classes[expected].tolist()
    lowest = run(made, "round_robin", 4, by="e", descending=False)
    assert {classes[row] for row in lowest.rows} == {0, 1, 2, 3}
    assert set(e[lowest.rows]) <= {e[classes == c].min() for c in range(4)}


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("rule", ["filter", "rank_sum", "product"])
@pytest.mark.parametrize("count", [3, 25, N])
def test_joint_rules(rule, ties, count):
    made = pool(ties=ties)
    h, d = made.scores["e"], made.scores["d"]
    rows = range(N)
    if rule == "filter":
        below = sorted((row for row in rows if d[row] < 0.5), key=lambda row: (-h[row], row))
        expected = below + sorted((row for row in rows if d[row] >= 0.5), key=lambda row: (d[row], row))
    elif rule == "rank_sum":
        expected = sorted(rows, key=lambda row: (sum(d < d[row]) + sum(h > h[row]), row))
    else:
        expected = sorted(rows, key=lambda row: (-(1 - d[row]) * h[row], row))
    ranked = run(made, "joint", count, by="e", discriminator="d", rule=rule)
    assert ranked.rows.tolist() == expected[:count]
    best_h = set(sorted(rows, key=lambda row: (-h[row], row))[:count])
    best_d = set(sorted(rows, key=lambda row: (d[row], row))[:count])
    (note,) = ranked.notes
    assert note.endswith(f"the {count} of highest e and the {count} of lowest d share {len(best_h & best_d)}")
    assert ("D is below 0.5 for" in note) == (rule == "filter")


def timeline(frames: int, sequences: int = 1, gap: float = 1.0):
    names = [f"s{s}_{at:03d}" for s in range(sequences) for at in range(frames)]
    made = Pool.build(np.repeat(np.array(names, object), 2), np.tile([0, 1], len(names)), np.ones(2 * len(names), int))
    return made.with_times({name: (name[:2], gap * int(name[3:])) for name in names})


def test_uniform_in_time_takes_the_middles_of_equal_parts():
    made = timeline(12)
    for count, frames in ((3, [2, 6, 10]), (4, [1, 4, 7, 10]), (12, list(range(12)))):
        assert sorted(made.image[run(made, "uniform_in_time", count).rows].tolist()) == frames
    # Prefixes of the ranking are spread as well: the first two are half a timeline apart.
    first = made.image[run(made, "uniform_in_time", 4).rows[:2]]
    assert abs(int(first[1]) - int(first[0])) == 6
    # More regions than images: a second region of each.
    rows = run(made, "uniform_in_time", 17).rows
    assert len(set(made.image[rows[:12]].tolist())) == 12
    # Two sequences have equal shares.
    two = timeline(10, 2)
    assert np.bincount(two.image_sequence[two.image[run(two, "uniform_in_time", 6).rows]]).tolist() == [3, 3]
    # Regions are drawn anew with the seed, images never.
    drawn = [run(made, "uniform_in_time", 4, seed) for seed in range(12)]
    assert len({tuple(made.image[one.rows]) for one in drawn}) == 1
    assert len({tuple(made.region_id[one.rows]) for one in drawn}) > 3
    whole = run(made, "uniform_in_time", 6, per_image=None)
    assert sorted(keys(made, whole.rows)) == [(f"s0_{at:03d}", region) for at in (2, 6, 10) for region in (0, 1)]


def test_uniform_in_seconds_follows_the_clock_and_in_frames_the_count():
    names = [f"f{at}" for at in range(8)]
    seconds = [0, 1, 2, 3, 4, 5, 20, 40]
    made = Pool.build(np.array(names, object), np.zeros(8, int), np.ones(8, int))
    made = made.with_times({name: ("s", float(at)) for name, at in zip(names, seconds, strict=True)})
    frames = sorted(made.image[run(made, "uniform_in_time", 4).rows].tolist())
    assert frames == [1, 3, 5, 7]
    clock = sorted(made.image[run(made, "uniform_in_time", 4, spacing="seconds").rows].tolist())
    # Cells 1 1 1 1 1 8 17.5 20: of 50.5 seconds the parts' middles are 6.3, 18.9, 31.6 and 44.2.
    assert clock == [4, 5, 6, 7]
    assert sorted(made.image[run(made, "uniform_in_time", 2, spacing="seconds").rows].tolist()) == [5, 7]


def test_every_nth_frame_is_the_same_in_every_round():
    made = timeline(11, 2)
    stages = [Stage("uniform_every_n", '{"n":5,"offset":1}'), Stage("random")]
    rows = run_stages(made, stages, Budget("regions", 8), 0).rows
    kept = {str(made.image_names[image]) for image in made.image[rows]}
    assert kept == {"s0_001", "s0_006", "s1_001", "s1_006"}
    left = made.without(np.array(["s0_000", "s0_000", "s0_001"], object), np.array([0, 1, 0]))
    again = run_stages(left, stages, Budget("regions", 7), 0).rows
    assert {str(left.image_names[image]) for image in left.image[again]} == kept
    gone = [f"s{s}_000" for s in (0, 0, 1, 1)]
    rest = made.without(np.array(gone, object), np.array([0, 1, 0, 1]))
    with pytest.raises(BadInput, match="every 11th frame is labelled"):
        run(rest, "uniform_every_n", n=11)
    with pytest.raises(BadInput, match="offset 5 is not below n 5"):
        run(made, "uniform_every_n", n=5, offset=5)
    with pytest.raises(BadInput, match="needs the data set's manifest"):
        run(Pool.build(np.array(["a"], object), np.array([0]), np.array([1])), "uniform_every_n", 1)


def test_random_candidates_are_a_share_of_what_is_left():
    made = pool()
    counts = np.zeros(N)
    for seed in range(400):
        rows = run_stages(made, [Stage("random", '{"share":0.3}')], None, seed).rows
        assert len(rows) == 13  # the share of 42, rounded up
        counts[rows] += 1
    assert (np.abs(counts - 400 * 13 / N) < 45).all()
    with pytest.raises(BadInput, match="either count or share"):
        run_stages(made, [Stage("random", '{"count":3,"share":0.5}')], None, 0)


def test_stills_are_spread_by_name_and_a_note_says_so():
    names = [f"img{at}" for at in range(6)]
    made = Pool.build(np.array(names, object), np.zeros(6, int), np.ones(6, int)).with_times({})
    ranked = run(made, "uniform_in_time", 2)
    assert sorted(made.image[ranked.rows].tolist()) == [1, 4]
    assert ranked.notes == ("uniform_in_time: 6 of 6 images have no time; the order of their names replaces it",)


def test_sequences_and_times_of_images():
    made = pool()
    assert list(made.image_names) == sorted(TIMES)
    assert made.image_sequence.tolist() == [0, 0, 0, 1, 1, -1]
    np.testing.assert_array_equal(made.image_time, [0.0, 1.0, 2.5, 7.0, 8.0, np.nan])
    bare = Pool.build(np.array(["a", "b"], object), np.array([0, 0]), np.array([1, 1]))
    assert bare.image_sequence.tolist() == [-1, -1]
    assert np.isnan(bare.image_time).all()


@pytest.mark.parametrize("k", [1, 4, 60])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_nearest_distances_are_those_of_every_pair(k, shift):
    from tessera.acquisition.neighbours.exact import nearest

    rng = np.random.default_rng(2)
    others = rng.normal(size=(60, 7)).round(1) + shift
    points = np.concatenate([rng.normal(size=(50, 7)).round(1) + shift, others[:9], others[:9]])
    others = np.concatenate([others, others[:20]])  # duplicates among the labelled
    expected = np.sort([[distance(p, o) for o in others] for p in points], axis=1)[:, :k]
    _, got = nearest(points, others, k)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0)
    assert (got[50:, 0] == 0).all()
