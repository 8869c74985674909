"""Gradient embeddings, renormalised means and principal components beside torch and scikit-learn used plainly.

One thread each, CPU time, medians. Plain means what a script does: upsample features and logits to full size, then the
pixels of one region after the other. Nothing asserts a time; that both compute the same is asserted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.timing import seconds
from tessera.acquisition import FEATURES, PROJECTIONS
from tessera.acquisition.interfaces import RegionImage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("one_thread")]
CHANNELS = 128
# Height, width, classes, rows and columns of regions.
SIZES = {"480×360, C=11": (360, 480, 11, 11, 15), "2048×1024, C=19": (1024, 2048, 19, 32, 64)}


class Maps:
    """A "network" whose maps at stride 4 are given."""

    def __init__(self, height: int, width: int, classes: int) -> None:
        rng = np.random.default_rng(0)
        low = (height // 4, width // 4)
        vectors = rng.normal(size=(CHANNELS, *low)).astype(np.float32)
        self.made = {
            "decoder": np.maximum(vectors, 0),
            "projection": vectors / np.linalg.norm(vectors, axis=0),
            "logits": (3 * rng.normal(size=(classes, *low))).astype(np.float32),
        }

    def taps(self, rgb: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        return {name: self.made[name] for name in names}

    def full(self, name: str, shape: tuple[int, int]) -> torch.Tensor:
        return F.interpolate(torch.from_numpy(self.made[name])[None], shape, mode="bilinear", align_corners=False)[0]


def badge(model: Maps, image: RegionImage) -> np.ndarray:
    shape = image.region_map.shape
    logits, hidden = model.full("logits", shape).flatten(1), model.full("decoder", shape).flatten(1)
    error = torch.softmax(logits, dim=0)
    error -= F.one_hot(logits.argmax(0), len(logits)).T
    return means(image, lambda inside: (error[:, inside] @ hidden[:, inside].T).flatten())


def renormalised(model: Maps, image: RegionImage) -> np.ndarray:
    vectors = F.normalize(model.full("projection", image.region_map.shape), dim=0).flatten(1)
    return means(image, lambda inside: vectors[:, inside].sum(dim=1))


def means(image: RegionImage, total: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    flat = torch.from_numpy(image.region_map.ravel())
    order = torch.argsort(flat, stable=True)
    return np.stack([(total(inside) / len(inside)).numpy() for inside in torch.split(order, flat.bincount().tolist())])


@pytest.mark.parametrize("size", SIZES)
def test_region_features(size: str) -> None:
    height, width, classes, rows, columns = SIZES[size]
    y, x = np.indices((height, width))
    labels = (y * rows // height * columns + x * columns // width).astype(np.int32)
    ids = np.arange(rows * columns, dtype=np.int32)
    image = RegionImage(np.zeros((height, width, 3), np.uint8), ids, np.zeros((len(ids), 4), np.int32), labels)
    model, repeats = Maps(height, width, classes), 5 if height < 500 else 1
    for name, given, plain in (("badge", {}, badge), ("projection", {"renormalise": True}, renormalised)):
        params, function = FEATURES.parameters(name, given), FEATURES.entry(name).function
        ours, theirs = function(model, image, params), plain(model, image)
        scale = np.abs(theirs).max()
        assert np.abs(ours - theirs).max() <= 2e-5 * scale
        taken = seconds(lambda f=function, p=params: f(model, image, p), repeats)
        slow = seconds(lambda p=plain: p(model, image), repeats)
        print(
            f"{size}, D={CHANNELS}, R={len(ids)}: {name} {1e3 * taken:.0f} ms, torch plainly {1e3 * slow:.0f} ms, "
            f"ratio {slow / taken:.1f}, largest difference {np.abs(ours - theirs).max() / scale:.1e}"
        )


@pytest.mark.parametrize("shape", [(60_555, 256), (200, 2816)])
def test_principal_components(shape: tuple[int, int]) -> None:
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    points = (np.random.default_rng(0).normal(size=shape) * np.linspace(3, 0.1, shape[1])).astype(np.float32)
    ours = PROJECTIONS.entry("pca").function(PROJECTIONS.parameters("pca", {"dimensions": 10}))
    with threadpool_limits(1):
        embedding, theirs = ours.fit(points, 0)[1], PCA(10, svd_solver="full").fit_transform(points.astype(np.float64))
        difference = np.abs(np.abs(embedding) - np.abs(theirs)).max() / np.abs(theirs).max()
        assert difference < 1e-5
        taken, slow = seconds(lambda: ours.fit(points, 0), 3), seconds(lambda: PCA(10).fit_transform(points), 3)
        doubled = seconds(lambda: PCA(10).fit_transform(points.astype(np.float64)), 3)
    print(
        f"pca of {shape[0]:,} × {shape[1]}: {1e3 * taken:.0f} ms in float64, scikit-learn "
        f"{1e3 * doubled:.0f} ms ({1e3 * slow:.0f} in float32), ratio {doubled / taken:.1f}, "
        f"largest difference {difference:.1e}"
    )
