"""What holds for every stage: order of rows, ties, duplicates, k = n, k > n, NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition.selection.budget import Budget
from tessera.acquisition.selection.pipeline import Stage, run_stages
from tessera.errors import BadInput
from unit.acquisition.selection.pools import REGIONS, STAGES, N, keys, pool

FEWER = {"random_images": 21, "uniform_every_n": 28, "random_half": 21}
"""Stages that keep fewer than the pool."""
CHOOSERS = ("kmeans_plusplus", "kmeans", "k_center", "badge")
"""Stages that cannot choose more than there are."""


@pytest.mark.parametrize("name", sorted(STAGES))
@settings(deadline=None, max_examples=12)
@given(st.randoms(use_true_random=False), st.integers(0, 2**63 - 1), st.booleans(), st.integers(1, N))
def test_the_order_of_rows_changes_nothing(name, random, seed, ties, count):
    order = list(range(N))
    random.shuffle(order)
    count = min(count, FEWER.get(name, N), 20 if name == "meal" else N)
    one, two = pool(ties=ties), pool(np.array(order), ties=ties)
    a = run_stages(one, STAGES[name], Budget("regions", count), seed)
    b = run_stages(two, STAGES[name], Budget("regions", count), seed)
    assert keys(one, a.rows) == keys(two, b.rows)
    assert len(set(a.rows.tolist())) == len(a.rows) == count
    np.testing.assert_array_equal(a.score, b.score)
    np.testing.assert_array_equal(a.cluster, b.cluster)
    assert a.notes == b.notes


@pytest.mark.parametrize("name", sorted(set(STAGES) - {"meal"}))
def test_as_many_as_there_are_and_one_more(name):
    made = pool(ties=True)
    most = FEWER.get(name, N)
    assert len(run_stages(made, STAGES[name], Budget("regions", most), 3).rows) == most
    with pytest.raises(BadInput, match=f"{N + 1} regions are asked for and {N} unlabelled"):
        run_stages(made, STAGES[name], Budget("regions", N + 1), 3)


@pytest.mark.parametrize("name", CHOOSERS)
def test_a_stage_cannot_choose_more_than_the_one_before_kept(name):
    by = ',"by":"e"' if name == "kmeans" else ""
    stages = [Stage("top", '{"by":"e","count":5}'), Stage(name, f'{{"count":9{by}}}')]
    with pytest.raises(BadInput, match=r"9 (regions )?are asked for and 5 "):
        run_stages(pool(), stages, Budget("regions", 9), 0)


@pytest.mark.parametrize("name", sorted(set(STAGES) - {"meal"}))
def test_a_single_region(name):
    one = pool().take(np.array([0]))
    stages = [Stage("random_images", '{"images":1}')] if name == "random_images" else STAGES[name]
    assert keys(one, run_stages(one, stages, Budget("regions", 1), 0).rows) == [("seq_a0", 0)]


@pytest.mark.parametrize("name", sorted(STAGES))
def test_equal_scores_and_points(name):
    flat = {"e": np.zeros(N), "d": np.zeros(N), "predicted_majority": np.zeros(N), "x": np.ones((N, 3), np.float32)}
    made = pool(**flat, labelled=np.ones((3, 3), np.float32))
    ranked = run_stages(made, STAGES[name], Budget("regions", 11), 1)
    assert len(set(ranked.rows.tolist())) == 11
    if name in ("top", "joint_filter", "joint_rank_sum", "joint_product", "round_robin", "knn", "k_center", "all"):
        assert ranked.rows.tolist() == list(range(11))  # by image_id, then region_id


@pytest.mark.parametrize("name", ["kmeans", "kmeans_plusplus", "k_center", "badge", "knn"])
@pytest.mark.parametrize("scale", [1e-30, 1e15])
def test_points_of_any_size_and_duplicates(name, scale):
    x = np.repeat(np.arange(N // 2), 2)[:, None] * np.full((1, 3), scale, np.float32)
    made = pool(x=x.astype(np.float32), labelled=np.zeros((3, 3), np.float32))
    rows = run_stages(made, STAGES[name], Budget("regions", N // 2 - 1), 2).rows
    if name != "knn":
        assert len(set((rows // 2).tolist())) == len(rows)  # a duplicate comes only when no new point is left


@pytest.mark.parametrize("name", sorted(STAGES))
def test_what_is_not_a_number_is_named(name):
    scores = pool().scores["e"].copy()
    scores[REGIONS + 2] = np.nan
    with pytest.raises(BadInput, match=r"score e is NaN for region 2 of image seq_a1 \(1 in all\)"):
        run_stages(pool(e=scores), STAGES[name], Budget("regions", 4), 0)
    x = np.zeros((N, 3), np.float32)
    x[3 * REGIONS + 1, 0] = np.nan
    with pytest.raises(BadInput, match=r"embedding of region 1 of image seq_b0 is not finite"):
        run_stages(pool(x=x), STAGES[name], Budget("regions", 4), 0)


@pytest.mark.parametrize("name", sorted(STAGES))
def test_another_seed_matters_only_where_something_is_drawn(name):
    made = pool()
    chosen = {tuple(run_stages(made, STAGES[name], Budget("regions", 5), seed).rows) for seed in range(8)}
    drawn = ("random", "kmeans", "badge", "meal", "contrastive", "uniform_in_time", "k_center_cosine")
    assert (len(chosen) > 1) == (name.startswith(drawn) and name != "uniform_in_time_whole")


@pytest.mark.parametrize("unit", ["clicks", "seconds"])
def test_budgets_whose_prices_come_with_the_answers(unit):
    made = pool()
    top = run_stages(made, STAGES["top"], None, 0).rows.tolist()
    # As many as the cheapest answers could need; the oracle stops earlier.
    assert run_stages(made, STAGES["top"], Budget(unit, 10), 0).rows.tolist() == top[:10]
    assert run_stages(made, STAGES["top"], Budget(unit, 10.5, 2.0), 0).rows.tolist() == top[:6]
    assert run_stages(made, STAGES["top"], Budget(unit, 1e6), 0).rows.tolist() == top
    assert len(run_stages(made, STAGES["kmeans"], Budget(unit, 1e6), 0).rows) == N
    assert len(run_stages(made, [Stage("kmeans", '{"by":"e","count":7}')], Budget(unit, 1e6), 0).rows) == 7
    with pytest.raises(BadInput, match="cheapest answer costs 0"):
        run_stages(made, STAGES["top"], Budget(unit, 5, 0.0), 0)
