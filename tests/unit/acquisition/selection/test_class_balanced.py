"""PixBal and ClassBal from sums per region against the papers' formulas over pixels, in two passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition import STAGES
from tessera.acquisition.scoring.region_scores import score_regions
from tessera.acquisition.selection.budget import Budget
from tessera.acquisition.selection.pipeline import Stage, run_stages
from tessera.acquisition.selection.pool import Pool
from tessera.errors import BadInput
from tessera.registry import canonical_json
from unit.acquisition.scoring.test_scores import case, column, softmax_map

COLUMNS = [
    column("bvsb", "mean"),
    column("bvsb", "by_class"),
    column("probability", "mean"),
    column("predicted", "majority"),
]
CLASSES = 5


class World:
    """Some images with their pixels kept, for the two-pass form, and the pool made from their score tables."""

    def __init__(self, seed: int, images: int = 4) -> None:
        self.maps, self.p = [], []
        ids, regions, pixels, scores = [], [], [], {}
        for index in range(images):
            logits, region_map = case(seed * 10 + index, CLASSES)
            logits += np.array([2.0, 1.0, 0, 0, -1], np.float32)[:, None, None]
            table = score_regions(logits, region_map, COLUMNS, 0, "a")
            self.maps.append(region_map)
            self.p.append(softmax_map(logits, region_map.shape))
            count = int(region_map.max()) + 1
            ids += [f"i{index}"] * count
            regions += range(count)
            pixels += np.bincount(region_map.ravel()).tolist()
            for name, values in table.items():
                scores.setdefault(name, []).append(values)
        self.table = {name: np.concatenate(parts) for name, parts in scores.items()}
        self.ids, self.regions, self.pixels = np.array(ids, object), np.array(regions), np.array(pixels)
        built = Pool.build(self.ids, self.regions, self.pixels, self.table)
        self.pool = replace(built, everything=built)

    def two_passes(self, nu: float, undefined: int | None = None, over=None) -> np.ndarray:
        """Eq. 3 over all pixels (of the rows ``over``), then Eq. 4 over the pixels of each region."""
        total, count, row = np.zeros(CLASSES), 0, 0
        for region_map, p in zip(self.maps, self.p, strict=True):
            for region in range(region_map.max() + 1):
                if over is None or row in over:
                    total += p[:, region_map == region].sum(axis=1)
                    count += int((region_map == region).sum())
                row += 1
        weight = 1.0 / (1.0 + nu * total / count) ** 2
        scores = []
        for region_map, p in zip(self.maps, self.p, strict=True):
            ordered = np.sort(p, axis=0)[::-1]
            best = p.argmax(axis=0)
            a = ordered[1] / ordered[0] * weight[best]
            for region in range(region_map.max() + 1):
                inside = region_map == region
                majority = np.bincount(best[inside], minlength=CLASSES).argmax()
                scores.append(0.0 if majority == undefined else a[inside].mean())
        return np.array(scores)


def balanced(pool: Pool, **params):
    stage = STAGES.entry("class_balanced")
    params = STAGES.parameters("class_balanced", params)
    return stage.function(pool, params, len(pool), np.random.default_rng(0))


def by_row(choice, n: int) -> np.ndarray:
    out = np.full(n, np.nan)
    out[choice.rows] = choice.score
    return out


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([0.0, 1.0, 6.0, 12.0]), st.sampled_from([None, 0, 3]))
def test_pixbal_in_one_pass_equals_two(seed, nu, undefined):
    world = World(seed)
    choice = balanced(world.pool, nu=nu, undefined=undefined)
    np.testing.assert_allclose(by_row(choice, len(world.pool)), world.two_passes(nu, undefined), rtol=2e-5, atol=1e-7)
    assert (np.diff(choice.score) <= 0).all()
    assert np.array_equal(choice.columns["class_balanced"], choice.score)


def test_nu_zero_is_plain_bvsb():
    world = World(1)
    got = by_row(balanced(world.pool, nu=0.0), len(world.pool))
    np.testing.assert_allclose(got, world.pool.scores["bvsb_mean"], rtol=1e-6)


def test_the_prior_is_over_the_pool_or_over_what_is_unlabelled():
    world = World(3)
    left = world.pool.without(world.ids[:9], world.regions[:9])
    kept = np.arange(9, len(world.pool))
    for over, rows in (("pool", None), ("unlabelled", set(kept.tolist()))):
        got = by_row(balanced(left, prior_over=over), len(left))
        np.testing.assert_allclose(got, world.two_passes(6.0, over=rows)[kept], rtol=2e-5)
    assert not np.allclose(
        balanced(left, prior_over="pool").score, balanced(left, prior_over="unlabelled").score, rtol=1e-4
    )
    with pytest.raises(BadInput, match="labelled regions' scores"):
        balanced(replace(left, everything=None))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_classbal_is_the_formula_over_regions(seed):
    world = World(seed)
    u, dominant = [], []
    for region_map, p in zip(world.maps, world.p, strict=True):
        ordered = np.sort(p, axis=0)[::-1]
        for region in range(region_map.max() + 1):
            inside = region_map == region
            u.append((ordered[1] / ordered[0])[inside].mean())
            dominant.append(np.bincount(p.argmax(axis=0)[inside]).argmax())
    u = np.array(u)
    share = np.bincount(dominant, minlength=CLASSES) / len(u)
    expected = (u - u.min()) / (u.max() - u.min()) * np.exp(-share[dominant])
    got = by_row(balanced(world.pool, mode="classbal"), len(world.pool))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_undefined_regions_are_last_or_dropped():
    world = World(2)
    majority = world.pool.scores["predicted_majority"]
    undefined = np.flatnonzero(majority == 0)
    assert 0 < len(undefined) < len(world.pool)
    last = balanced(world.pool, undefined=0)
    assert set(last.rows[-len(undefined) :].tolist()) == set(undefined.tolist())
    assert not last.score[-len(undefined) :].any()
    dropped = balanced(world.pool, undefined=0, excluded="drop")
    assert np.array_equal(dropped.rows, last.rows[: -len(undefined)])
    assert f"{len(undefined)} of {len(world.pool)} regions are mostly undefined" in dropped.note
    kept = run_stages(world.pool, [Stage("exclude_predicted", '{"classes":[0,4]}')], None, 0)
    assert np.array_equal(kept.rows, np.flatnonzero(~np.isin(majority, [0, 4])))
    both = run_stages(world.pool, [Stage("exclude_predicted", '{"classes":[4],"undefined":0}')], None, 0)
    assert np.array_equal(both.rows, kept.rows)
    with pytest.raises(BadInput, match="leaves out no class"):
        run_stages(world.pool, [Stage("exclude_predicted", "{}")], None, 0)
    everything = canonical_json({"classes": list(range(CLASSES))})
    with pytest.raises(BadInput, match="kept no region"):
        run_stages(world.pool, [Stage("exclude_predicted", everything), Stage("all")], None, 0)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.sampled_from(["pixbal", "classbal"]))
def test_the_order_of_shards_changes_no_bit(seed, mode):
    world = World(seed)
    order = np.random.default_rng(seed).permutation(len(world.ids))
    table = {name: values[order] for name, values in world.table.items()}
    shuffled = Pool.build(world.ids[order], world.regions[order], world.pixels[order], table)
    got = balanced(replace(shuffled, everything=shuffled), mode=mode)
    expected = balanced(world.pool, mode=mode)
    assert np.array_equal(got.rows, expected.rows)
    assert np.array_equal(got.score, expected.score)


@pytest.mark.parametrize("mode", ["pixbal", "classbal"])
def test_equal_scores_rank_by_image_and_region_and_one_region_is_enough(mode):
    scores = {f"bvsb_by_class_{c}": np.full(6, 2.0) for c in range(2)}
    scores |= {f"probability_mean_{c}": np.full(6, 0.5) for c in range(2)}
    scores |= {"bvsb_mean": np.full(6, 0.4), "predicted_majority": np.zeros(6)}
    ids = np.array(list("babbaa"), object)
    pool = Pool.build(ids, np.array([1, 1, 0, 2, 0, 2]), np.full(6, 10), scores)
    pool = replace(pool, everything=pool)
    assert balanced(pool, mode=mode).rows.tolist() == list(range(6))
    one = pool.take(np.array([3]))
    assert balanced(replace(one, everything=one), mode=mode).rows.tolist() == [0]


def test_later_stages_see_the_new_score():
    world = World(4)
    stages = [
        Stage("class_balanced", '{"column":"rare"}'),
        Stage("exclude_predicted", '{"classes":[1]}'),
        Stage("top", '{"by":"rare"}'),
    ]
    ranked = run_stages(world.pool, stages, Budget("regions", 5), 0)
    expected = balanced(world.pool)
    kept = [row for row in expected.rows.tolist() if world.pool.scores["predicted_majority"][row] != 1]
    assert ranked.rows.tolist() == kept[:5]
    assert ranked.notes[0].startswith("exclude_predicted: ")


def test_what_is_missing_or_no_number_is_named():
    world = World(5)
    table = dict(world.table)
    table["probability_mean_2"] = np.where(np.arange(len(world.ids)) == 3, np.nan, table["probability_mean_2"])
    broken = Pool.build(world.ids, world.regions, world.pixels, table)
    labelled = replace(broken, everything=broken).without(world.ids[:9], world.regions[:9])
    with pytest.raises(BadInput, match=r"probability_mean_2 is nan for region 3 of image i0 \(1 in all\)"):
        balanced(labelled)
    with pytest.raises(BadInput, match=r"probability_mean_2 is NaN for region 3 of image i0"):
        run_stages(replace(broken, everything=broken), [Stage("class_balanced")], None, 0)
    without = replace(world.pool, scores={"bvsb_mean": world.table["bvsb_mean"]})
    with pytest.raises(BadInput, match="no score column 'bvsb_by_class' with one value per class; columns: bvsb_mean"):
        balanced(without)
    fewer = {name: values for name, values in world.table.items() if name != "bvsb_by_class_4"}
    with pytest.raises(BadInput, match="bvsb_by_class has 4 classes and probability_mean 5"):
        balanced(replace(world.pool, scores=fewer))
    with pytest.raises(BadInput, match=r"undefined is class 5, and the model knows 0 … 4; train with a class for"):
        balanced(world.pool, undefined=5)
    half = {**world.table, "predicted_majority": world.table["predicted_majority"] + 0.5}
    with pytest.raises(BadInput, match=r"predicted_majority of region 0 of image i0 is .*\.5, no class"):
        balanced(replace(world.pool, scores=half), undefined=1)


@pytest.mark.parametrize("mode", ["pixbal", "classbal"])
def test_the_budget_bounds_the_ranking(mode):
    world = World(6)
    n = len(world.pool)
    stage = [Stage("class_balanced", canonical_json({"mode": mode}))]
    whole = run_stages(world.pool, stage, Budget("regions", n), 0)
    assert sorted(whole.rows.tolist()) == list(range(n))
    for k in (1, 7, n - 1):
        assert np.array_equal(run_stages(world.pool, stage, Budget("regions", k), 0).rows, whole.rows[:k])
    few = run_stages(world.pool, [Stage("class_balanced", canonical_json({"mode": mode, "count": 3}))], None, 0)
    assert np.array_equal(few.rows, whole.rows[:3])
    with pytest.raises(BadInput, match=rf"{n + 1} regions are asked for and {n} unlabelled"):
        run_stages(world.pool, stage, Budget("regions", n + 1), 0)
    pixels = int(world.pool.pixels.sum()) // 3
    spent = world.pool.pixels[run_stages(world.pool, stage, Budget("pixels", pixels), 0).rows]
    assert spent[:-1].sum() < pixels <= spent.sum()
