"""Region features against full-size upsampling and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import RegionImage
from tessera.acquisition.pooling.region_means import region_means
from tessera.acquisition.scoring.fused_pass import axis_weights
from tessera.errors import BadInput


class Averages:
    """A "network" whose map is the image in blocks of 4×4, so that expected features are easy to write down."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []
        self.batches: list[tuple[int, ...]] = []

    def features(self, rgb: np.ndarray) -> np.ndarray:
        self.seen.append(rgb.shape)
        height, width = -(-rgb.shape[0] // 4) * 4, -(-rgb.shape[1] // 4) * 4
        padded = np.zeros((height, width, 3), np.float32)
        padded[: rgb.shape[0], : rgb.shape[1]] = rgb
        return np.ascontiguousarray(
            padded.reshape(height // 4, 4, width // 4, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
        )

    def maps(self, rgb: torch.Tensor) -> tuple[None, torch.Tensor]:
        maps = [torch.from_numpy(self.features(one)) for one in rgb.numpy()]
        self.batches.append(tuple(rgb.shape))
        return None, torch.stack(maps)


def describe(image: RegionImage, **params):
    model = Averages()
    return FEATURES.entry("backbone").function(model, image, FEATURES.parameters("backbone", params)), model


def test_crops_run_alone():
    rgb = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    boxes = np.array([[8, 0, 16, 12], [0, 12, 8, 24]], np.int32)
    got, model = describe(RegionImage(rgb, np.array([3, 1], np.int32), boxes))
    assert model.seen == [(8, 12, 3), (8, 12, 3)]
    expected = [rgb[8:16, 0:12].mean(axis=(0, 1)), rgb[0:8, 12:24].mean(axis=(0, 1))]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert got.dtype == np.float32


def test_crops_of_one_size_share_a_batch_and_keep_their_rows():
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    boxes = [[4 * i, 0, 4 * i + 4, 8] if i % 2 else [0, 4 * i, 8, 4 * i + 4] for i in range(10)]
    boxes += [[4, 8, 8, 16]] * 6
    got, model = describe(RegionImage(rgb, np.arange(16, dtype=np.int32), np.array(boxes, np.int32)))
    assert sorted(model.batches) == [(3, 4, 8, 3), (5, 8, 4, 3), (8, 4, 8, 3)]
    np.testing.assert_allclose(got, [rgb[a:c, b:d].mean(axis=(0, 1)) for a, b, c, d in boxes], rtol=1e-5)


def test_a_region_has_the_same_features_in_any_company():
    rgb = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    boxes = np.array([[0, 0, 8, 12], [0, 12, 8, 24], [8, 0, 16, 12]], np.int32)
    together, _ = describe(RegionImage(rgb, np.arange(3, dtype=np.int32), boxes))
    alone, _ = describe(RegionImage(rgb, np.array([1], np.int32), boxes[1:2]))
    assert np.array_equal(together[1:2], alone)


@pytest.mark.parametrize("box", [[0, 0, 17, 4], [-1, 0, 4, 4], [4, 4, 4, 8]])
def test_boxes_outside_the_image_are_named(box):
    rgb = np.zeros((16, 24, 3), np.uint8)
    with pytest.raises(BadInput, match=r"region 5: box"):
        describe(RegionImage(rgb, np.array([5], np.int32), np.array([box], np.int32)))


def test_context_image_is_the_mean_over_the_region_and_needs_the_map():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (16, 24, 3)).astype(np.uint8)
    region_map = rng.integers(0, 5, (16, 24)).astype(np.int32)
    ids, boxes = np.array([4, 0], np.int32), np.zeros((2, 4), np.int32)
    got, model = describe(RegionImage(rgb, ids, boxes, region_map), context="image")
    assert model.seen == [(16, 24, 3)]
    np.testing.assert_allclose(got, region_means(Averages().features(rgb), region_map, ids))
    with pytest.raises(BadInput, match=r"region maps"):
        describe(RegionImage(rgb, ids, boxes), context="image")
    needs_maps = FEATURES.entry("backbone").traits.needs_maps
    assert needs_maps(FEATURES.parameters("backbone", {"context": "image"}))
    assert not needs_maps(FEATURES.parameters("backbone", {}))


@pytest.mark.parametrize(("low", "full"), [((3, 4), (12, 17)), ((1, 1), (5, 6)), ((6, 5), (6, 5)), ((7, 9), (20, 11))])
def test_folded_weights_equal_upsampling_first(monkeypatch, low, full):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(8, *low)).astype(np.float32)
    region_map = rng.integers(0, 6, full).astype(np.int32)
    region_map.ravel()[:6] = np.arange(6)
    up = torch.nn.functional.interpolate(
        torch.from_numpy(features.astype(np.float64))[None], size=full, mode="bilinear", align_corners=False
    )[0].numpy()
    expected = np.array([up[:, region_map == region].mean(axis=1) for region in (5, 0, 2)])
    np.testing.assert_allclose(region_means(features, region_map, np.array([5, 0, 2])), expected, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("tessera.acquisition.pooling.region_means._MOST_WEIGHTS", 1)
    np.testing.assert_allclose(region_means(features, region_map, np.array([5, 0, 2])), expected, rtol=1e-4, atol=1e-5)


def pooled_in_float64(features: np.ndarray, region_map: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Every pixel interpolated from its four cells, then averaged; in float64."""
    (top, bottom, v), (left, right, u) = (
        axis_weights(low, full) for low, full in zip(features.shape[1:], region_map.shape, strict=True)
    )
    f, v, u = features.astype(np.float64), v.astype(np.float64)[:, None], u.astype(np.float64)
    upper = (1 - u) * f[:, top][:, :, left] + u * f[:, top][:, :, right]
    lower = (1 - u) * f[:, bottom][:, :, left] + u * f[:, bottom][:, :, right]
    full = (1 - v) * upper + v * lower
    return np.array([full[:, region_map == region].mean(axis=1) for region in ids])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.integers(1, 40), st.integers(1, 40))
def test_sparse_pooling_is_the_mean_over_pixels(seed, low_y, low_x, height, width):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rng.integers(1, 70), low_y, low_x)).astype(np.float32)
    blocks = rng.integers(0, 7, (height, -(-width // 3)))
    region_map = np.unique(np.repeat(blocks, 3, axis=1)[:, :width], return_inverse=True)[1].reshape(height, width)
    ids = rng.permutation(region_map.max() + 1)[: rng.integers(1, region_map.max() + 2)]
    got = region_means(features, region_map, ids)
    assert got.dtype == np.float32
    np.testing.assert_allclose(
        got, pooled_in_float64(features, region_map, ids), rtol=0, atol=2e-6 * np.abs(features).max()
    )
    channels_last = np.ascontiguousarray(features.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert np.array_equal(region_means(channels_last, region_map, ids), got)
    alone = [region_means(features, region_map, ids[row : row + 1])[0] for row in range(len(ids))]
    assert np.array_equal(alone, got)


def test_one_region_of_a_whole_large_image_keeps_its_precision():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(3, 90, 120)) + 5).astype(np.float32)
    got = region_means(features, np.zeros((360, 480), np.int32), np.array([0]))
    expected = pooled_in_float64(features, np.zeros((360, 480), np.int32), np.array([0]))
    np.testing.assert_allclose(got, expected, rtol=3e-7)
