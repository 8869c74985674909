"""Mode collapse: whether the regions of one batch are near-duplicates (Best Practices, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32, Float64
from tessera.errors import BadInput

EXACT = 3000
"""Up to this many points every pair is measured; of more, ``PAIRS`` pairs drawn with a fixed seed."""
PAIRS = 200_000
_BLOCK = 256


@dataclass(frozen=True)
class Spread:
    """Mean distance in a batch, compared with a random batch."""

    inside: float
    """Mean Euclidean distance of the pairs in the batch."""
    random: float
    """Its expectation for a random batch of equal size: the mean distance of the pairs of the pool."""

    @property
    def ratio(self) -> float | None:
        """Return ``chosen`` / ``random``: below 1 the batch is crowded; None where all points of the pool coincide."""
        return self.inside / self.random if self.random > 0 else None


def spread(points: Float32 | Float64, chosen: npt.NDArray[np.integer[Any]]) -> Spread | None:
    """Compare the rows ``chosen`` of (n, d) with a random batch of as many rows, drawn without replacement.

    Every pair of the pool is as likely to be in such a batch as any other, whatever its size: the expected mean
    distance is the pool's. None for fewer than two chosen rows. BadInput: points that are not finite, rows repeated or
    outside of the pool.
    """
    rows = np.asarray(chosen, np.int64)
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(points) and len(np.unique(rows)) == len(rows)):
        raise BadInput(f"batch: rows must be different and in 0 … {len(points) - 1}")
    if not np.isfinite(points).all():
        raise BadInput("batch: the embedding holds NaN or infinity")
    if len(rows) < 2:
        return None
    return Spread(mean_distance(points[rows]), mean_distance(points))


def mean_distance(points: Float32 | Float64) -> float:
    """Return the mean Euclidean distance of the pairs of (n, d), n ≥ 2; estimated from ``PAIRS`` above ``EXACT`` rows.

    Distances below a millionth of the largest coordinate (after centring) count as 0: duplicates are exactly that.
    """
    centred = points.astype(np.float64)
    centred -= centred.mean(axis=0)
    count = len(centred)
    nothing = 1e-6 * float(np.abs(centred).max(initial=0.0))
    total = 0.0
    if count > EXACT:
        # A fixed seed, so that the same table gives the same figure.
        rng = np.random.default_rng(0)
        first = rng.integers(0, count, PAIRS)
        second = (first + rng.integers(1, count, PAIRS)) % count
        for at in range(0, PAIRS, 8192):
            apart = np.linalg.norm(centred[first[at : at + 8192]] - centred[second[at : at + 8192]], axis=1)
            total += float(apart[apart > nothing].sum())
        return total / PAIRS
    squares = np.einsum("nd,nd->n", centred, centred)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        squared = squares[block, None] + squares[None, :] - 2 * (centred[block] @ centred.T)
        apart = np.sqrt(squared.clip(0))
        total += float(apart[apart > nothing].sum())
    return total / (count * (count - 1))


def class_entropy(answers: Iterable[Sequence[int]], classes: int) -> float | None:
    """Return the entropy, in nats, of the classes that answers name, each counted once per answer; None without any.

    0 where every answer names one and the same class, log(classes) where all are named equally often. Indices outside 0
    … classes − 1 (undefined) do not count.
    """
    counts = np.zeros(classes, np.int64)
    for answer in answers:
        for one in answer:
            if 0 <= one < classes:
                counts[one] += 1
    total = int(counts.sum())
    if total == 0:
        return None
    shares = counts[counts > 0] / total
    return abs(float(-(shares * np.log(shares)).sum()))
