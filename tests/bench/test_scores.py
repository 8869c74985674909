"""Fused scores and sparse pooling beside torch and numpy used plainly: ratios and the largest difference, printed.

One thread each, CPU time, medians. Plain means what a script does: upsample to full size, softmax, score, sum by
region. Nothing asserts a time; that both compute the same is asserted.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.timing import seconds
from tessera.acquisition.interfaces import Column
from tessera.acquisition.pooling.region_means import region_means
from tessera.acquisition.scoring.region_scores import score_regions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("one_thread")]
# Height, width, classes, side of a region, channels of a feature.
SIZES = {"480×360, C=11": (360, 480, 11, 32, 128), "2048×1024, C=19": (1024, 2048, 19, 32, 128)}
FEATURE_STRIDES = (16, 8, 4)


def smooth(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise (H, W), as if upsampled from one value every ``cells`` pixels."""
    low = torch.from_numpy(rng.normal(size=(1, 1, shape[0] // cells + 2, shape[1] // cells + 2)))
    return torch.nn.functional.interpolate(low, size=shape, mode="bicubic")[0, 0].numpy()


def superpixels(height: int, width: int, side: int, seed: int = 0) -> np.ndarray:
    """Regions of about ``side`` × ``side`` with wavy borders, dense ids."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    y = np.clip(y + 3 * smooth(rng, (height, width), 8), 0, height - 1).astype(int) // side
    x = np.clip(x + 3 * smooth(rng, (height, width), 8), 0, width - 1).astype(int) // side
    dense = np.unique(y * (width // side + 1) + x, return_inverse=True)[1]
    return np.ascontiguousarray(dense.reshape(height, width), np.int32)


def network_output(height: int, width: int, classes: int) -> np.ndarray:
    """Logits (C, H/4, W/4) with areas of one class and noise on top."""
    rng = np.random.default_rng(1)
    low = (height // 4, width // 4)
    return np.stack([3 * smooth(rng, low, 8) for _ in range(classes)]).astype(np.float32) + rng.normal(
        0, 0.2, (classes, *low)
    ).astype(np.float32)


def upsampled(logits: np.ndarray, shape: tuple[int, int]) -> torch.Tensor:
    given = torch.from_numpy(logits)[None]
    return torch.nn.functional.interpolate(given, size=shape, mode="bilinear", align_corners=False)[0]


def by_region(values: np.ndarray, region_map: np.ndarray) -> np.ndarray:
    return np.bincount(region_map.ravel(), weights=values.ravel())


def with_torch(name: str, logits: np.ndarray, region_map: np.ndarray) -> dict[str, np.ndarray]:
    z = upsampled(logits, region_map.shape)
    pixels = np.bincount(region_map.ravel())
    p = z.softmax(0)
    values = {"entropy": lambda: -(p * torch.log(p)).sum(0)}
    if name != "entropy":
        top, classes = p.topk(2, dim=0)
        values["bvsb"] = lambda: top[1] / top[0]
        values["margin"] = lambda: 1 - (top[0] - top[1])
        values["least_confidence"] = lambda: 1 - top[0]
    if name != "pixbal":
        wanted = list(values) if name == "all" else [name]
        return {f"{one}_mean": by_region(values[one]().numpy(), region_map) / pixels for one in wanted}
    u, found = values["bvsb"]().numpy(), {}
    for c in range(len(p)):
        found[f"bvsb_by_class_{c}"] = by_region(np.where(classes[0].numpy() == c, u, 0), region_map)
        found[f"probability_mean_{c}"] = by_region(p[c].numpy(), region_map) / pixels
    return found


def entropy_with_numpy(logits: np.ndarray, region_map: np.ndarray) -> np.ndarray:
    z = upsampled(logits, region_map.shape).numpy()
    p = np.exp(z - z.max(axis=0))
    p /= p.sum(axis=0)
    return by_region(-(p * np.log(p)).sum(axis=0), region_map) / np.bincount(region_map.ravel())


def column(score: str, aggregation: str) -> Column:
    return Column(f"{score}_{aggregation}", score, aggregation)


ASKED = {
    "entropy": [column("entropy", "mean")],
    "bvsb": [column("bvsb", "mean")],
    "all": [column(one, "mean") for one in ("entropy", "bvsb", "margin", "least_confidence")],
    "pixbal": [column("bvsb", "by_class"), column("probability", "mean")],
}


@pytest.mark.parametrize("size", SIZES)
def test_scores(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Region sums of pixel scores, straight from logits at a quarter of the size."""
    height, width, classes, side, _ = SIZES[size]
    region_map, logits = superpixels(height, width, side), network_output(height, width, classes)
    lines = [f"scores, {size}, R={region_map.max() + 1}: one image, fused beside plain"]
    for name, columns in ASKED.items():
        fused = score_regions(logits, region_map, columns, 0, "a")
        plain = with_torch(name, logits, region_map)
        assert plain.keys() == fused.keys()
        apart = max(float(np.max(np.abs(plain[key] - fused[key]) / (np.abs(plain[key]).max() + 1e-9))) for key in plain)
        assert apart < 2e-5, name
        ours = seconds(lambda columns=columns: score_regions(logits, region_map, columns, 0, "a"))
        torch_time = seconds(lambda name=name: with_torch(name, logits, region_map), 3)
        line = f"  {name}: fused {ours * 1e3:.1f} ms; torch {torch_time * 1e3:.1f} ms, {torch_time / ours:.1f}×"
        if name == "entropy":
            numpy_time = seconds(lambda: entropy_with_numpy(logits, region_map), 3)
            line += f"; numpy {numpy_time * 1e3:.1f} ms, {numpy_time / ours:.1f}×"
        lines.append(f"{line}; difference {apart:.1e} of the largest")
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def pooled_with_torch(features: np.ndarray, region_map: np.ndarray) -> np.ndarray:
    full = upsampled(features, region_map.shape)
    pixels = np.bincount(region_map.ravel())
    sums = torch.zeros(len(pixels), len(features))
    sums.index_add_(0, torch.from_numpy(region_map.ravel()), full.reshape(len(features), -1).T.contiguous())
    return sums.numpy() / pixels[:, None]


@pytest.mark.parametrize("size", SIZES)
def test_pooling(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Mean features of regions from maps at 1/16, 1/8 and 1/4, channels last as a network leaves them."""
    height, width, _, side, dimension = SIZES[size]
    region_map = superpixels(height, width, side)
    ids = np.arange(region_map.max() + 1)
    lines = [f"pooling, {size.split(',')[0]}, R={len(ids)}, D={dimension}: one image, sparse beside plain"]
    for stride in FEATURE_STRIDES:
        low = (-(-height // stride), -(-width // stride))
        planes = np.random.default_rng(2).normal(size=(dimension, *low)).astype(np.float32)
        features = np.ascontiguousarray(planes.transpose(1, 2, 0)).transpose(2, 0, 1)
        sparse, plain = region_means(features, region_map, ids), pooled_with_torch(planes, region_map)
        apart = float(np.abs(sparse - plain).max() / np.abs(plain).max())
        assert apart < 5e-6
        ours = seconds(lambda features=features: region_means(features, region_map, ids))
        laid = seconds(lambda planes=planes: region_means(planes, region_map, ids))
        torch_time = seconds(lambda planes=planes: pooled_with_torch(planes, region_map), 2)
        lines.append(
            f"  1/{stride}: sparse {ours * 1e3:.2f} ms ({laid * 1e3:.2f} from planes); torch to full size "
            f"{torch_time * 1e3:.0f} ms, {torch_time / ours:.0f}×; difference {apart:.1e} of the largest"
        )
    with capsys.disabled():
        print("\n" + "\n".join(lines))
