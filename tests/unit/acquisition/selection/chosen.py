"""Print what every stage of selection chooses from pools of several sizes: compared between builds of the kernels.

Run as a program with the folders of ``tests`` on the path, also in an image.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from tessera.acquisition.clustering import d2_sampling, k_center, kmeans
from tessera.acquisition.selection.budget import Budget
from tessera.acquisition.selection.pipeline import run_stages
from unit.acquisition.selection import pools


def digest(*arrays: np.ndarray) -> str:
    """One hash of the arrays' bytes."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def main() -> None:
    """Print one line per stage and per function of clustering."""
    for name, stages in pools.STAGES.items():
        for ties in (False, True):
            ranked = run_stages(pools.pool(ties=ties), stages, Budget("regions", 9), 3, None, [])
            print("stage", name, ties, digest(ranked.rows, ranked.score, ranked.cluster))
    rng = np.random.default_rng(11)
    for rows, dimension, k in ((500, 2, 40), (2000, 7, 60), (700, 33, 50), (900, 2, 600), (3000, 40, 1400)):
        points = rng.normal(size=(rows, dimension))
        seeds = kmeans.seed(points, k, np.random.default_rng(1), True)
        centres, labels = kmeans.lloyd(points, points[seeds], 4)
        best = kmeans.best_per_cluster(labels, points[:, 0].copy(), k)
        x = points.astype(np.float32)
        drawn = d2_sampling.d2_sample(x, k, np.random.default_rng(2))
        far = k_center.greedy(x[9:], x[:9], k)
        print("clustering", rows, dimension, digest(seeds, centres, labels, best, drawn, far))
    print("with numba" if sys.modules.get("numba") else "without numba", file=sys.stderr)


if __name__ == "__main__":
    main()
