"""The predicted class of every pixel."""

from __future__ import annotations

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Float32, Score, Strip
from tessera.acquisition.traits import ScoreTraits
from tessera.registry import Params


def _one(strip: Strip, out: Float32) -> None:
    out[:] = 1.0


@SCORES.register("predicted", Params, ScoreTraits(aggregates=("majority", "by_class"), why="is a class and no number"))
def predicted(params: Params) -> Score:
    """arg max_c p_c(x), the lowest class of equal ones; aggregate majority, or by_class for pixel counts per class.

    Aggregations by predicted class split a value by it; here that value is 1 per pixel, so they count.
    """
    return Score(pixel=_one, needs=frozenset({"predicted"}))
