"""Pixel margin from the strip's sums and its second logit."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32
from tessera.compile import kernel


@kernel
def margin(exp_second: Float32, total: Float32, out: Float32) -> None:
    """1 − (p1 − p2) with p1 = 1/Σe and p2 = e^(z2 − z1)/Σe; ``exp_second`` is that exponential.

    Arrays: ``exp_second``, ``total`` and ``out`` are (n,) float32.
    """
    for i in range(out.shape[0]):
        out[i] = np.float32(1.0) - (np.float32(1.0) - exp_second[i]) / total[i]
