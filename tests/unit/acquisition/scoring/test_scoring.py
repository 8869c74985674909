"""Scores against a brute-force reference: torch's upsampling, the definition of entropy, loops over regions."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition.scoring import fused_pass
from tessera.acquisition.scoring.region_draws import region_uniform
from tessera.acquisition.scoring.region_scores import Column, axis_weights, draw_regions, needs_model, score_regions
from tessera.acquisition.scoring.softmax_kernel import exponentials, logarithms
from tessera.errors import BadInput

MEAN = Column("entropy_mean", "entropy", "mean")
SUM = Column("entropy_sum", "entropy", "sum")
MAX = Column("entropy_max", "entropy", "max")
RANDOM = Column("random_mean", "random", "mean")


def upsampled(logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(logits.astype(np.float64))[None]
    return torch.nn.functional.interpolate(tensor, size=shape, mode="bilinear", align_corners=False)[0].numpy()


def entropy_map(logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """H = −Σ p log p in float64, from the definition."""
    z = upsampled(logits, shape)
    p = np.exp(z - z.max(axis=0))
    p /= p.sum(axis=0)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=0)


def reference(logits: np.ndarray, regions: np.ndarray, how: str) -> np.ndarray:
    entropy = entropy_map(logits, regions.shape)
    reduce = {"mean": np.mean, "sum": np.sum, "max": np.max}[how]
    return np.array([reduce(entropy[regions == r]) for r in range(regions.max() + 1)])


def random_case(seed: int, classes: int, low: tuple[int, int], full: tuple[int, int], regions: int, scale: float = 3.0):
    rng = np.random.default_rng(seed)
    region_map = rng.integers(0, regions, full)
    region_map.ravel()[:regions] = np.arange(regions)
    return rng.normal(0, scale, (classes, *low)).astype(np.float32), region_map.astype(np.int32)


@pytest.mark.parametrize(
    ("classes", "low", "full", "regions"),
    [
        (11, (9, 12), (36, 48), 16),
        (2, (1, 1), (5, 7), 3),
        (19, (8, 5), (31, 17), 40),
        (3, (6, 6), (6, 6), 5),
        (4, (7, 9), (5, 4), 2),
        (2, (3, 3), (1, 1), 1),
    ],
)
@pytest.mark.parametrize("column", [MEAN, SUM, MAX])
def test_entropy_equals_the_definition(classes, low, full, regions, column):
    logits, region_map = random_case(classes, classes, low, full, regions)
    got = score_regions(logits, region_map, [column], 0, "a")[column.name]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, reference(logits, region_map, column.aggregation), rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 60))
def test_axis_weights_are_those_of_torch(size_in, size_out):
    values = np.random.default_rng(size_in * 100 + size_out).normal(size=size_in).astype(np.float32)
    lower, upper, weight = axis_weights(size_in, size_out)
    got = (1 - weight) * values[lower] + weight * values[upper]
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], size=size_out, mode="linear", align_corners=False
    )
    np.testing.assert_allclose(got, expected[0, 0].numpy(), rtol=1e-4, atol=1e-4)


def test_exponentials_and_logarithms_are_accurate_to_the_last_bits():
    z = -np.concatenate([np.linspace(0, 87, 20_001), np.logspace(-9, 1.9, 20_001)]).astype(np.float32)
    exps = np.empty_like(z)
    exponentials(z, exps)
    np.testing.assert_allclose(exps, np.exp(z.astype(np.float64)), rtol=3e-7)
    values = np.concatenate([np.linspace(1, 300, 20_001), 1 + np.logspace(-6, 0, 20_001)]).astype(np.float32)
    logs = np.empty_like(values)
    logarithms(values, logs)
    np.testing.assert_allclose(logs, np.log(values.astype(np.float64)), rtol=3e-7, atol=1e-7)


def test_logits_far_apart_do_not_overflow():
    logits = np.zeros((3, 2, 2), np.float32)
    logits[0] = 3e4
    logits[1] = -3e4
    assert score_regions(logits, np.zeros((8, 8), np.int32), [MEAN], 0, "a")["entropy_mean"][0] == pytest.approx(0.0)


def test_equal_logits_give_log_c():
    got = score_regions(np.full((7, 2, 3), 1.5, np.float32), np.zeros((8, 9), np.int32), [MEAN, SUM], 0, "a")
    assert got["entropy_mean"][0] == pytest.approx(math.log(7), rel=1e-6)
    assert got["entropy_sum"][0] == pytest.approx(72 * math.log(7), rel=1e-6)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_height_of_strips_changes_no_bit(monkeypatch, rows):
    logits, region_map = random_case(5, 6, (7, 9), (29, 33), 9)
    columns = [MEAN, SUM, MAX, RANDOM]
    expected = score_regions(logits, region_map, columns, 3, "a")
    monkeypatch.setattr(fused_pass, "STRIP_BYTES", 8 * 6 * 33 * rows)
    got = score_regions(logits, region_map, columns, 3, "a")
    for name in expected:
        assert np.array_equal(got[name], expected[name])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_renumbering_regions_permutes_the_scores(seed):
    logits, region_map = random_case(seed, 4, (4, 5), (13, 11), 6)
    permutation = np.random.default_rng(seed + 1).permutation(6)
    expected = score_regions(logits, region_map, [MEAN, SUM], 0, "a")
    got = score_regions(logits, permutation[region_map].astype(np.int32), [MEAN, SUM], 0, "a")
    for name in expected:
        assert np.array_equal(got[name][permutation], expected[name])


def test_columns_share_one_pass_and_come_in_the_order_asked_for():
    logits, region_map = random_case(1, 4, (4, 5), (13, 11), 6)
    together = score_regions(logits, region_map, [RANDOM, SUM, MEAN, MAX], 5, "a")
    assert list(together) == ["random_mean", "entropy_sum", "entropy_mean", "entropy_max"]
    for column in (SUM, MEAN, MAX, RANDOM):
        alone = score_regions(logits, region_map, [column], 5, "a")[column.name]
        assert np.array_equal(alone, together[column.name])


def test_random_needs_no_model_and_ignores_sharding():
    assert not needs_model([RANDOM])
    assert needs_model([RANDOM, MEAN])
    ids = np.arange(50)
    whole = draw_regions([RANDOM], 7, "img", ids)["random_mean"]
    parts = [draw_regions([RANDOM], 7, "img", part)["random_mean"] for part in (ids[30:], ids[:30])]
    assert np.array_equal(whole, np.concatenate([parts[1], parts[0]]))
    assert np.array_equal(whole, score_regions(None, ids.reshape(5, 10), [RANDOM], 7, "img")["random_mean"])


def test_random_is_uniform_and_differs_between_seeds_images_and_regions():
    draws = np.concatenate(
        [region_uniform(seed, f"i{image}", np.arange(100)) for seed in (0, 1) for image in range(50)]
    )
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    # chi-square with 19 degrees of freedom: 43.8 is the 0.1 % point
    assert ((counts - 500) ** 2 / 500).sum() < 43.8
    assert len(np.unique(draws)) > 9_990
    # Fixed values: a change here changes every published random run.
    assert (region_uniform(0, "a", np.arange(3)) * 2**24).tolist() == [5974108, 3244925, 11291176]
    assert (region_uniform(2**63 - 1, "b.c", np.array([65535], np.int32)) * 2**24).tolist() == [837589]


def test_the_last_bit_of_entropy_is_the_published_one():
    digest = hashlib.sha256()
    for seed, scale in enumerate([0.01, 1, 3, 20, 1000]):
        logits, region_map = random_case(seed, 11, (23, 30), (90, 301), 16, scale)
        for values in score_regions(logits, region_map, [MEAN, SUM, MAX], 0, "a").values():
            digest.update(values.tobytes())
    # A change here changes the selections of every recorded run that ranks by entropy.
    assert digest.hexdigest() == "8b17cf0f73c0ac73ce86621263889d18bfbfc4be2979551af9819976fcba4355"


def test_bad_maps_and_logits_are_named():
    logits, region_map = random_case(1, 4, (4, 5), (13, 11), 6)
    with pytest.raises(BadInput, match=r"image a: region 5 has no pixels"):
        score_regions(logits, np.where(region_map == 5, 7, region_map), [MEAN], 0, "a")
    with pytest.raises(BadInput, match=r"image a: the region map holds id -1"):
        score_regions(logits, region_map - 1, [MEAN], 0, "a")
    with pytest.raises(BadInput, match=r"image a: region id 999999999 exceeds"):
        score_regions(logits, np.where(region_map == 5, 999_999_999, region_map), [MEAN], 0, "a")
    with pytest.raises(BadInput, match=r"image a: the region map has shape"):
        score_regions(logits, np.zeros((0, 3), np.int32), [MEAN], 0, "a")
    with pytest.raises(BadInput, match=r"region \d of image a: .*NaN"):
        score_regions(np.where(logits == logits.max(), np.nan, logits), region_map, [MEAN], 0, "a")
    with pytest.raises(BadInput, match=r"entropy_mean needs a model"):
        score_regions(None, region_map, [MEAN], 0, "a")
    with pytest.raises(BadInput, match=r"random_sum.*aggregate: mean"):
        draw_regions([Column("random_sum", "random", "sum")], 0, "a", np.arange(3))
    with pytest.raises(BadInput, match=r"entropi.*entropy"):
        score_regions(logits, region_map, [Column("x", "entropi", "mean")], 0, "a")


def test_registries_and_handlers_import_no_heavy_library():
    code = (
        "import sys, services.scorer.columns, services.embedder.targets\n"
        "from tessera import acquisition as a\n"
        "[r.names() for r in (a.SCORES, a.AGGREGATIONS, a.FEATURES, a.PROJECTIONS, a.STAGES)]\n"
        "import tessera.acquisition.scoring.region_scores\n"
        "print([m for m in ('numba', 'torch', 'umap', 'sklearn', 'cv2', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
