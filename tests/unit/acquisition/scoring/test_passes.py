"""Scores over several forward passes against full-resolution brute force in float64 with torch's upsampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition.interfaces import PassSet
from tessera.acquisition.scoring import fused_pass
from tessera.acquisition.scoring.region_scores import Column, needs_model, pass_sets, score_regions
from tessera.errors import BadInput

FLIP, MIRROR, DROPOUT = PassSet("flip"), PassSet("mirror"), PassSet("dropout", 5)
EQUAL = Column("equal_mean", "equal", "mean", '{"aligned":true}')
UNALIGNED = Column("unaligned", "equal", "mean", '{"aligned":false}')
BALD = Column("bald_mean", "bald", "mean", '{"passes":5}')
BALD_SUM = Column("bald_sum", "bald", "sum", '{"passes":5}')
BALD_MAX = Column("bald_max", "bald", "max", '{"passes":5}')
ENTROPY = Column("entropy_mean", "entropy", "mean")


def softmax(logits, shape):
    tensor = torch.from_numpy(logits.astype(np.float64))[None]
    full = torch.nn.functional.interpolate(tensor, size=shape, mode="bilinear", align_corners=False)
    return full.softmax(dim=1)[0].numpy()


def entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=0)


def per_region(pixels, regions, reduce=np.mean):
    return np.array([reduce(pixels[regions == r]) for r in range(regions.max() + 1)])


def case(seed=0, classes=5, low=(7, 9), full=(29, 33), regions=9, passes=5, scale=2.0):
    rng = np.random.default_rng(seed)
    region_map = rng.integers(0, regions, full).astype(np.int32)
    region_map.ravel()[:regions] = np.arange(regions)
    plain, flipped = rng.normal(0, scale, (2, classes, *low)).astype(np.float32)
    drawn = [(plain + rng.normal(0, 1, plain.shape)).astype(np.float32) for _ in range(passes)]
    return plain, flipped, drawn, region_map


@pytest.mark.parametrize(
    ("low", "full"), [((7, 9), (29, 33)), ((8, 12), (32, 48)), ((5, 5), (17, 18)), ((1, 1), (3, 4))]
)
def test_equal_mirrors_the_second_entropy_back_at_full_resolution(low, full):
    plain, of_mirrored_image, _, regions = case(low=low, full=full, regions=4)
    # What the network says of the mirrored image, upsampled first and mirrored back afterwards.
    second = entropy(softmax(of_mirrored_image, full))[:, ::-1]
    expected = per_region(entropy(softmax(plain, full)) + second, regions)
    back = np.ascontiguousarray(of_mirrored_image[:, :, ::-1])
    got = score_regions(plain, regions, [EQUAL], 0, "a", {FLIP: [back]})["equal_mean"]
    np.testing.assert_allclose(got, expected, rtol=2e-5)


def test_equal_unaligned_is_the_published_codes_and_over_a_whole_image_the_same():
    plain, of_mirrored_image, _, regions = case()
    extra = {FLIP: [np.ascontiguousarray(of_mirrored_image[:, :, ::-1])], MIRROR: [of_mirrored_image]}
    maps = [entropy(softmax(one, regions.shape)) for one in (plain, of_mirrored_image)]
    got = score_regions(plain, regions, [UNALIGNED], 0, "a", extra)["unaligned"]
    np.testing.assert_allclose(got, per_region(maps[0] + maps[1], regions), rtol=2e-5)
    whole = np.zeros_like(regions)
    both = score_regions(plain, whole, [EQUAL, UNALIGNED], 0, "a", extra)
    assert both["equal_mean"][0] == pytest.approx(both["unaligned"][0], rel=1e-6)
    assert both["unaligned"][0] == pytest.approx(maps[0].mean() + maps[1].mean(), rel=1e-5)


def test_equal_of_a_consistent_network_is_twice_the_entropy():
    plain, _, _, regions = case()
    got = score_regions(plain, regions, [EQUAL, ENTROPY], 0, "a", {FLIP: [plain]})
    np.testing.assert_allclose(got["equal_mean"], 2 * got["entropy_mean"], rtol=1e-6)


@pytest.mark.parametrize(("column", "reduce"), [(BALD, np.mean), (BALD_SUM, np.sum), (BALD_MAX, np.max)])
@pytest.mark.parametrize("classes", [2, 5, 19])
def test_bald_is_the_mutual_information(column, reduce, classes):
    plain, _, drawn, regions = case(classes=classes)
    p = np.stack([softmax(one, regions.shape) for one in drawn])
    pixels = entropy(p.mean(axis=0)) - np.mean([entropy(one) for one in p], axis=0)
    got = score_regions(plain, regions, [column], 0, "a", {DROPOUT: drawn})[column.name]
    np.testing.assert_allclose(got, per_region(pixels, regions, reduce), rtol=1e-4, atol=1e-6)


def test_bald_is_zero_where_passes_agree_and_log_c_where_they_are_sure_of_different_classes():
    plain, _, _, regions = case(classes=5)
    got = score_regions(plain, regions, [BALD_MAX], 0, "a", {DROPOUT: [plain] * 5})["bald_max"]
    assert (got >= 0).all()
    assert (got < 1e-6).all()
    sure = [np.zeros_like(plain) for _ in range(5)]
    for index, one in enumerate(sure):
        one[index] = 60.0
    got = score_regions(plain, regions, [BALD], 0, "a", {DROPOUT: sure})["bald_mean"]
    np.testing.assert_allclose(got, math.log(5), rtol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 7, 1000]))
def test_strips_columns_and_the_order_of_regions_change_no_bit(seed, rows):
    plain, flipped, drawn, regions = case(seed)
    extra = {FLIP: [flipped], DROPOUT: drawn}
    columns = [ENTROPY, EQUAL, BALD, BALD_SUM]
    whole = score_regions(plain, regions, columns, 0, "a", extra)
    kept = fused_pass.STRIP_BYTES
    fused_pass.STRIP_BYTES = 8 * 5 * 33 * rows
    try:
        permutation = np.random.default_rng(seed + 1).permutation(9)
        cut = score_regions(plain, permutation[regions].astype(np.int32), columns, 0, "a", extra)
    finally:
        fused_pass.STRIP_BYTES = kept
    for column in columns:
        assert np.array_equal(cut[column.name][permutation], whole[column.name])
        alone = score_regions(plain, regions, [column], 0, "a", extra)[column.name]
        assert np.array_equal(alone, whole[column.name])


def test_the_order_of_passes_hardly_matters():
    plain, _, drawn, regions = case()
    got = [
        score_regions(plain, regions, [BALD], 0, "a", {DROPOUT: order})["bald_mean"] for order in (drawn, drawn[::-1])
    ]
    np.testing.assert_allclose(*got, rtol=1e-5)


def test_columns_say_which_passes_they_need():
    assert pass_sets([ENTROPY]) == set()
    assert pass_sets([ENTROPY, EQUAL, BALD, BALD_SUM]) == {FLIP, DROPOUT}
    assert pass_sets([Column("b", "bald", "mean")]) == {PassSet("dropout", 20)}
    assert pass_sets([Column("e", "equal", "mean"), UNALIGNED]) == {FLIP, MIRROR}
    assert needs_model([EQUAL])
    assert needs_model([BALD])


def test_missing_short_or_broken_passes_are_refused():
    plain, flipped, drawn, regions = case()
    for extra in ({}, {DROPOUT: drawn[:4]}, {DROPOUT: [*drawn[:4], drawn[4][:, :3]]}):
        with pytest.raises(BadInput, match=r"image a: \d sets of logits of kind dropout"):
            score_regions(plain, regions, [BALD], 0, "a", extra)
    broken = flipped.copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(BadInput, match="of image a: the model's logits hold NaN"):
        score_regions(plain, regions, [EQUAL], 0, "a", {FLIP: [broken]})
