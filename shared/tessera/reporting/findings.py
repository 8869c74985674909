"""Findings of a comparison in sentences that claim no more than the numbers show."""

from __future__ import annotations

import numpy as np

from tessera.reporting import costs
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
        ended = "ended at " if comparison.over else ""
        cost = "no rounds" if share is None else f"{ended}{percent(share)} of the pool, {count(clicks)} clicks"
        value = miou(float(np.mean(values)) if values else None)
        at = f" {at_cost(comparison, split)}" if split and comparison.over and not group.reference else ""
        words = f"{split or ''} {comparison.quality}{at}, {_over(group)}"
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
    """State which recipe is best at equal cost, every recipe's difference to the baseline, and whether these seeds
    resolve it; None without a pair.
    """
    best = [words for split in comparison.splits if (words := ranking(comparison, split))]
    pairs = [one for one in comparison.differences if one.measure == "final"]
    sentences = [el("p", el("b", words)) for words in best]
    sentences += [el("p", sentence(one, comparison.quality, at_cost(comparison, one.split))) for one in pairs]
    return el("div", sentences, class_="finding") if sentences else None


def ranking(comparison: Comparison, split: str) -> str | None:
    """Name the recipe with the highest mean mIoU (accuracy) at equal cost, and the others behind it.

    None without a common cost, where the height of a curve would compare budgets; with seeds that not all recipes
    share, whose means would compare seeds; and with a single recipe.
    """
    arms = [(group, group.values(split, "auc")) for group in comparison.groups if not group.reference]
    span = comparison.spans.get(split)
    if comparison.over is None or span is None or len(arms) < 2 or len({tuple(values) for _, values in arms}) > 1:
        return None
    means = sorted(((float(np.mean(list(values.values()))), group.recipe) for group, values in arms), reverse=True)
    write = costs.form(comparison.over)
    (best, winner), *others = means
    rest = ", ".join(f"{recipe} {miou(value)}" for value, recipe in others)
    seeds = len(arms[0][1])
    return (
        f"{winner} has the highest mean {split} {comparison.quality} from {write(span[0])} to {write(span[1])} "
        f"{costs.cost(comparison.over).title}: {miou(best)}; {rest} ({seeds} seed{'s' if seeds != 1 else ''})"
    )


def at_cost(comparison: Comparison, split: str) -> str:
    """Word where final values are read: "at equal budget" or "at 2,700 clicks"."""
    span = comparison.spans.get(split)
    if comparison.over is None or span is None:
        return "at equal budget"
    return f"at {costs.form(comparison.over)(span[1])} {costs.cost(comparison.over).title}"


def sentence(one: Difference, quality: str, where: str = "at equal budget") -> str:
    """Return one paired difference as a sentence."""
    side = "above" if one.mean >= 0 else "below"
    base = f"{one.split} {quality}: {one.recipe} ends {abs(one.mean):.3f} {side} {one.baseline} {where}"
    if one.interval is None:
        return f"{base}. One seed: this cannot tell a difference from chance."
    inside = one.interval[0] <= 0 <= one.interval[1]
    verdict = "zero is inside it, so these seeds alone do not settle it" if inside else "zero is outside it"
    return f"{base} (mean of {len(one.seeds)} paired seeds; 95 % interval {interval(one)}: {verdict})."
