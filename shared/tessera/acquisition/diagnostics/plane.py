"""A plane to look at points of many dimensions in."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32, Float64


def plane(points: Float32 | Float64) -> tuple[Float64, float]:
    """Project (n, d) on its first two principal components: (n, 2), and the share of the variance they keep.

    Signs are fixed by the largest loading, so that equal tables give equal pictures. Points of one dimension get a
    second one of zeros; with no variance the share is 1.
    """
    centred = points.astype(np.float64)
    centred -= centred.mean(axis=0)
    if len(centred) < centred.shape[1]:
        _, lengths, rows = np.linalg.svd(centred, full_matrices=False)
        values, vectors = np.square(lengths), rows.T
    else:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    axes = vectors[:, :2]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    made = centred @ axes
    if made.shape[1] == 1:
        made = np.column_stack([made, np.zeros(len(made))])
    total = float(values.sum())
    return np.asarray(made), float(values[:2].sum()) / total if total > 0 else 1.0
