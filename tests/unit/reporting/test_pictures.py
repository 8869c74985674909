"""Photos of a report are shrunk, and stay what they show."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.reporting.pictures import shrink


@pytest.mark.parametrize("width", [90, 137])
def test_a_small_photo_has_the_means_of_the_large_one(width: int) -> None:
    # Seven stripes, each a colour with noise: what a pixel of the small photo covers lies within one, but at edges.
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 200, (7, 1, 3))
    rgb = np.clip(np.repeat(colours, 60, axis=0) + rng.normal(0, 20, (420, 630, 3)), 0, 255).astype(np.uint8)
    small = shrink(rgb, width)
    assert small.shape == (round(420 * width / 630), width, 3)
    assert small.dtype == np.uint8
    rows = (np.arange(7) + 0.5) * small.shape[0] / 7
    shown = np.stack([small[int(row)].mean(axis=0) for row in rows])
    np.testing.assert_allclose(shown, colours[:, 0], atol=3)


def test_a_photo_is_never_enlarged() -> None:
    rgb = np.zeros((4, 6, 3), np.uint8)
    assert shrink(rgb, 360) is rgb
