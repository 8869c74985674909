"""Near-duplicates: the crop against a plain loop, colours against their definition, and what no change leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.datasets.augment import Change, apply, crop_box, draw

PLAIN = Change(1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0)


def _pair(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3), np.uint8), rng.integers(0, 11, shape, np.uint8)


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.floats(0.01, 1.0),
    st.floats(0, 0.9999999),
    st.floats(0, 0.9999999),
)
def test_the_crop_is_inside_and_has_its_share(shape: tuple[int, int], area: float, row: float, column: float) -> None:
    top, left, height, width = crop_box(shape, replace(PLAIN, area=area, row=row, column=column))
    assert 0 <= top <= top + height <= shape[0]
    assert 0 <= left <= left + width <= shape[1]
    for extent, part in ((shape[0], height), (shape[1], width)):
        assert part >= 1
        assert abs(part - extent * area**0.5) <= 0.5 or part == 1


def test_85_percent_of_camvid() -> None:
    _, _, height, width = crop_box((360, 480), replace(PLAIN, area=0.85))
    assert (height, width) == (332, 443)
    assert height * width / (360 * 480) == pytest.approx(0.85, abs=0.002)


def test_labels_equal_a_plain_nearest_look_up() -> None:
    rgb, labels = _pair(1, (13, 17))
    change = replace(PLAIN, area=0.6, row=0.7, column=0.3)
    top, left, height, width = crop_box((13, 17), change)
    expected = [
        [labels[top + int((y + 0.5) * height / 13), left + int((x + 0.5) * width / 17)] for x in range(17)]
        for y in range(13)
    ]
    _, moved = apply(rgb, labels, change)
    assert moved.tolist() == expected
    assert (moved.dtype, moved.shape) == (np.uint8, (13, 17))


def test_image_and_labels_move_together() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:25, 20:45] = 1
    rgb = np.repeat((labels * 255)[..., None], 3, axis=2)
    image, moved = apply(rgb, labels, replace(PLAIN, area=0.5, row=0.4, column=0.6))
    assert 0.1 < moved.mean() < 0.9
    # Bilinear and nearest differ by less than one source pixel, at borders only.
    assert ((image[..., 0] > 127) == (moved == 1)).mean() > 0.97


def test_no_change_leaves_everything_alone() -> None:
    labels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    gray = np.repeat((labels * 5)[..., None], 3, axis=2)
    image, moved = apply(gray, labels, PLAIN)
    assert np.array_equal(image, gray)
    assert np.array_equal(moved, labels)


def test_each_colour_change_does_what_it_says() -> None:
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[:2], rgb[2:] = (200, 40, 40), (40, 40, 80)
    labels = np.zeros((4, 4), np.uint8)

    def changed(**values: float) -> np.ndarray:
        return apply(rgb, labels, replace(PLAIN, **values))[0].astype(float)

    base = changed()
    assert np.abs(base - rgb).max() <= 3  # the way through HSV rounds
    assert np.abs(changed(brightness=0.5) - rgb * 0.5).max() <= 3
    assert changed(contrast=0.5).std() < 0.7 * base.std()
    gray = changed(saturation=0.0)
    assert np.ptp(gray, axis=2).max() == 0
    assert gray[0, 0, 0] == pytest.approx(200 * 0.299 + 40 * 0.701, abs=1)
    red = changed(hue=1 / 3)[0, 0]
    assert red.argmax() == 1


def test_draws_stay_in_their_bounds_and_repeat() -> None:
    rng = np.random.default_rng(3)
    changes = [draw(rng, 0.85, 0.4, 0.1) for _ in range(300)]
    for change in changes:
        assert 0 <= change.row < 1
        assert 0 <= change.column < 1
        assert all(0.6 <= value <= 1.4 for value in (change.brightness, change.contrast, change.saturation))
        assert abs(change.hue) <= 0.1
    assert len(set(changes)) == 300
    assert draw(np.random.default_rng(3), 0.85, 0.4, 0.1) == changes[0]
