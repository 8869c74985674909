"""D² sampling in high dimension, as BADGE does: exact, with far fewer distances than points × draws."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.clustering.fill_up import fill_up
from tessera.acquisition.clustering.k_center import lengths_from_mean
from tessera.acquisition.interfaces import Float32
from tessera.acquisition.neighbours.checks import Int64, require_count, require_points
from tessera.errors import BadInput

# All distances are updated when this many proposals per draw were rejected, on average, since the last update.
_REFUSALS = 1.0
_PATIENCE = 64


def d2_sample(points: Float32, k: int, rng: np.random.Generator, first: int | None = None) -> Int64:
    """Return the indices (k,) of distinct ``points`` (n, D) by k-means++, in the order drawn.

    Arthur & Vassilvitskii 2007, §2.2; the sampler of BADGE (Ash et al. 2020, Algorithm 1), whose code starts at the
    longest gradient: give it as ``first``, else ``rng.integers(n)``. A draw proposes a row by its D² as last computed,
    which is never too small, updates that D² and accepts the row with probability new / old. This is exact D² sampling,
    in distribution. Once every point coincides with a chosen one, the rest is drawn uniformly. BadInput when k > n, or
    a row is not finite.
    """
    from tessera.acquisition.clustering.lazy_distances_kernel import block_sums, draw, lower, refresh
    from tessera.acquisition.neighbours.nearest_centre import Prepared, closest

    x = require_points(points, "D² sampling points", np.float32)
    n = len(x)
    require_count(k, n, "D² sampling")
    if first is not None and not 0 <= first < n:
        raise BadInput(f"D² sampling: the first point is {first}; name one of the {n} points")
    chosen = np.empty(k, np.int64)
    chosen[0] = rng.integers(n) if first is None else first
    squared = closest(x, x[chosen[:1]])[0]
    lengths = lengths_from_mean(x)
    sums = np.empty(-(-n // 256))
    block_sums(squared, sums)
    seen = np.ones(n, np.int64)
    done, fresh, refused = 1, 1, 0
    prepared: Prepared | None = None
    while done < k:
        proposed, accepted = rng.random(2)
        row = draw(squared, sums, proposed)
        if row < 0:
            break
        old = squared[row]
        new = refresh(x, lengths, row, chosen, seen[row], done, old)
        seen[row] = done
        if accepted * old < new:
            chosen[done] = row
            done += 1
            seen[row] = done
            lower(squared, sums, row, 0.0)
            continue
        lower(squared, sums, row, new)
        refused += 1
        if refused > _PATIENCE + _REFUSALS * (done - fresh):
            prepared = prepared or Prepared(x)
            prepared.lower(squared, chosen[fresh:done])
            block_sums(squared, sums)
            seen[:] = done
            fresh, refused = done, 0
    if done == k:
        return chosen
    return fill_up(chosen[:done], k, n, rng)
