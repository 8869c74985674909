"""Least confidence in the most likely class."""

from __future__ import annotations

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Score
from tessera.registry import Params


@SCORES.register("least_confidence", Params)
def least_confidence(params: Params) -> Score:
    """1 − max_c p_c(x), 0 … 1 − 1/C (Lewis & Gale 1994)."""
    from tessera.acquisition.scoring.kernels.least_confidence import least_confidence as kernel

    return Score(pixel=lambda strip, out: kernel(strip.total, out), needs=frozenset({"softmax"}))
