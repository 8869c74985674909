"""Compare finished runs: per method the curve over seeds, and paired differences against a baseline with intervals."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tessera.errors import BadInput

SPLITS = ("val", "test")


@dataclass(frozen=True)
class Point:
    """One round of one method: labelled fraction of the pool, and mIoU (0..1) of a split by seed."""

    regions: int
    fraction: float
    miou: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean mIoU over the seeds."""
        return sum(self.miou.values()) / len(self.miou)


@dataclass(frozen=True)
class Difference:
    """Method minus baseline, paired by seed: mean and the 95 % t interval of the mean (None with one seed)."""

    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean of the paired differences."""
        return sum(self.values.values()) / len(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Student interval of the mean difference; None with fewer than two seeds."""
        count = len(self.values)
        if count < 2:
            return None
        from scipy.stats import t

        deviation = math.sqrt(sum((value - self.mean) ** 2 for value in self.values.values()) / (count - 1))
        half = float(t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Comparison:
    """Runs grouped by recipe, baseline first, with everything that has to agree checked."""

    groups: Mapping[str, Mapping[int, Mapping[str, Any]]]
    baseline: str
    split: str

    def curve(self, group: str, split: str | None = None) -> list[Point]:
        """Mean curve of a method over the rounds that all its seeds have."""
        runs = self.groups[group]
        rounds = min(len(run["rounds"]) for run in runs.values())
        first = next(iter(runs.values()))
        return [
            Point(
                first["rounds"][index]["regions_labelled"],
                first["rounds"][index]["regions_fraction"],
                {seed: float(run["rounds"][index][split or self.split]["miou"]) for seed, run in runs.items()},
            )
            for index in range(rounds)
        ]

    def difference(self, group: str, measure: str) -> Difference:
        """Paired difference to the baseline in ``final`` mIoU or in ``area``, over the budgets both were measured at."""
        budgets = {point.regions for point in self.curve(group)} & {
            point.regions for point in self.curve(self.baseline)
        }
        if not budgets:
            names = f"{group} and {self.baseline}"
            raise BadInput(f"compare: {names} never had the same number of labelled regions; they cannot be compared")
        measured = final if measure == "final" else area
        mine, theirs = (
            measured([point for point in self.curve(name) if point.regions in budgets])
            for name in (group, self.baseline)
        )
        return Difference({seed: mine[seed] - theirs[seed] for seed in sorted(set(mine) & set(theirs))})


def final(points: Sequence[Point]) -> dict[int, float]:
    """mIoU at the last point, by seed."""
    return dict(points[-1].miou)


def area(points: Sequence[Point]) -> dict[int, float]:
    """Mean mIoU over the curve by seed: the trapezoid area over labelled regions, divided by their span."""
    span = points[-1].regions - points[0].regions
    if span == 0:
        return final(points)
    return {
        seed: sum((b.regions - a.regions) * (b.miou[seed] + a.miou[seed]) / 2 for a, b in pairwise(points)) / span
        for seed in points[0].miou
    }


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


def compare(summaries: Sequence[Mapping[str, Any]], baseline: str | None = None) -> Comparison:
    """Group runs by recipe; BadInput when data set or checkpoint policy differ or no seed is shared."""
    for key, what in (("dataset", "data set"), ("checkpoint_policy", "checkpoint policy")):
        seen = {json.dumps(summary.get(key), sort_keys=True) for summary in summaries}
        if len(seen) > 1:
            raise BadInput(
                f"compare: the runs differ in {what} ({' and '.join(sorted(seen))}); such runs are not compared"
            )
    groups: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for summary in summaries:
        name, seed = str(summary["recipe"]), int(summary["seed"])
        if seed in groups[name]:
            raise BadInput(f"compare: two runs of {name} with seed {seed}; give each once")
        groups[name][seed] = summary
    if baseline is not None and baseline not in groups:
        raise BadInput(f"compare: no run of the baseline {baseline!r}; there are: {', '.join(sorted(groups))}")
    first = baseline or next((name for name in sorted(groups) if "random" in name), next(iter(groups)))
    ordered = {first: groups[first], **{name: runs for name, runs in groups.items() if name != first}}
    for name, runs in ordered.items():
        if not set(runs) & set(ordered[first]):
            raise BadInput(f"compare: {name} and {first} share no seed, so their differences cannot be paired")
    rows = summaries[0]["rounds"]
    split = next((each for each in ("test", "val") if rows[-1].get(each)), None)
    if split is None or any(split not in row for summary in summaries for row in summary["rounds"]):
        raise BadInput("compare: the runs were not measured on one split; evaluate val or test in every recipe")
    return Comparison(ordered, first, split)


def table(comparison: Comparison) -> list[str]:
    """Lines of text: per method and round the labelled share and mean mIoU, then the paired differences."""
    lines = []
    width = max(len(name) for name in comparison.groups)
    for split in [each for each in SPLITS if all(each in row for row in _rows(comparison))]:
        lines.append(f"{split} mIoU (mean over seeds) at each share of labelled regions")
        for name in comparison.groups:
            cells = "  ".join(f"{100 * p.fraction:5.1f}%: {p.mean:.3f}" for p in comparison.curve(name, split))
            lines.append(f"  {name:<{width}}  {cells}")
    lines.append(f"difference to {comparison.baseline}, paired by seed, {comparison.split} mIoU")
    for name in list(comparison.groups)[1:]:
        for measure, label in (("final", "at the last common budget"), ("area", "area under the curve")):
            lines.append(f"  {name:<{width}}  {label:<25}  {wording(comparison.difference(name, measure))}")
    return lines


def wording(difference: Difference) -> str:
    """A paired difference in words: mean, interval, and the value of every seed."""
    seeds = ", ".join(f"seed {seed}: {value:+.3f}" for seed, value in difference.values.items())
    if difference.interval is None:
        return f"{difference.mean:+.3f} (one seed, no interval; {seeds})"
    low, high = difference.interval
    return f"{difference.mean:+.3f} (95 % interval {low:+.3f} to {high:+.3f}; {seeds})"


def verdict(comparison: Comparison) -> list[str]:
    """One honest sentence a method: ahead of the baseline, behind it, or not to be told apart with these seeds."""
    lines = []
    for name in list(comparison.groups)[1:]:
        difference = comparison.difference(name, "area")
        count = len(difference.values)
        if difference.mean == 0:
            lines.append(f"{name} and {comparison.baseline} are equal in mean mIoU over the run")
            continue
        if difference.mean > 0:
            relation = f"{name} is ahead of {comparison.baseline}"
        else:
            relation = f"{comparison.baseline} wins: {name} is behind it"
        interval = difference.interval
        clear = interval is not None and interval[0] * interval[1] > 0
        caveat = "" if clear else f"; {count} seed{'s' * (count > 1)} cannot settle this, the interval includes zero"
        if interval is None:
            caveat = "; one seed settles nothing"
        lines.append(f"{relation} by {abs(difference.mean):.3f} in mean mIoU over the run{caveat}")
    return lines


def curve_text(comparison: Comparison, width: int = 60, height: int = 14) -> list[str]:
    """The learning curves as text: mIoU up, labelled share to the right, one letter a method."""
    curves = {name: comparison.curve(name) for name in comparison.groups}
    marks = dict(zip(curves, "rmoxsabcdefgh", strict=False))
    marks = {name: ("r" if name == comparison.baseline else mark) for name, mark in marks.items()}
    shares = [point.fraction for points in curves.values() for point in points]
    values = [point.mean for points in curves.values() for point in points]
    left, right = min(shares), max(max(shares), min(shares) + 1e-9)
    bottom, top = min(values), max(max(values), min(values) + 1e-9)
    rows = [[" "] * width for _ in range(height)]
    for name, points in curves.items():
        for point in points:
            x = round((point.fraction - left) / (right - left) * (width - 1))
            y = round((top - point.mean) / (top - bottom) * (height - 1))
            rows[y][x] = "*" if rows[y][x] not in (" ", marks[name]) else marks[name]
    lines = []
    for index, row in enumerate(rows):
        value = top - (top - bottom) * index / (height - 1)
        lines.append(f"  {value:.3f} |{''.join(row)}")
    lines.append("        +" + "-" * width)
    lines.append(f"         {100 * left:.1f}%{'labelled regions':^{width - 12}}{100 * right:.1f}%")
    lines.append("  " + ", ".join(f"{mark} {name}" for name, mark in marks.items()) + ", * both")
    return lines


def _rows(comparison: Comparison) -> list[Mapping[str, Any]]:
    return [row for runs in comparison.groups.values() for run in runs.values() for row in run["rounds"]]
