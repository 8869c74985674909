"""Checks of the arrays for clustering and neighbour searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.errors import BadInput

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def require_points(points: npt.NDArray[Any], what: str, dtype: type[np.floating[Any]] = np.float64) -> npt.NDArray[Any]:
    """Return ``points`` as a contiguous (n, d) array of ``dtype``; BadInput names ``what`` and the row not finite."""
    if points.ndim != 2 or points.shape[1] == 0:
        raise BadInput(f"{what}: shape {points.shape}; expected (n, d) with d of 1 or more")
    array = np.ascontiguousarray(points, dtype)
    # A sum is finite unless a value is not, or it overflows: only then is every value checked.
    if not np.isfinite(array.sum()):
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            raise BadInput(f"{what}: row {bad[0]} is not finite ({len(bad)} in all); check the embedding")
    return array


def require_count(k: int, n: int, what: str) -> None:
    """Raise BadInput with both numbers unless 1 ≤ k ≤ n."""
    if not 1 <= k <= n:
        raise BadInput(f"{what}: {k} are asked for and {n} points are left to choose from; lower the budget")


def require_width(points: npt.NDArray[Any], others: npt.NDArray[Any], what: str) -> None:
    """Raise BadInput unless both have the same number of dimensions."""
    if points.shape[1] != others.shape[1]:
        raise BadInput(
            f"{what}: {points.shape[1]} dimensions against {others.shape[1]}; take both from the same embedding"
        )
