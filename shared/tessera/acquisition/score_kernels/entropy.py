"""Pixel entropy from the strip's shifted logits."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.compile import kernel
from tessera.acquisition.interfaces import Float32


@kernel
def entropy(shifted: Float32, exps: Float32, total: Float32, log_total: Float32, out: Float32) -> None:
    """H = log Σe − Σ e·z / Σe, nats, which equals −Σ p log p without a logarithm a class; classes in order."""
    out[:] = np.float32(0.0)
    for c in range(shifted.shape[0]):
        for i in range(out.shape[0]):
            out[i] += exps[c, i] * shifted[c, i]
    for i in range(out.shape[0]):
        out[i] = log_total[i] - out[i] / total[i]
