"""Colour and marker of every recipe, the same in all charts of a page."""

from __future__ import annotations

from tessera.reporting.compare import Comparison


def colors(comparison: Comparison) -> dict[str, int]:
    """Give the random arm the neutral colour 0 and the others 1, 2, … in order."""
    result: dict[str, int] = {}
    following = 1
    for group in comparison.groups:
        if group.random:
            result[group.recipe] = 0
        else:
            result[group.recipe] = following
            following += 1
    return result
