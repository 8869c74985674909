"""EquAL: entropy of the image and of its mirror image."""

from __future__ import annotations

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Float32, PassScore, PassSet, Score, Strip
from tessera.acquisition.traits import ScoreTraits
from tessera.registry import Params


class EqualParams(Params):
    """``aligned`` false leaves the mirrored map mirrored, as the Best-Practices study's code does.

    Over a whole image both give the sum of two means; over part of an image only the aligned map belongs to that part.
    """

    aligned: bool = True


def _passes(params: EqualParams) -> PassSet:
    return PassSet("flip" if params.aligned else "mirror")


@SCORES.register("equal", EqualParams, ScoreTraits(passes=_passes))
def equal(params: EqualParams) -> Score:
    """H(p(x)) + unflip H(p(flip x)), nats, 0 … 2 log C (EquAL; Best Practices §2: mean over all pixels).

    The published score has the two entropies alone, and no term for the difference of the two predictions.
    """

    def add(strip: Strip, kept: Float32) -> None:
        kept[0] += strip.log_total - strip.dot / strip.total

    def finish(kept: Float32, passes: int, out: Float32) -> None:
        out[:] = kept[0]

    over = PassScore(_passes(params), True, frozenset({"softmax"}), lambda classes: 1, add, finish)
    return Score(over=over)
