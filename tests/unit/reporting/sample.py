"""Made-up runs for the reporting tests."""

import numpy as np

from tessera.regions import outlines, partition
from tessera.reporting import Drawing, DrawnRegion, ReportData, RoundReport, RunReport, Scatter

NAMES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "car", "pedestrian", "bicyclist"]
COLORS = tuple((int(25 * i), int(255 - 20 * i), int((i * 83) % 255)) for i in range(10))
SHARES = np.array([17, 23, 1, 32, 5, 10, 1.2, 6, 0.7, 0.3]) / 96.2


def summary(recipe="street_meal", seed=0, lift=0.02, rounds=6, **changes):
    rng = np.random.default_rng([seed, len(recipe)])
    random = "random" in recipe
    made = []
    for index in range(rounds):
        regions = 32 * (index + 1)
        quality = 0.52 - 0.22 * np.exp(-index / 2.2) + (lift * min(index, 3) / 3) + rng.normal(0, 0.006)
        iou = np.clip(quality + np.linspace(0.3, -0.3, 10) + rng.normal(0, 0.03, 10), 0.01, 0.99)
        measured = {"miou": float(iou.mean()), "iou": iou.tolist(), "pixel_accuracy": 0.86, "images": 24}
        test = {"miou": float(iou.mean()) - 0.03, "iou": (iou - 0.03).tolist(), "pixel_accuracy": 0.84, "images": 48}
        made.append(
            {
                "round": index,
                "regions_labelled": regions,
                "regions_fraction": regions / 3840,
                "images_touched": 2 + index * 24,
                "pixels_labelled": regions * 4050,
                "pixels_fraction": regions / 3840,
                "clicks": int(regions * (52 if random else 61)),
                "clicks_without_undefined": int(regions * (47 if random else 55)),
                "labelling_seconds": regions * (52 if random else 61) * 3.15,
                "selection_sha256": f"{index:02d}" + "ab" * 31,
                "kept_epoch": 25,
                "images_per_second": 41.25,
                "batch": {
                    "regions": 32,
                    "images": 2 if index == 0 else 25,
                    "sequences": 2 if index == 0 else 11,
                    "classes": 9,
                    "class_entropy": 1.9,
                    "distance": None
                    if random or index == 0
                    else {"inside": 1.2, "random": 1.0, "ratio": 1.2, "candidates": 180, "dimensions": 2},
                },
                "timings": {"score": 2.1, "embed": 0.9, "select": 0.1, "label": 0.2, "train": 7.5, "evaluate": 1.3},
                "val": measured,
                "test": test,
            }
        )
    heights = {split: float(np.mean([one[split]["miou"] for one in made])) for split in ("val", "test")}
    stages = [{"name": "random"}] if random else [{"name": "kmeans_plusplus"}]
    return {
        "recipe": recipe,
        "run": f"{recipe}-{seed}",
        "seed": seed,
        "dataset": {
            "name": "street-0123456789ab",
            "splits": {"test": 48, "train": 240, "val": 24},
            "classes": NAMES,
            "manifest_sha256": "f" * 64,
        },
        "axes": {"selection": {"initial": [{"name": "random_images", "images": 2}], "stages": stages}},
        "checkpoint_policy": "last",
        "targets": {} if random else {"val_miou": 0.558},
        "target_dataset": {"name": "street", "classes": len(NAMES)},
        "deviations": [] if random else ["Street scenes instead of CamVid.", "Adam's epsilon is the library's."],
        "pool": {"images": 240, "regions": 3840, "pixels": 3840 * 4050},
        "versions": {"tessera": "0.1", "numpy": "2.4"},
        "wall_seconds": 83.2,
        "auc": {split: {"value": 0.01, "mean": heights[split]} for split in heights},
        "rounds": made,
        **changes,
    }


def scene(rng, height=180, width=240):
    """A small road scene: sky, houses, road."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.zeros((height, width, 3))
    rgb[:] = np.array([135, 180, 225]) + (y / height * 40)[..., None]
    for _ in range(7):
        left, top = rng.integers(0, width), rng.integers(30, 90)
        house = (x >= left) & (x < left + rng.integers(25, 60)) & (y > top) & (y < 115)
        rgb[house] = rng.integers(80, 190, 3)
    road = (y > 110) & (abs(x - width / 2) < (y - 100) * 1.6)
    rgb[(y > 110) & ~road] = [120, 140, 90]
    rgb[road] = [92, 92, 98]
    rgb[road & (abs(x - width / 2) < 2) & (y % 20 < 11)] = [230, 230, 220]
    return np.clip(rgb + rng.normal(0, 9, rgb.shape), 0, 255).astype(np.uint8)


def run(recipe="street_meal", seed=0, lift=0.02, pictures=True, rounds=6, **changes):
    rng = np.random.default_rng(seed + 5)
    random = "random" in recipe
    made = []
    for index in range(rounds):
        drawings = []
        for picture in range(6 if index else 2):
            regions = partition("grid", {}, (180, 240))
            ids = range(16) if index == 0 else sorted(rng.choice(16, rng.integers(1, 4), replace=False).tolist())
            polygons = outlines(regions, list(ids))
            drawn = tuple(DrawnRegion(picture * 5 + i, tuple(polygons[r])) for i, r in enumerate(ids))
            drawings.append(Drawing(f"seq{index}_{picture:04d}", scene(rng), drawn))
        tilt = SHARES ** (1.0 if random or index == 0 else 0.75)
        counts = rng.multinomial(32 * 4050, tilt / tilt.sum())
        points = np.concatenate([rng.normal(c, 0.6, (60, 2)) for c in ((0, 0), (3, 1), (1, 4))])
        ranks = np.full(len(points), -1)
        ranks[rng.choice(len(points), 32, replace=False)] = np.arange(32)
        scatter = None if random or index == 0 else Scatter(points, ranks)
        losses = {"cross_entropy": tuple((float(epoch), 2 / epoch + lift) for epoch in range(1, 26))}
        made.append(
            RoundReport(
                index, tuple(drawings) if pictures else (), counts, scatter, losses=losses, rates=(1e-3,) * 24 + (1e-5,)
            )
        )
    return RunReport(summary(recipe, seed, lift, rounds, **changes), tuple(made), COLORS)


def comparison():
    return ReportData(
        "Street scenes: active against random",
        tuple(run(name, seed, lift) for name, lift in (("street_random", 0), ("street_meal", 0.04)) for seed in (0, 1)),
        "Two strategies, two seeds, the same budget, on the built-in street scenes.",
        {"Command": "make demo", "Files": "runs/demo"},
    )
