"""Learning curves reduced to a number: AUC@B and mIoU@B of the Best Practices study (its §4, Table 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tessera.errors import BadInput

Convention = Literal["trapezoid", "no_half"]


def auc(budgets: Sequence[float], values: Sequence[float], convention: Convention = "trapezoid") -> float:
    """Return the area under a learning curve, Σ (b_{i+1} − b_i) (p_i + p_{i+1}) / 2, from the initial budget on.

    ``budgets`` are fractions of the pool, rising; ``values`` have the unit of the result (mIoU in 0..1 or in %).
    "no_half" leaves the ½ out, as one published table does (A2D2-3K: 6.64), and is twice as large. One point has no
    area: 0. BadInput: different lengths, no point, budgets that do not rise.
    """
    fractions, heights = _curve(budgets, values)
    area = float(np.sum(np.diff(fractions) * (heights[:-1] + heights[1:])))
    if convention == "trapezoid":
        return area / 2.0
    if convention == "no_half":
        return area
    raise BadInput(f"auc: unknown convention {convention!r}; known: trapezoid, no_half")


def miou_at(budgets: Sequence[float], values: Sequence[float], budget: float) -> float:
    """Return the value of the learning curve at ``budget`` (a fraction), by linear interpolation between its points.

    BadInput when ``budget`` lies outside the curve: nothing is extrapolated.
    """
    fractions, heights = _curve(budgets, values)
    if not fractions[0] <= budget <= fractions[-1]:
        raise BadInput(
            f"mIoU@{budget:g}: the curve covers only {fractions[0]:g} to {fractions[-1]:g} of the pool; "
            "choose a budget within"
        )
    return float(np.interp(budget, fractions, heights))


def _curve(budgets: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    fractions, heights = np.asarray(budgets, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if fractions.shape != heights.shape or fractions.ndim != 1 or not fractions.size:
        raise BadInput(f"curve: {fractions.size} budgets and {heights.size} values; give one value per budget")
    if not np.all(np.diff(fractions) > 0):
        raise BadInput(f"curve: budgets must rise strictly, got {fractions.tolist()}")
    return fractions, heights
