"""Mean softmax and mean entropy over passes, and the mutual information of prediction and dropout."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32
from tessera.compile import kernel


@kernel
def add_pass(exps: Float32, total: Float32, log_total: Float32, dot: Float32, kept: Float32) -> None:
    """``kept`` (C + 1, n): p_c is added to row c, H[p] = log Σe − Σ e·z / Σe to the last row.

    Arrays: ``kept`` (C + 1, n), ``exps`` (C, n), ``total``, ``log_total`` and ``dot`` (n,), all float32.
    """
    classes = exps.shape[0]
    for c in range(classes):
        e, p = exps[c], kept[c]
        for i in range(total.shape[0]):
            p[i] += e[i] / total[i]
    entropy = kept[classes]
    for i in range(total.shape[0]):
        entropy[i] += log_total[i] - dot[i] / total[i]


@kernel
def information(kept: Float32, passes: int, out: Float32) -> None:
    """H of the mean less the mean of H, at least 0; ``kept`` as `add_pass` left it after ``passes`` passes.

    Arrays: ``kept`` (C + 1, n) and ``out`` (n,) float32.
    """
    classes = kept.shape[0] - 1
    share = np.float32(1.0) / np.float32(passes)
    for i in range(out.shape[0]):
        out[i] = -kept[classes, i] * share
    for c in range(classes):
        row = kept[c]
        for i in range(out.shape[0]):
            p = row[i] * share
            if p > np.float32(0.0):
                out[i] -= p * np.log(p)
    for i in range(out.shape[0]):
        out[i] = max(out[i], np.float32(0.0))
