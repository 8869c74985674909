"""Stages, budgets and their edges; results must not depend on the order of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition.selection.budget import Budget
from tessera.acquisition.selection.pipeline import Stage, run_stages
from tessera.acquisition.selection.pool import Pool
from tessera.errors import BadInput

TOP = Stage("top", '{"by":"e"}')


def make_pool(images: int = 5, regions: int = 8, seed: int = 0, order: np.ndarray | None = None, ties: bool = False):
    rng = np.random.default_rng(seed)
    n = images * regions
    ids = np.array([f"img{i % 7}_{i:02d}" for i in range(images) for _ in range(regions)], object)
    region = np.tile(np.arange(regions), images)
    pixels = rng.integers(50, 150, n)
    score = rng.integers(0, 3, n).astype(float) if ties else rng.random(n)
    embedding = rng.normal(size=(n, 2)).round(1 if ties else 6)
    order = np.arange(n) if order is None else order
    return Pool.build(ids[order], region[order], pixels[order], {"e": score[order]}, embedding[order])


def keys(pool: Pool, rows: np.ndarray) -> list[tuple[str, int]]:
    return [(str(pool.image_names[pool.image[row]]), int(pool.region_id[row])) for row in rows]


def test_top_is_the_sorted_prefix_with_ties_by_image_then_region():
    pool = make_pool(ties=True)
    ranked = run_stages(pool, [TOP], Budget("regions", 11), 0)
    expected = sorted(range(len(pool)), key=lambda row: (-pool.scores["e"][row], *keys(pool, [row])[0]))[:11]
    assert ranked.rows.tolist() == expected
    assert ranked.score.tolist() == pool.scores["e"][expected].tolist()
    lowest = run_stages(pool, [Stage("top", '{"by":"e","descending":false,"count":4}')], None, 0)
    expected = sorted(range(len(pool)), key=lambda row: (pool.scores["e"][row], *keys(pool, [row])[0]))[:4]
    assert lowest.rows.tolist() == expected


STAGES = {
    "top": [TOP],
    "kmeans": [Stage("kmeans_plusplus")],
    "meal": [Stage("top", '{"by":"e","count":20}'), Stage("kmeans_plusplus")],
    "images": [Stage("random_images", '{"images":2}')],
    "random": [Stage("random")],
    "all": [Stage("all")],
}


@pytest.mark.parametrize("name", sorted(STAGES))
@settings(deadline=None, max_examples=15)
@given(st.randoms(use_true_random=False), st.integers(0, 2**63 - 1), st.booleans())
def test_the_order_of_rows_and_shards_changes_nothing(name, random, seed, ties):
    order = list(range(40))
    random.shuffle(order)
    pools = [make_pool(ties=ties), make_pool(ties=ties, order=np.array(order))]
    chosen = [run_stages(pool, STAGES[name], Budget("regions", 9), seed) for pool in pools]
    assert keys(pools[0], chosen[0].rows) == keys(pools[1], chosen[1].rows)
    assert len(set(keys(pools[0], chosen[0].rows))) == len(chosen[0].rows) == 9


def test_all_equal_scores_and_points_and_a_single_region():
    pool = Pool.build(
        np.array(["b", "a", "a"], object), np.array([0, 1, 0]), np.ones(3, int), {"e": np.zeros(3)}, np.zeros((3, 2))
    )
    assert keys(pool, run_stages(pool, [TOP], Budget("regions", 3), 0).rows) == [("a", 0), ("a", 1), ("b", 0)]
    assert len(run_stages(pool, [Stage("kmeans_plusplus")], Budget("regions", 3), 0).rows) == 3
    one = pool.take(np.array([2]))
    for stages in (STAGES["top"], STAGES["kmeans"], STAGES["random"], STAGES["all"]):
        assert keys(one, run_stages(one, stages, Budget("regions", 1), 0).rows) == [("b", 0)]


def test_a_shortlist_keeps_its_scores_through_seeding():
    pool = make_pool()
    ranked = run_stages(pool, STAGES["meal"], Budget("regions", 5), 3)
    shortlist = set(run_stages(pool, STAGES["meal"][:1], None, 3).rows.tolist())
    assert set(ranked.rows.tolist()) <= shortlist
    assert ranked.score.tolist() == pool.scores["e"][ranked.rows].tolist()
    assert ranked.cluster.tolist() == [-1] * 5


def test_a_shortlist_longer_than_the_pool_is_the_pool():
    assert len(run_stages(make_pool(), [Stage("top", '{"by":"e","count":200}')], None, 0).rows) == 40


def test_random_images_takes_whole_images():
    pool = make_pool(images=9)
    ranked = run_stages(pool, [Stage("random_images", '{"images":3}')], Budget("regions", len(pool)), 11)
    chosen = keys(pool, ranked.rows)
    names = list(dict.fromkeys(name for name, _ in chosen))
    assert len(names) == 3
    assert chosen == [(name, region) for name in names for region in range(8)]
    assert np.isnan(ranked.score).all()
    starts = {tuple(dict.fromkeys(keys(pool, run_stages(pool, STAGES["images"], None, s).rows))) for s in range(20)}
    assert len(starts) > 10
    with pytest.raises(BadInput, match=r"10 images are asked for and 9 have unlabelled"):
        run_stages(pool, [Stage("random_images", '{"images":10}')], None, 0)


def test_random_chooses_every_region_equally_often():
    pool = make_pool(images=2, regions=5)
    counts = np.zeros(10)
    for seed in range(3_000):
        counts[run_stages(pool, [Stage("random")], Budget("regions", 3), seed).rows] += 1
    assert (np.abs(counts - 900) < 120).all()


def test_labelled_regions_are_never_chosen():
    pool = make_pool()
    labelled = run_stages(pool, [TOP], Budget("regions", 6), 0).rows
    images, regions = zip(*keys(pool, labelled), strict=True)
    left = pool.without(np.array([*images, "elsewhere"], object), np.array([*regions, 0]))
    assert len(left) == 34
    ranked = run_stages(left, [TOP], Budget("regions", 34), 0)
    assert not set(keys(left, ranked.rows)) & set(keys(pool, labelled))


def test_pixel_budgets_overshoot_by_at_most_one_region():
    pool = make_pool()
    for amount in (1, 500, 1234.5, int(pool.pixels.sum())):
        rows = run_stages(pool, [TOP], Budget("pixels", amount), 0).rows
        spent = pool.pixels[rows]
        assert spent.sum() >= amount > spent[:-1].sum()
        k = run_stages(pool, [Stage("kmeans_plusplus")], Budget("pixels", amount), 0).rows
        assert pool.pixels[k].sum() >= amount > pool.pixels[k[:-1]].sum()


def test_image_budgets_count_images_touched():
    pool = make_pool()
    rows = run_stages(pool, [TOP], Budget("images", 3), 0).rows
    ranking = run_stages(pool, [TOP], None, 0).rows
    assert len(np.unique(pool.image[rows])) == 3
    assert rows.tolist() == ranking[: len(rows)].tolist()
    assert len(np.unique(pool.image[ranking[: len(rows) + 1]])) == 4
    assert len(run_stages(pool, [TOP], Budget("images", 5), 0).rows) == 40
    uneven = pool.take(np.array([0, 1, 2, 8, 9, 16]))
    rows = run_stages(uneven, [Stage("kmeans_plusplus")], Budget("images", 2), 0).rows
    assert len(rows) <= 5
    assert len(np.unique(uneven.image[rows])) <= 2


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget("regions", 41), r"41 regions are asked for and 40 unlabelled regions are left"),
        (Budget("images", 6), r"6 images are asked for and 5 unlabelled images are left"),
        (Budget("pixels", 10**6), r"1000000 pixels are asked for and \d+ unlabelled pixels are left"),
        (Budget("regions", 0), r"0 regions cannot be asked for"),
        (Budget("regions", 2.5), r"2.5 regions cannot be asked for.*whole"),
        (Budget("pixels", float("nan")), r"nan pixels cannot"),
        (Budget("euros", 5), r"unknown unit 'euros'; known: clicks, images, pixels, regions, seconds"),
    ],
)
def test_bad_budgets_are_named(budget, message):
    with pytest.raises(BadInput, match=message):
        run_stages(make_pool(), [TOP], budget, 0)


def test_bad_pools_are_named():
    pool = make_pool()
    with pytest.raises(BadInput, match=r"no unlabelled regions are left"):
        run_stages(pool.take(np.array([], int)), [TOP], Budget("regions", 1), 0)
    with pytest.raises(BadInput, match=r"stages: empty"):
        run_stages(pool, [], Budget("regions", 1), 0)
    score = pool.scores["e"].copy()
    score[12] = np.nan
    holed = pool.with_scores(pool.image_names[pool.image], pool.region_id, {"e": score})
    with pytest.raises(BadInput, match=rf"score e is NaN for {pool.name(12)} \(1 in all\)"):
        run_stages(holed, [TOP], Budget("regions", 1), 0)
    points = np.zeros((40, 2))
    points[3, 1] = np.inf
    with pytest.raises(BadInput, match=rf"embedding of {pool.name(3)}"):
        run_stages(pool.with_embedding(pool.image_names[pool.image], pool.region_id, points), [TOP], None, 0)
    with pytest.raises(BadInput, match=r"no score column 'x'; columns: e"):
        run_stages(pool, [Stage("top", '{"by":"x"}')], None, 0)
    with pytest.raises(BadInput, match=r"kmeans_plusplus: there is no embedding"):
        run_stages(
            Pool.build(np.array(["a"], object), np.array([0]), np.array([1])), [Stage("kmeans_plusplus")], None, 0
        )
    with pytest.raises(BadInput, match=r"9 regions are asked for and 5 are left"):
        run_stages(pool, [Stage("top", '{"by":"e","count":5}'), Stage("kmeans_plusplus", '{"count":9}')], None, 0)
    with pytest.raises(BadInput, match=r"region 0 of image a appears twice"):
        Pool.build(np.array(["a", "a"], object), np.array([0, 0]), np.array([1, 1]))
    with pytest.raises(BadInput, match=r"score: 0 values for region 7 of image"):
        pool.with_scores(pool.image_names[pool.image][:7], pool.region_id[:7], {"e": np.zeros(7)})


def test_joins_take_rows_in_any_order_and_ignore_strangers():
    pool = make_pool()
    ids = np.concatenate([pool.image_names[pool.image], np.array(["zz", "0"], object)])
    regions = np.concatenate([pool.region_id, [0, 0]])
    values = np.arange(42.0)
    shuffle = np.random.default_rng(0).permutation(42)
    got = pool.with_embedding(ids[shuffle], regions[shuffle], values[shuffle, None])
    assert got.embedding is not None
    assert got.embedding[:, 0].tolist() == list(range(40))


def test_stage_streams_differ_but_repeat():
    pool = make_pool(images=20)
    twice = [Stage("random", '{"count":80}'), Stage("random", '{"count":10}')]
    assert np.array_equal(run_stages(pool, twice, None, 1).rows, run_stages(pool, twice, None, 1).rows)
    assert not np.array_equal(run_stages(pool, twice, None, 1).rows, run_stages(pool, twice, None, 2).rows)
