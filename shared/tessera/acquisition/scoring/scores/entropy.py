"""Shannon entropy of the softmax."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Float32, Score, Strip
from tessera.registry import Params


class EntropyParams(Params):
    """``base`` of the logarithm: null is e, nats (MEAL); 2 is the superpixel-contrastive paper's (Eq. 4)."""

    base: float | None = Field(default=None, gt=1.0, allow_inf_nan=False)


@SCORES.register("entropy", EntropyParams)
def entropy(params: EntropyParams) -> Score:
    """H(x) = −Σ_c p_c(x) log p_c(x), 0 … log C (MEAL Eq. 1); the base changes the unit and no ranking."""
    from tessera.acquisition.scoring.kernels import entropy as kernels

    factor = None if params.base is None else np.float32(1.0 / math.log(params.base))

    def pixel(strip: Strip, out: Float32) -> None:
        kernels.entropy(strip.log_total, strip.dot, strip.total, out)
        if factor is not None:
            kernels.scale(out, factor)

    return Score(pixel=pixel, needs=frozenset({"softmax"}))
