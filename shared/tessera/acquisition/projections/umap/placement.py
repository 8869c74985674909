"""Placement of new points in a fitted UMAP map. Imported in the compute child only: it brings numba.

In umap-learn's own transform a point's place depends on the other new points. Here it depends on the map alone, so that
shards may be cut in any way.
"""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32, Int32
from tessera.acquisition.neighbours.threads import each
from tessera.acquisition.projections.umap.placement_kernel import (
    Fitted,
    Steps,
    force_tables,
    mean_place,
    settle,
    strengths,
)

_BLOCKS = 32
# umap-learn: a quarter of the fit's learning rate.
_RATE = 0.25


def place(
    neighbors: Int32, distances: Float32, fixed: Float32, epochs: int, curve: tuple[float, float], seed: int
) -> Float32:
    """Return the places (m, d) float32 of new points after ``epochs`` among the ``fixed`` ones (n, d), which stay.

    ``neighbors`` and ``distances`` (m, k) are the nearest fixed points in feature space, nearest first; ``curve`` holds
    a and b of the low-dimensional similarity 1 / (1 + a d^2b). A point starts at the weighted mean of its neighbours,
    which also seeds its random numbers. So neither the order of points nor other new points matter.
    """
    m = len(neighbors)
    still = np.ascontiguousarray(fixed, np.float32)
    weights, places = np.empty(distances.shape, np.float32), np.empty((m, still.shape[1]), np.float32)
    fitted = Fitted(still, force_tables(*curve))
    steps = Steps(epochs, _RATE, np.uint64(seed % 2**64))

    def part(i: int) -> None:
        begin, stop = m * i // _BLOCKS, m * (i + 1) // _BLOCKS
        strengths(distances, begin, stop, weights)
        mean_place(neighbors, distances, weights, still, begin, stop, places)
        settle(places[begin:stop], neighbors[begin:stop], weights[begin:stop], fitted, steps)

    each(part, _BLOCKS)
    return places
