"""Pixel least confidence from the strip's sums."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32
from tessera.compile import kernel


@kernel
def least_confidence(total: Float32, out: Float32) -> None:
    """1 − p1 with p1 = e^0/Σe = 1/Σe.

    Arrays: ``total`` and ``out`` are (n,) float32.
    """
    for i in range(out.shape[0]):
        out[i] = np.float32(1.0) - np.float32(1.0) / total[i]
