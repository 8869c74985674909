"""k-center greedy in high dimension, exact and the same on any number of threads."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.clustering.checks import Float64, Int64, require_count, require_points, require_width
from tessera.acquisition.interfaces import Float32
from tessera.errors import BadInput


def greedy(points: Float32, labelled: Float32, k: int, first: int | None = None) -> Int64:
    """Indices (k,) of ``points`` (n, D), each the farthest from ``labelled`` (m, D) and those before it.

    Sener & Savarese 2018, Algorithm 1; ties go to the smaller index. With nothing labelled the first is ``first``.
    Points that coincide with a chosen one come last. BadInput when k > n, or without both labelled points and first.
    """
    x = require_points(points, "k-center points", np.float32)
    require_count(k, len(x), "k-center")
    y = np.asarray(labelled, np.float32).reshape(-1, x.shape[1]) if len(labelled) == 0 else labelled
    if len(y):
        y = require_points(y, "k-center labelled points", np.float32)
        require_width(x, y, "k-center")
    elif first is None:
        raise BadInput("k-center: nothing is labelled; name the first point")
    distance = np.full(len(x), np.inf)
    for centre in y:
        distance = np.minimum(distance, _squared(x, centre))
    chosen = np.empty(k, np.int64)
    for i in range(k):
        pick = first if i == 0 and first is not None and len(y) == 0 else int(distance.argmax())
        chosen[i] = pick
        distance = np.minimum(distance, _squared(x, x[pick]))
        distance[pick] = -1.0
    return chosen


def _squared(x: Float32, centre: Float32) -> Float64:
    difference = x.astype(np.float64) - centre
    return np.asarray(np.einsum("nd,nd->n", difference, difference))
