"""Scores that favour rare classes: PixBal and ClassBal, from sums per region, so that no pixel is read twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.selection.pool import Float64, Int64, Pool
from tessera.errors import BadInput

Floats = npt.NDArray[np.floating[Any]]


def class_prior(pixels: Int64, shares: Sequence[Floats]) -> Float64:
    """Return p(y=c) (C,) = Σ_s |s| p̄_c(s) / Σ_s |s| over regions s.

    |s| = ``pixels`` (n,), and the mean softmax p̄_c = ``shares``.

    MulActSeg Eq. 3: the mean over the pixels is the weighted mean over the regions. Rows are summed in their order.
    """
    return np.array([np.sum(pixels * share) for share in shares]) / np.sum(pixels)


def pixbal(pixels: Int64, sums: Sequence[Floats], prior: Float64, nu: float) -> Float64:
    """Return a(s) (n,) = 1/|s| Σ_{x∈s} u(x) / (1 + ν P(c_b(x)))², c_b the class predicted at x (MulActSeg Eq. 4).

    ``sums`` are the C per-class sums Σ_{x∈s: c_b(x)=c} u(x) (n,): the weight depends on c_b alone, so the one pass that
    made them is enough, although the prior was not known then.
    """
    weighted = np.zeros(len(pixels))
    for one, probability in zip(sums, prior, strict=True):
        weighted += one / np.float64((1.0 + nu * probability) ** 2)
    return weighted / pixels


def classbal(uncertainty: Float64, dominant: Int64, low: float, high: float, frequency: Float64) -> Float64:
    """ũ(s) · exp(−p_dom(D(s))) (n,), ũ = (u − low) / (high − low), D(s) the dominant predicted class (Cai et al. 2021).

    ``low`` and ``high`` are the extremes of u over the pool, ``frequency`` (C,) the share p_dom of its regions that
    each class dominates. All u equal: ũ = 0.
    """
    scaled = (uncertainty - low) / (high - low) if high > low else np.zeros(len(uncertainty))
    return np.asarray(scaled * np.exp(-frequency[dominant]), np.float64)


def dominant_class(pool: Pool, column: str, stage: str) -> Int64:
    """Return the dominant predicted class (n,) from a score column; BadInput naming the first that is no class."""
    values = pool.score(column, stage)
    bad = np.flatnonzero(~((values >= 0) & (values == np.floor(values))))
    if len(bad):
        at = int(bad[0])
        raise BadInput(
            f"selection stage {stage}: {column} of {pool.name(at)} is {values[at]:g}, no class; "
            "ask for {name: predicted, aggregate: majority}"
        )
    return values.astype(np.int64)


def require_numbers(pool: Pool, columns: Sequence[str], stage: str) -> None:
    """Raise BadInput naming the first region, labelled ones too, that is NaN or infinite in one of ``columns``."""
    for column in columns:
        bad = np.flatnonzero(~np.isfinite(pool.scores[column]))
        if len(bad):
            raise BadInput(
                f"selection stage {stage}: score {column} is {pool.scores[column][bad[0]]:g} for "
                f"{pool.name(int(bad[0]))} ({len(bad)} in all); check the weights"
            )
