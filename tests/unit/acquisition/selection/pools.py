"""Small pools with everything a stage may look at, and stages with fixed parameters."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.selection.pipeline import Stage
from tessera.acquisition.selection.pool import Pool

IMAGES, REGIONS = 6, 7
N = IMAGES * REGIONS
LABELLED = [("seq_a0", 90), ("seq_b1", 91), ("still", 92)]
TIMES = {
    "seq_a0": ("a", 0.0),
    "seq_a1": ("a", 1.0),
    "seq_a2": ("a", 2.5),
    "seq_b0": ("b", 7.0),
    "seq_b1": ("b", 8.0),
    "still": ("", 0.0),
}


def columns(ties: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    """The rows of the pool in canonical order, as columns."""
    rng = np.random.default_rng(seed)
    digits = 0 if ties else 6
    return {
        "image_id": np.array([name for name in sorted(TIMES) for _ in range(REGIONS)], object),
        "region_id": np.tile(np.arange(REGIONS), IMAGES),
        "pixels": rng.integers(50, 150, N),
        "e": (3 * rng.random(N)).round(digits),
        "d": (rng.random(N) * (2 if ties else 1)).round(digits) / (2 if ties else 1),
        "predicted_majority": rng.integers(0, 4, N).astype(float),
        "x": rng.normal(size=(N, 3)).astype(np.float32).round(digits),
        "labelled": rng.normal(size=(len(LABELLED), 3)).astype(np.float32).round(digits),
    }


def pool(order: np.ndarray | None = None, ties: bool = False, seed: int = 0, **changes: np.ndarray) -> Pool:
    """The pool, from rows in any order."""
    given = columns(ties, seed) | changes
    order = np.arange(len(given["image_id"])) if order is None else order
    scores = {name: given[name][order] for name in ("e", "d", "predicted_majority")}
    made = Pool.build(given["image_id"][order], given["region_id"][order], given["pixels"][order], scores)
    made = made.with_embedding(given["image_id"], given["region_id"], given["x"])
    images, regions = zip(*LABELLED, strict=True)
    made = made.with_labelled(np.array(images, object), np.array(regions), given["labelled"])
    return made.with_times(TIMES)


def keys(pool: Pool, rows: np.ndarray) -> list[tuple[str, int]]:
    """Names of rows."""
    return [(str(pool.image_names[pool.image[row]]), int(pool.region_id[row])) for row in rows]


TOP = Stage("top", '{"by":"e"}')
STAGES = {
    "top": [TOP],
    "random": [Stage("random")],
    "random_half": [Stage("random", '{"share":0.5}'), TOP],
    "random_images": [Stage("random_images", '{"images":3}')],
    "all": [Stage("all")],
    "kmeans_plusplus": [Stage("kmeans_plusplus")],
    "kmeans_plusplus_greedy": [Stage("kmeans_plusplus", '{"local_trials":4}')],
    "kmeans": [Stage("kmeans", '{"by":"e"}')],
    "k_center": [Stage("k_center")],
    "k_center_cosine_subset": [Stage("k_center", '{"metric":"cosine","subset":0.5}')],
    "badge": [Stage("badge")],
    "badge_random": [Stage("badge", '{"first":"random"}')],
    "knn": [Stage("knn", '{"neighbors":2}')],
    "knn_cosine": [Stage("knn", '{"neighbors":9,"metric":"cosine","reduce":"kth"}')],
    "uniform_in_time": [Stage("uniform_in_time")],
    "uniform_in_time_seconds": [Stage("uniform_in_time", '{"spacing":"seconds","per_image":3}')],
    "uniform_in_time_whole": [Stage("uniform_in_time", '{"per_image":null}')],
    "uniform_every_n": [Stage("uniform_every_n", '{"n":2}'), TOP],
    "joint_filter": [Stage("joint", '{"by":"e","discriminator":"d"}')],
    "joint_rank_sum": [Stage("joint", '{"by":"e","discriminator":"d","rule":"rank_sum"}')],
    "joint_product": [Stage("joint", '{"by":"e","discriminator":"d","rule":"product"}')],
    "round_robin": [Stage("round_robin", '{"by":"e"}')],
    "meal": [Stage("top", '{"by":"e","count":20}'), Stage("kmeans_plusplus")],
    "contrastive": [Stage("uniform_every_n", '{"n":1}'), Stage("kmeans", '{"by":"e"}')],
}
"""Every stage, and some compositions."""
