"""BALD: disagreement between passes of MC dropout."""

from __future__ import annotations

from pydantic import Field

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Float32, PassScore, PassSet, Score, Strip
from tessera.acquisition.traits import ScoreTraits
from tessera.registry import Params


class BaldParams(Params):
    """``passes`` with the decoder's dropout on: 20 as in RALIS and ViewAL, 10 in DEAL; not in Best Practices' code."""

    passes: int = Field(default=20, ge=2, le=1000)


def _passes(params: BaldParams) -> PassSet:
    return PassSet("dropout", params.passes)


@SCORES.register("bald", BaldParams, ScoreTraits(passes=_passes))
def bald(params: BaldParams) -> Score:
    """H[E_t p_t(x)] − E_t H[p_t(x)], nats, 0 … log C, over passes t of MC dropout (Houlsby et al. 2011, Eq. 2).

    The probability of dropout is the network's ``mc_dropout``, in training as here; batch norm stays in eval mode.
    """
    from tessera.acquisition.scoring.kernels import bald as kernels

    def add(strip: Strip, kept: Float32) -> None:
        kernels.add_pass(strip.exps, strip.total, strip.log_total, strip.dot, kept)

    over = PassScore(_passes(params), False, frozenset({"exps"}), lambda classes: classes + 1, add, kernels.information)
    return Score(over=over)
