"""Forecast of a learning curve: at which cost it may reach a goal, said with its assumption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FARTHEST = 10.0
"""A goal beyond this multiple of the cost so far is not forecast: a line through a few points says nothing there."""


@dataclass(frozen=True)
class Forecast:
    """Cost at which the fitted curve meets the goal."""

    cost: float | None
    """None where the curve falls, has too few points, or meets the goal only beyond ``FARTHEST``."""
    slope: float
    """Gain of quality when the cost doubles; NaN with fewer than three points."""
    reached: bool = False


def forecast(curve: Sequence[tuple[float, float]], goal: float) -> Forecast:
    """Return where a curve of (cost, quality) meets ``goal`` if it stays a line over the logarithm of the cost.

    Fits quality = a + b · log₂ cost to the points of positive cost by least squares; the forecast is
    2^((goal − a) / b), and at least the cost so far. A curve that has met the goal is ``reached``, at the first cost at
    which it did.
    """
    met = [cost for cost, quality in curve if quality >= goal]
    points = [(cost, quality) for cost, quality in curve if cost > 0]
    slope = math.nan
    if len({cost for cost, _ in points}) >= 3:
        x = np.log2([cost for cost, _ in points])
        y = np.array([quality for _, quality in points])
        centred = x - x.mean()
        slope = float((centred * (y - y.mean())).sum() / (centred**2).sum())
    if met:
        return Forecast(met[0], slope, reached=True)
    if not slope > 0:
        return Forecast(None, slope)
    most = max(cost for cost, _ in points)
    distance = float((goal - (y.mean() - slope * x.mean())) / slope)
    if distance > math.log2(FARTHEST * most):
        return Forecast(None, slope)
    return Forecast(max(2.0**distance, most), slope)
