"""Every pixel score and aggregation against its formula, written out over full-size softmax maps and region masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition.interfaces import Column
from tessera.acquisition.scoring import fused_pass
from tessera.acquisition.scoring.region_scores import score_regions, table_columns
from tessera.errors import BadInput
from tessera.registry import canonical_json


def column(score: str, aggregation: str, name: str = "", score_given=None, aggregation_given=None) -> Column:
    return Column(
        name or f"{score}_{aggregation}",
        score,
        aggregation,
        canonical_json(score_given or {}),
        canonical_json(aggregation_given or {}),
    )


def softmax_map(logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(logits.astype(np.float64))[None]
    z = torch.nn.functional.interpolate(tensor, size=shape, mode="bilinear", align_corners=False)[0].numpy()
    p = np.exp(z - z.max(axis=0))
    return p / p.sum(axis=0)


def pixel_map(score: str, p: np.ndarray) -> np.ndarray:
    """The score of every pixel, float64, from its definition."""
    ordered = np.sort(p, axis=0)[::-1]
    return {
        "entropy": -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=0),
        "margin": 1 - (ordered[0] - ordered[1]),
        "least_confidence": 1 - ordered[0],
        "bvsb": ordered[1] / ordered[0],
    }[score]


def case(seed: int, classes: int, low=(5, 7), full=(22, 31), regions: int = 9, scale: float = 2.0):
    rng = np.random.default_rng(seed)
    region_map = np.kron(rng.integers(0, regions, (-(-full[0] // 4), -(-full[1] // 5))), np.ones((4, 5), int))
    region_map = np.ascontiguousarray(region_map[: full[0], : full[1]])
    region_map.ravel()[rng.permutation(region_map.size)[:regions]] = np.arange(regions)
    return rng.normal(0, scale, (classes, *low)).astype(np.float32), region_map.astype(np.int32)


def means(values: np.ndarray, region_map: np.ndarray, reduce) -> np.ndarray:
    return np.array([reduce(values[region_map == r]) for r in range(region_map.max() + 1)])


SCALARS = ["entropy", "margin", "least_confidence", "bvsb"]


@pytest.mark.parametrize("score", SCALARS)
@pytest.mark.parametrize(("aggregation", "reduce"), [("mean", np.mean), ("sum", np.sum), ("max", np.max)])
@pytest.mark.parametrize("classes", [2, 5, 19])
def test_scores_equal_their_definitions(score, aggregation, reduce, classes):
    logits, region_map = case(classes, classes)
    got = score_regions(logits, region_map, [column(score, aggregation)], 0, "a")[f"{score}_{aggregation}"]
    expected = means(pixel_map(score, softmax_map(logits, region_map.shape)), region_map, reduce)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_entropy_is_in_nats_unless_a_base_is_given():
    logits, region_map = case(3, 8)
    columns = [column("entropy", "sum"), column("entropy", "sum", "bits", {"base": 2.0})]
    got = score_regions(logits, region_map, columns, 0, "a")
    np.testing.assert_allclose(got["bits"], got["entropy_sum"] / math.log(2), rtol=1e-6)
    flat = score_regions(np.zeros((8, 2, 2), np.float32), np.zeros((4, 4), np.int32), columns, 0, "a")
    assert flat["bits"][0] == pytest.approx(16 * 3)
    for base in (1.0, 0.0, -2.0, math.inf):
        with pytest.raises(BadInput, match="base"):
            score_regions(logits, region_map, [Column("x", "entropy", "sum", f'{{"base": {base}}}')], 0, "a")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.1, 0.37, 0.5, 1.0]), st.sampled_from(SCALARS))
def test_top_mean_is_the_mean_of_the_sorted_head(seed, fraction, score):
    logits, region_map = case(seed, 4, scale=1.0)
    if seed % 3 == 0:
        logits = np.round(logits)  # ties
    got = score_regions(
        logits, region_map, [column(score, "top_mean", aggregation_given={"fraction": fraction})], 0, "a"
    )
    values = pixel_map(score, softmax_map(logits, region_map.shape))

    def head(part):
        k = max(1, math.ceil(round(fraction * len(part), 6)))
        return np.sort(part)[::-1][:k].mean()

    np.testing.assert_allclose(got[f"{score}_top_mean"], means(values, region_map, head), rtol=1e-5, atol=1e-6)


def test_top_mean_of_everything_is_the_mean_and_of_one_pixel_the_maximum():
    logits, region_map = case(1, 4)
    columns = [
        column("bvsb", "mean"),
        column("bvsb", "max"),
        column("bvsb", "top_mean", "all", aggregation_given={"fraction": 1.0}),
        column("bvsb", "top_mean", "one", aggregation_given={"fraction": 1e-6}),
    ]
    got = score_regions(logits, region_map, columns, 0, "a")
    np.testing.assert_allclose(got["all"], got["bvsb_mean"], rtol=1e-6)
    assert np.array_equal(got["one"], got["bvsb_max"])


@pytest.mark.parametrize("score", SCALARS)
def test_minmax_mean_scales_the_map_of_the_image(score):
    logits, region_map = case(7, 6)
    got = score_regions(logits, region_map, [column(score, "minmax_mean")], 0, "a")[f"{score}_minmax_mean"]
    values = pixel_map(score, softmax_map(logits, region_map.shape))
    scaled = (values - values.min()) / (values.max() - values.min())
    np.testing.assert_allclose(got, means(scaled, region_map, np.mean), rtol=1e-4, atol=1e-5)
    flat = score_regions(np.zeros((3, 2, 2), np.float32), region_map, [column(score, "minmax_mean")], 0, "a")
    assert not flat[f"{score}_minmax_mean"].any()


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("score", SCALARS)
def test_by_class_splits_the_sum_by_the_predicted_class(score, classes):
    logits, region_map = case(2, classes)
    p = softmax_map(logits, region_map.shape)
    values, predicted = pixel_map(score, p), p.argmax(axis=0)
    got = score_regions(logits, region_map, [column(score, "by_class"), column(score, "sum")], 0, "a")
    assert list(got) == [*[f"{score}_by_class_{c}" for c in range(classes)], f"{score}_sum"]
    for c in range(classes):
        expected = means(np.where(predicted == c, values, 0.0), region_map, np.sum)
        np.testing.assert_allclose(got[f"{score}_by_class_{c}"], expected, rtol=1e-5, atol=1e-6)
    split = np.sum([got[f"{score}_by_class_{c}"] for c in range(classes)], axis=0)
    np.testing.assert_allclose(split, got[f"{score}_sum"], rtol=1e-5)


def test_predicted_counts_pixels_and_names_the_majority():
    logits, region_map = case(5, 6)
    predicted = softmax_map(logits, region_map.shape).argmax(axis=0)
    got = score_regions(logits, region_map, [column("predicted", "majority"), column("predicted", "by_class")], 0, "a")
    counts = np.array([np.bincount(predicted[region_map == r], minlength=6) for r in range(9)])
    assert np.array_equal(np.stack([got[f"predicted_by_class_{c}"] for c in range(6)], axis=1), counts)
    assert np.array_equal(got["predicted_majority"], counts.argmax(axis=1))


def test_equal_logits_are_predicted_as_the_lowest_class():
    got = score_regions(
        np.ones((4, 2, 2), np.float32), np.zeros((6, 6), np.int32), [column("predicted", "majority")], 0, "a"
    )
    assert got["predicted_majority"].tolist() == [0]
    more = score_regions(
        np.ones((4, 2, 2), np.float32),
        np.zeros((6, 6), np.int32),
        [column("bvsb", "mean"), column("margin", "mean")],
        0,
        "a",
    )
    assert more == {"bvsb_mean": [1.0], "margin_mean": [1.0]}


@pytest.mark.parametrize(("aggregation", "reduce"), [("mean", np.mean), ("sum", np.sum), ("max", np.max)])
@pytest.mark.parametrize("full", [(22, 31), (9, 700)])
def test_probability_has_a_value_a_class(aggregation, reduce, full):
    logits, region_map = case(6, 5, full=full)
    got = score_regions(logits, region_map, [column("probability", aggregation)], 0, "a")
    p = softmax_map(logits, region_map.shape)
    for c in range(5):
        expected = means(p[c], region_map, reduce)
        np.testing.assert_allclose(got[f"probability_{aggregation}_{c}"], expected, rtol=1e-5, atol=1e-6)


EVERYTHING = [
    *[column(score, how) for score in SCALARS for how in ("mean", "max", "top_mean", "minmax_mean", "by_class")],
    *[column("probability", how) for how in ("mean", "sum", "max", "minmax_mean")],
    column("predicted", "majority"),
    column("predicted", "by_class"),
    column("random", "mean"),
]


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_neither_strips_nor_company_change_a_bit(monkeypatch, rows):
    logits, region_map = case(5, 6, low=(7, 9), full=(29, 533))
    expected = score_regions(logits, region_map, EVERYTHING, 3, "a")
    assert list(expected) == table_columns(EVERYTHING, 6)
    monkeypatch.setattr(fused_pass, "_planes", lambda *_: 1)
    monkeypatch.setattr(fused_pass, "STRIP_BYTES", 4 * 533 * rows)
    for columns in (EVERYTHING, EVERYTHING[::-1], *([one] for one in EVERYTHING)):
        for name, values in score_regions(logits, region_map, columns, 3, "a").items():
            assert np.array_equal(values, expected[name]), name


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_renumbering_regions_permutes_every_column(seed):
    logits, region_map = case(seed, 4)
    permutation = np.random.default_rng(seed + 1).permutation(9)
    columns = [one for one in EVERYTHING if one.score != "random"]
    expected = score_regions(logits, region_map, columns, 0, "a")
    got = score_regions(logits, permutation[region_map].astype(np.int32), columns, 0, "a")
    for name in expected:
        assert np.array_equal(got[name][permutation], expected[name]), name


def test_one_region_and_one_pixel():
    logits, _ = case(1, 3)
    got = score_regions(logits, np.zeros((1, 1), np.int32), EVERYTHING[:-1], 0, "a")
    assert all(values.shape == (1,) for values in got.values())
    assert got["bvsb_mean"] == got["bvsb_max"] == got["bvsb_top_mean"]


def test_what_does_not_go_together_is_refused():
    for score, aggregation, message in (
        ("predicted", "mean", r"predicted is a class and no number.*majority or by_class"),
        ("probability", "by_class", r"already has one value per class.*aggregate: mean"),
        ("probability", "majority", r"already has one value per class"),
        ("probability", "top_mean", r"top_mean keeps every pixel's value and probability has one per class"),
        ("random", "by_class", r"random_by_class: random is drawn once per region.*aggregate: mean"),
    ):
        with pytest.raises(BadInput, match=message):
            table_columns([column(score, aggregation)], 4)
    with pytest.raises(BadInput, match="'probability_mean_1' is taken"):
        table_columns([column("probability", "mean"), column("bvsb", "mean", "probability_mean_1")], 4)


def test_logits_that_are_not_numbers_name_the_region():
    logits, _ = case(1, 3, low=(2, 2))
    logits[1, 1, 0] = np.nan
    with pytest.raises(BadInput, match=r"region 2 of image street\.png: the model's logits hold NaN"):
        score_regions(
            logits, np.kron([[0, 1], [2, 3]], np.ones((4, 4), int)), [column("bvsb", "mean")], 0, "street.png"
        )
