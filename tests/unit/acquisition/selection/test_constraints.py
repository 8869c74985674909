"""Constraints between chosen regions: a greedy walk, refills, and an honest note when nothing is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition.selection.budget import Budget
from tessera.acquisition.selection.pipeline import Stage, run_stages
from tessera.acquisition.selection.pool import Pool
from tessera.errors import BadInput
from unit.acquisition.selection.pools import STAGES, TOP, keys, pool


def apart(seconds: float, against: str = "round") -> list[Stage]:
    return [Stage("min_seconds", f'{{"seconds":{seconds},"against":"{against}"}}')]


def video(frames: int, seed: int = 0, step: float = 0.5) -> Pool:
    """Two sequences and two stills, three regions per frame."""
    names = [f"{s}{at:03d}" for s in "ab" for at in range(frames)] + ["still0", "still1"]
    rng = np.random.default_rng(seed)
    n = 3 * len(names)
    made = Pool.build(
        np.repeat(np.array(names, object), 3),
        np.tile([0, 1, 2], len(names)),
        rng.integers(20, 60, n),
        {"e": rng.random(n).round(1), "d": rng.random(n), "predicted_majority": rng.integers(0, 3, n)},
        rng.normal(size=(n, 2)),
    )
    made = made.with_labelled(np.array(["a000"], object), np.array([9]), np.zeros((1, 2)))
    return made.with_times({name: (name[0], step * int(name[1:])) for name in names[:-2]})


def clashes(made: Pool, rows: np.ndarray, seconds: float) -> int:
    """Pairs that are too near, by the definition."""
    sequence, time = made.image_sequence[made.image[rows]], made.image_time[made.image[rows]]
    return sum(
        sequence[i] >= 0 and sequence[i] == sequence[j] and abs(time[i] - time[j]) < seconds
        for i in range(len(rows))
        for j in range(i)
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 25), st.integers(0, 1000), st.sampled_from([0.4, 0.5, 1.0, 3.25, 100.0]), st.integers(1, 20))
def test_a_ranking_is_walked_greedily(frames, seed, seconds, count):
    made = video(frames, seed)
    count = min(count, len(made))
    ranking = run_stages(made, [TOP], None, 0).rows
    expected: list[int] = []
    for row in ranking:
        if len(expected) < count and clashes(made, np.array([*expected, row]), seconds) == 0:
            expected.append(int(row))
    ranked = run_stages(made, [TOP], Budget("regions", count), 0, constraints=apart(seconds))
    assert ranked.rows.tolist() == expected
    assert ranked.score.tolist() == made.scores["e"][expected].tolist()
    short = len(expected) < count
    assert bool(ranked.notes) == short
    if short:
        assert ranked.notes[0].startswith(f"min_seconds: {len(expected)} regions, less than the budget of {count}")


@pytest.mark.parametrize("name", sorted(set(STAGES) - {"random_images", "meal"}))
def test_every_stage_fills_its_budget_under_a_constraint(name):
    made = video(20)
    ranked = run_stages(made, STAGES[name], Budget("regions", 12), 7, constraints=apart(1.0))
    assert clashes(made, ranked.rows, 1.0) == 0
    assert len(set(ranked.rows.tolist())) == 12
    order = np.random.default_rng(1).permutation(len(made))
    ids, regions = made.image_names[made.image], made.region_id
    turned = Pool.build(ids[order], regions[order], made.pixels[order])
    turned = turned.with_scores(ids, regions, made.scores).with_embedding(ids, regions, made.embedding)
    turned = turned.with_labelled(np.array(["a000"], object), np.array([9]), np.zeros((1, 2)))
    turned = turned.with_times({n: (n[0], 0.5 * int(n[1:])) for n in made.image_names if n[:5] != "still"})
    again = run_stages(turned, STAGES[name], Budget("regions", 12), 7, constraints=apart(1.0))
    assert keys(turned, again.rows) == keys(made, ranked.rows)


def test_frames_exactly_as_far_apart_as_asked_are_allowed():
    names = [f"s{frame:05d}" for frame in range(7, 3007, 30)]
    made = Pool.build(np.array(names, object), np.zeros(100, int), np.ones(100, int))
    made = made.with_times({name: ("s", int(name[1:]) / 30) for name in names})
    assert (np.diff(made.image_time) < 1).any()  # what the tolerance is for
    assert len(run_stages(made, [Stage("all")], None, 0, constraints=apart(1)).rows) == 100
    assert len(run_stages(made, [Stage("all")], None, 0, constraints=apart(1.01)).rows) == 50


def test_earlier_rounds_count_where_the_recipe_says_so():
    made = video(6)
    names = {name for name, _ in keys(made, run_stages(made, [TOP], None, 0, constraints=apart(1.1)).rows)}
    assert names & {"a000", "a001", "a002"}
    later = run_stages(made, [TOP], None, 0, constraints=apart(1.1, "labelled"))
    assert not {name for name, _ in keys(made, later.rows)} & {"a000", "a001", "a002"}
    assert {"still0", "still1"} <= {name for name, _ in keys(made, later.rows)}


def test_exhausted_pools_and_other_units():
    made = video(4)
    # One region of each sequence, and all six of the stills.
    ranked = run_stages(made, [TOP], Budget("regions", 20), 0, constraints=apart(60))
    assert len(ranked.rows) == 8
    assert ranked.notes == ("min_seconds: 8 regions, less than the budget of 20 regions; nothing else is allowed",)
    asked = run_stages(made, [TOP], Budget("clicks", 20), 0, constraints=apart(60))
    assert asked.notes == ("min_seconds: 8 regions, may be less than the budget of 20 clicks; nothing else is allowed",)
    spent = run_stages(made, [TOP], Budget("pixels", 150), 0, constraints=apart(60))
    pixels = made.pixels[spent.rows]
    assert pixels.sum() >= 150 > pixels[:-1].sum()
    assert len(run_stages(made, [TOP], Budget("clicks", 5), 0, constraints=apart(60)).rows) == 5
    images = run_stages(made, [TOP], Budget("images", 3), 0, constraints=apart(60)).rows
    assert len(set(made.image[images].tolist())) == 3
    # Stages that ask for more than is still allowed end the refill, not the run.
    meal = [Stage("top", '{"by":"e","count":9}'), Stage("kmeans_plusplus", '{"count":5}')]
    some = run_stages(made, meal, Budget("regions", 8), 0, constraints=apart(60))
    assert 0 < len(some.rows) <= 8
    assert clashes(made, some.rows, 60) == 0


def test_a_pool_without_times_is_refused():
    bare = Pool.build(np.array(["a"], object), np.array([0]), np.array([1]))
    with pytest.raises(BadInput, match="min_seconds needs the data set's manifest"):
        run_stages(bare, [Stage("all")], None, 0, constraints=apart(1))
    with pytest.raises(BadInput, match="no image of this data set is part of a sequence"):
        run_stages(bare.with_times({}), [Stage("all")], None, 0, constraints=apart(1))
    with pytest.raises(BadInput, match="seconds"):
        run_stages(pool(), [Stage("all")], None, 0, constraints=[Stage("min_seconds", '{"seconds":0}')])
    with pytest.raises(BadInput, match="unknown name 'min_second'"):
        run_stages(pool(), [Stage("all")], None, 0, constraints=[Stage("min_second")])
