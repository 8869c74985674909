"""Shannon entropy of the softmax."""

from __future__ import annotations

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Score
from tessera.registry import Params


@SCORES.register("entropy", Params, needs_model=True)
def entropy(params: Params) -> Score:
    """H(x) = −Σ_c p_c(x) log p_c(x), in nats, 0 … log C (MEAL Eq. 1)."""
    from tessera.acquisition.score_kernels.entropy import entropy as kernel

    return Score(pixel=kernel)
