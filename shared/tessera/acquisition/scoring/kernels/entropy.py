"""Pixel entropy from the strip's sums."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32
from tessera.compile import kernel


@kernel
def entropy(log_total: Float32, dot: Float32, total: Float32, out: Float32) -> None:
    """H = log Σe − Σ e·z / Σe, nats, which equals −Σ p log p with one logarithm in place of one per class.

    Arrays: ``log_total``, ``dot``, ``total`` and ``out`` are (n,) float32, those of `Strip`.
    """
    for i in range(out.shape[0]):
        out[i] = log_total[i] - dot[i] / total[i]


@kernel
def scale(out: Float32, factor: np.float32) -> None:
    """``out`` times ``factor``, in place: another base of the logarithm.

    Arrays: ``out`` (n,) float32.
    """
    for i in range(out.shape[0]):
        out[i] *= factor
