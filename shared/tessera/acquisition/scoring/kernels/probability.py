"""Softmax of every class from the strip's exponentials."""

from __future__ import annotations

from tessera.acquisition.interfaces import Float32
from tessera.compile import kernel


@kernel
def probability(exps: Float32, total: Float32, out: Float32) -> None:
    """p_c = e^(z_c − m) / Σe, (C, n).

    Arrays: ``exps`` and ``out`` are (C, n) float32, ``total`` (n,) float32.
    """
    for c in range(out.shape[0]):
        e, p = exps[c], out[c]
        for i in range(p.shape[0]):
            p[i] = e[i] / total[i]
