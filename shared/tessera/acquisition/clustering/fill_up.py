"""Rows that complete a draw when no distance tells the remaining ones apart."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.neighbours.checks import Int64


def fill_up(chosen: Int64, k: int, n: int, rng: np.random.Generator) -> Int64:
    """Return k of n rows: ``chosen`` (m,), then k − m others drawn uniformly without replacement."""
    if len(chosen) == k:
        return chosen
    free = np.ones(n, bool)
    free[chosen] = False
    return np.concatenate([chosen, rng.choice(np.flatnonzero(free), k - len(chosen), replace=False)])
