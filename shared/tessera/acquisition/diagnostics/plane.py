"""Projection of points to two dimensions, for pictures."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32, Float64


def plane(points: Float32 | Float64) -> tuple[Float64, float]:
    """Project (n, d) on its first two principal components: (n, 2), and the share of the variance they keep.

    Signs are fixed by the largest loading, so that equal tables give equal pictures. Points of one dimension get a
    second one of zeros; with no variance the share is 1.
    """
    from tessera.acquisition.projections.pca.principal_components import principal

    mean, directions, deviation = principal(points, min(2, *points.shape))
    centred = points - mean
    made = np.zeros((len(points), 2))
    made[:, : len(directions)] = centred @ directions.T
    total = float(np.square(centred).sum())
    return made, len(points) * float(np.square(deviation).sum()) / total if total > 0 else 1.0
