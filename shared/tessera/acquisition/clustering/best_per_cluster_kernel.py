"""The best row of each cluster in one pass. Imported in the compute child only: it brings numba."""

from __future__ import annotations

from tessera.acquisition.neighbours.checks import Float64, Int64
from tessera.compile import kernel


@kernel
def best_rows(labels: Int64, score: Float64, best: Float64, rows: Int64) -> int:
    """Fill ``rows`` (k,), −1 at the start; return the first row whose label or score is invalid, or −1.

    Arrays: ``labels`` (n,) int64, ``score`` (n,) float64, ``best`` (k,) float64, scratch, ``rows`` (k,) int64.
    """
    k = len(rows)
    for i in range(len(labels)):
        c, value = labels[i], score[i]
        if c < 0 or c >= k or value != value:
            return i
        if rows[c] < 0 or value > best[c]:
            best[c], rows[c] = value, i
    return -1
