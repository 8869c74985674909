"""Margin between the two most likely classes."""

from __future__ import annotations

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Float32, Score, Strip
from tessera.registry import Params


@SCORES.register("margin", Params)
def margin(params: Params) -> Score:
    """1 − (p1(x) − p2(x)), in [0, 1], with p1 ≥ p2 the two largest of the softmax (Scheffer et al. 2001; PixelPick)."""
    from tessera.acquisition.scoring.kernels.margin import margin as kernel
    from tessera.acquisition.scoring.softmax_kernel import exponentials

    def pixel(strip: Strip, out: Float32) -> None:
        exponentials(strip.second, out)
        kernel(out, strip.total, out)

    return Score(pixel=pixel, needs=frozenset({"softmax", "second"}))
