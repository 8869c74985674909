"""k-center greedy in high dimension, exact and the same on any number of threads."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32
from tessera.acquisition.neighbours.checks import Int64, require_count, require_points, require_width
from tessera.errors import BadInput

# One distance computed by itself costs as much as some thirty in a product of matrices.
_PATIENCE = 1 / 32


def greedy(points: Float32, labelled: Float32, k: int, first: int | None = None) -> Int64:
    """Return the indices (k,) of ``points`` (n, D), each the farthest from ``labelled`` (m, D) and those before it.

    Sener & Savarese 2018, Algorithm 1, with float64 distances between float32 points; ties go to the smaller index.
    With nothing labelled the first is ``first``, which is ignored otherwise. Points that coincide with a chosen one
    come last. BadInput when k > n, without both labelled points and first, or when a row is not finite.

    D² is updated point by point while few points can be the next one, and for all of them by a product of matrices once
    that is cheaper; the result is the same.
    """
    from tessera.acquisition.clustering.lazy_distances_kernel import farthest_first
    from tessera.acquisition.neighbours.nearest_centre import Prepared, closest

    x = require_points(points, "k-center points", np.float32)
    n = len(x)
    require_count(k, n, "k-center")
    chosen = np.empty(k, np.int64)
    if len(labelled):
        y = require_points(labelled, "k-center labelled points", np.float32)
        require_width(x, y, "k-center")
        squared, start = closest(x, y)[0], 0
    elif first is None or not 0 <= first < n:
        raise BadInput(f"k-center: nothing is labelled and the first point is {first}; name one of the {n} points")
    else:
        chosen[0] = first
        squared, start = closest(x, x[first : first + 1])[0], 1
        squared[first] = -1.0
    lengths, prepared = lengths_from_mean(x), None
    while (stop := farthest_first(x, lengths, squared, chosen, start, _PATIENCE)) < k:
        prepared = prepared or Prepared(x)
        prepared.lower(squared, chosen[start:stop])
        start = stop
    return chosen


def lengths_from_mean(x: Float32) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the distance (n,) of each row from the mean, for the triangle inequality."""
    from tessera.acquisition.neighbours.nearest_centre import closest

    return np.sqrt(closest(x, x.mean(axis=0, dtype=np.float64)[None])[0])
