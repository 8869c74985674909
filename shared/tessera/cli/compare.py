"""Read finished runs and write their comparison in words; ``tessera.reporting.compare`` computes the statistics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.reporting import Comparison


def read(folder: Path) -> dict[str, Any]:
    """Read ``summary.json`` of a run's folder (or the file itself); BadInput when there is none or it is no summary."""
    path = folder / "summary.json" if folder.is_dir() else folder
    try:
        summary = json.loads(path.read_bytes())
    except OSError:
        raise BadInput(f"{folder}: no summary.json there; give the --out folder of a finished run") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error})") from None
    if not isinstance(summary, dict) or not summary.get("rounds") or "recipe" not in summary:
        raise BadInput(f"{path}: not the summary of a run with at least one finished round")
    return summary


def lines(summaries: Sequence[dict[str, Any]], split: str | None = None, over: str | None = None) -> list[str]:
    """Return the table, learning curve and verdict of some runs; BadInput when they cannot be compared.

    ``over`` compares at equal cost (a unit of ``tessera.units``) instead of equal rounds.
    """
    from tessera.reporting import compare, curve, ranking, table
    from tessera.reporting.compare import differing_versions

    made = compare(summaries, over)
    if not made.splits:
        raise BadInput("compare: no run was measured on val or test")
    shown = split or made.splits[-1]
    if shown not in made.splits:
        raise BadInput(f"compare: no run was measured on {shown!r}; there are {', '.join(made.splits)}")
    parts = [table(summaries, over), "", curve(summaries, shown, over=over), "", *verdict(made, shown)]
    if said := differing_versions(summaries):
        parts += ["", said]
    if best := ranking(made, shown):
        parts += ["", best]
    return [line for part in parts for line in part.split("\n")]


def verdict(made: Comparison, split: str) -> list[str]:
    """Return one sentence per method: ahead of the baseline, behind it, or not distinguishable with these seeds."""
    found = [each for each in made.differences if each.split == split and each.measure == "auc"]
    said = []
    for each in found:
        where = "over the run" if made.over is None else f"at equal {made.over}"
        relation = f"{each.recipe} is {'ahead of' if each.mean > 0 else 'behind'} {each.baseline}"
        if f"{abs(each.mean):.3f}" == "0.000":
            relation = f"{each.recipe} and {each.baseline} are equal"
        trust = "; a single seed proves nothing"
        if each.interval is not None:
            low, high = each.interval
            zero = ""
            if low <= 0 <= high:
                relation = f"{each.recipe} cannot be told from {each.baseline}"
                zero = "which includes zero, "
            trust = f" (95 % interval {low:+.3f} to {high:+.3f}, {zero}{len(each.seeds)} seeds)"
        by = f"{each.mean:+.3f} in mean {split} {made.quality} {where}"
        said.append(f"{relation}: {by}{trust}")
    if not said and made.baseline is not None and len(made.groups) > 1:
        said.append(f"no recipe shares a seed and a budget with {made.baseline}, so nothing can be paired")
    return said
