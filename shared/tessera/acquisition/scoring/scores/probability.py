"""The softmax itself: one value per class."""

from __future__ import annotations

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Score
from tessera.acquisition.traits import ScoreTraits
from tessera.registry import Params


@SCORES.register("probability", Params, ScoreTraits(per_class=True))
def probability(params: Params) -> Score:
    """p_c(x) for every class c; its mean over a region is the region's class distribution (MulActSeg Eq. 3)."""
    from tessera.acquisition.scoring.kernels.probability import probability as kernel

    return Score(pixel=lambda strip, out: kernel(strip.exps, strip.total, out), needs=frozenset({"exps"}), softmax=True)
