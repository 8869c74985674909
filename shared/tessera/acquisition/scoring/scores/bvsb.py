"""Best versus second best."""

from __future__ import annotations

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Score
from tessera.registry import Params


@SCORES.register("bvsb", Params)
def bvsb(params: Params) -> Score:
    """u(x) = p2(x) / p1(x) in (0, 1], = e^(z2 − z1): a running top two and no softmax (MulActSeg Eq. 2).

    The paper's logits are cosines over a temperature τ = 0.1; the temperature is already part of the network's logits.
    """
    from tessera.acquisition.scoring.softmax_kernel import exponentials

    return Score(pixel=lambda strip, out: exponentials(strip.second, out), needs=frozenset({"second"}))
