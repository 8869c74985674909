"""Findings of a comparison in sentences that claim no more than the numbers show."""

from __future__ import annotations

import numpy as np

from tessera.reporting.compare import Comparison, Difference, Group
from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import count, duration, miou, percent
from tessera.reporting.tables import interval, key


def tiles(comparison: Comparison) -> Markup:
    """Draw one tile per recipe with its final mIoU, test before val."""
    split = "test" if "test" in comparison.splits else (comparison.splits[0] if comparison.splits else None)
    made = []
    for group in comparison.groups:
        values = list(group.values(split, "final").values()) if split else []
        share, clicks = group.spent("regions_fraction"), group.spent("clicks")
        cost = "no rounds" if share is None else f"{percent(share)} of the pool, {count(clicks)} clicks"
        value = miou(float(np.mean(values)) if values else None)
        words = f"{split or ''} mIoU, {_over(group)}"
        made.append(
            el("div", key(group.recipe, comparison), el("b", value), el("em", words), el("em", cost), class_="tile")
        )
    wall = sum(float(run["wall_seconds"]) for group in comparison.groups for run in group.runs)
    runs = sum(len(group.runs) for group in comparison.groups)
    plural = "s" if runs != 1 else ""
    made.append(
        el("div", el("span", "Computing time"), el("b", duration(wall)), el("em", f"{runs} run{plural}"), class_="tile")
    )
    return el("div", made, class_="tiles")


def _over(group: Group) -> str:
    return f"mean of {len(group.runs)} seeds" if len(group.runs) > 1 else f"seed {group.runs[0]['seed']}"


def finding(comparison: Comparison) -> Markup | None:
    """State every recipe's difference to the baseline, and whether these seeds resolve it; None without a pair."""
    sentences = [el("p", sentence(one)) for one in comparison.differences if one.measure == "final"]
    return el("div", sentences, class_="finding") if sentences else None


def sentence(one: Difference) -> str:
    """Return one paired difference as a sentence."""
    side = "above" if one.mean >= 0 else "below"
    base = f"{one.split} mIoU: {one.recipe} ends {abs(one.mean):.3f} {side} {one.baseline} at equal budget"
    if one.interval is None:
        return f"{base}. One seed: this cannot tell a difference from chance."
    inside = one.interval[0] <= 0 <= one.interval[1]
    verdict = "zero is inside it, so these seeds alone do not settle it" if inside else "zero is outside it"
    return f"{base} (mean of {len(one.seeds)} paired seeds; 95 % interval {interval(one)}: {verdict})."
