"""Comparison of runs: means over seeds, paired differences by seed, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tessera.errors import BadInput
from tessera.evaluation import mean_and_interval
from tessera.reporting import costs
from tessera.reporting.numbers import measure_of, split_quality

SPLITS = ("val", "test")

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """The runs of one recipe."""

    recipe: str
    short: str
    """Name without the words that all recipes of the comparison share."""
    runs: tuple[Summary, ...]
    """Summaries by seed."""
    random: bool
    reference: bool
    """Whether it labels the whole pool at once (fully supervised): a reference line, not an arm."""
    over: str | None = None
    """Cost that the curves are read over; None: the share of the pool, at the rounds' own budgets."""
    spans: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    """Split → the costs that all arms cover."""

    def values(self, split: str, measure: str) -> dict[int, float]:
        """Return the value of each seed: ``final`` mIoU or ``auc`` (mean height of the curve), where measured.

        With ``over`` both are read at equal cost: final at the largest cost that all arms reach, the height over the
        range that all arms cover, linear between rounds.
        """
        found = {}
        for run in self.runs:
            value = self._at_cost(run, split, measure) if self.over and not self.reference else None
            if not self.over or self.reference:
                value = final(run, split) if measure == "final" else mean_height(run, split)
            if value is not None:
                found[int(run["seed"])] = value
        return found

    def spent(self, column: str) -> float | None:
        """Return the mean over the seeds of a cost at the end of the run, such as ``clicks``; None without rounds."""
        spent = [float(run["rounds"][-1][column]) for run in self.runs if run["rounds"]]
        return sum(spent) / len(spent) if spent else None

    def _at_cost(self, run: Summary, split: str, measure: str) -> float | None:
        span, curve = self.spans.get(split), costs.points(run, split, str(self.over))
        if span is None or not curve:
            return None
        return costs.height_at(curve, span[1]) if measure == "final" else costs.mean_height(curve, span)


@dataclass(frozen=True)
class Difference:
    """One recipe minus the baseline, paired by seed."""

    recipe: str
    baseline: str
    split: str
    measure: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None
    """95 % t interval of the mean; None with a single seed."""


@dataclass(frozen=True)
class Comparison:
    """Groups in the order first seen, and every paired difference against the baseline."""

    groups: tuple[Group, ...]
    baseline: str | None
    differences: tuple[Difference, ...]
    splits: tuple[str, ...]
    over: str | None = None
    """Cost that values are read over; None: the share of the pool, each run at its own rounds."""
    spans: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)

    @property
    def quality(self) -> str:
        """Return the measure of values and curves: mIoU, or accuracy for a data set of classification."""
        return measure_of(run for group in self.groups for run in group.runs)


def compare(runs: Sequence[Summary], over: str | None = None) -> Comparison:
    """Group runs by recipe and pair them by seed against the random arm (else the first recipe).

    ``over``, a unit of ``tessera.units``, compares at equal cost instead of equal rounds: every value is read off the
    curve over that cost, within the range that all arms cover (a fully supervised reference aside).

    BadInput: no runs; runs of different data sets or checkpoint policies; the same recipe and seed twice; an unknown
    cost, or arms that share no range of it.
    """
    if not runs:
        raise BadInput("comparison: no runs; give at least one")
    _check_comparable(runs)
    if over is not None:
        costs.cost(over)
    names = list(dict.fromkeys(str(run["recipe"]) for run in runs))
    shorts = short_names(names)
    splits = tuple(s for s in SPLITS if any(split_quality(one, s) is not None for run in runs for one in run["rounds"]))
    spans = {split: _span(runs, split, over) for split in splits} if over is not None else {}
    groups = []
    for name in names:
        mine = sorted((run for run in runs if run["recipe"] == name), key=lambda run: int(run["seed"]))
        reference = all(map(_is_reference, mine))
        groups.append(Group(name, shorts[name], tuple(mine), _is_random(mine[0]), reference, over, spans))
    arms = [group for group in groups if not group.reference]
    baseline = next((group for group in arms if group.random), arms[0] if arms else None)
    differences = [
        difference
        for group in arms
        if baseline is not None and group is not baseline
        for split in splits
        for measure in ("final", "auc")
        if (difference := _difference(group, baseline, split, measure)) is not None
    ]
    return Comparison(tuple(groups), baseline.recipe if baseline else None, tuple(differences), splits, over, spans)


def _span(runs: Sequence[Summary], split: str, over: str) -> tuple[float, float] | None:
    arms = [(run, costs.points(run, split, over)) for run in runs if not _is_reference(run)]
    measured = [(run, curve) for run, curve in arms if curve]
    span = costs.shared_span([curve for _, curve in measured])
    if measured and span is None:
        form = costs.form(over)
        ranges = "; ".join(
            f"{run['recipe']} (seed {run['seed']}): {form(curve[0][0])} to {form(curve[-1][0])}"
            for run, curve in measured
        )
        raise BadInput(f"comparison over {over}: no range is covered by all runs ({ranges}); compare over another cost")
    return span


def final(run: Summary, split: str) -> float | None:
    """Return the mIoU (accuracy, for classification) of the last round, None where not measured."""
    return split_quality(run["rounds"][-1], split) if run["rounds"] else None


def mean_height(run: Summary, split: str) -> float | None:
    """Return the area under the curve over the width of its budget range, from the summary."""
    area = (run.get("auc") or {}).get(split)
    return None if not area or area.get("mean") is None else float(area["mean"])


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Drop the leading and trailing words, split at ``_``, that all names share."""
    words = [name.split("_") for name in names]
    shortest = min(len(parts) for parts in words)
    start = 0
    while len(names) > 1 and start < shortest - 1 and len({parts[start] for parts in words}) == 1:
        start += 1
    end = 0
    while len(names) > 1 and end < shortest - start - 1 and len({parts[-1 - end] for parts in words}) == 1:
        end += 1
    return {name: "_".join(parts[start : len(parts) - end]) for name, parts in zip(names, words, strict=True)}


def _difference(group: Group, baseline: Group, split: str, measure: str) -> Difference | None:
    ours, theirs = group.values(split, measure), baseline.values(split, measure)
    if group.over is not None:
        # Values at equal cost have been read already.
        return _paired(group, baseline, split, measure, ours, theirs, tuple(sorted(set(ours) & set(theirs))))
    budgets = {int(run["seed"]): _budget(run) for run in group.runs if run["rounds"]}
    other = {int(run["seed"]): _budget(run) for run in baseline.runs if run["rounds"]}
    # At unequal budgets a difference would compare budgets, not methods.
    shared = sorted(set(ours) & set(theirs) & set(budgets) & set(other))
    seeds = tuple(s for s in shared if all(map(math.isclose, budgets[s], other[s])))
    return _paired(group, baseline, split, measure, ours, theirs, seeds)


def _paired(
    group: Group,
    baseline: Group,
    split: str,
    measure: str,
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    seeds: tuple[int, ...],
) -> Difference | None:
    if not seeds:
        return None
    values = tuple(ours[seed] - theirs[seed] for seed in seeds)
    mean, interval = mean_and_interval(values)
    return Difference(group.recipe, baseline.recipe, split, measure, seeds, values, mean, interval)


def _budget(run: Summary) -> tuple[float, float]:
    rounds = run["rounds"]
    return float(rounds[0]["regions_fraction"]), float(rounds[-1]["regions_fraction"])


def _is_random(run: Summary) -> bool:
    stages = (run.get("axes") or {}).get("selection", {}).get("stages") or []
    names = [stage.get("name") for stage in stages if isinstance(stage, Mapping)]
    by = [str(stage.get("by", "")) for stage in stages if isinstance(stage, Mapping)]
    return names == ["random"] or (names == ["top"] and by[0].startswith("random"))


def _is_reference(run: Summary) -> bool:
    return len(run["rounds"]) == 1 and float(run["rounds"][0]["regions_fraction"]) > 0.999


def _check_comparable(runs: Sequence[Summary]) -> None:
    first = runs[0]
    seen = set()
    for run in runs:
        _check_version(run, first)
        for key, facts in (("data set", _dataset), ("checkpoint policy", checkpoint)):
            if facts(run) != facts(first):
                raise BadInput(
                    f"comparison: {run['recipe']} (seed {run['seed']}) has {key} {facts(run)!r}, "
                    f"{first['recipe']} has {facts(first)!r}; compare runs that share it"
                )
        identity = (run["recipe"], run["seed"])
        if identity in seen:
            raise BadInput(f"comparison: {run['recipe']} with seed {run['seed']} is given twice; give each run once")
        seen.add(identity)


def _check_version(run: Summary, first: Summary) -> None:
    """Refuse runs that began with different versions of one data set: their evaluation sets are different images."""
    mine, other = (one["dataset"] if isinstance(one.get("dataset"), Mapping) else {} for one in (run, first))
    series = mine.get("series")
    if series and series == other.get("series") and mine.get("version") != other.get("version"):
        least = min(mine.get("version") or 1, other.get("version") or 1)
        raise BadInput(
            f"comparison: {run['recipe']} (seed {run['seed']}) began with version {mine.get('version')} of data set "
            f"{series}, {first['recipe']} with version {other.get('version')}, so they are measured on different "
            f"images; let both begin with one version: --data dataset:{series}@{least}+"
        )


def differing_versions(runs: Sequence[Summary]) -> str:
    """Return a sentence where runs had other versions of their data set in a round that both have; "" otherwise."""
    told: dict[str, list[int | None]] = {
        f"{run['recipe']} (seed {run['seed']})": [one.get("data_version") for one in run["rounds"]] for run in runs
    }
    common = min(map(len, told.values()), default=0)
    if len({tuple(versions[:common]) for versions in told.values()}) < 2:
        return ""
    parts = "; ".join(f"{who} {', '.join(str(one or '–') for one in versions)}" for who, versions in told.items())
    return f"the runs had different versions of the data set, round by round: {parts}"


def checkpoint(run: Summary) -> str:
    """Return the checkpoint policy of a run, and which weights choose where they may not be the measured ones."""
    policy = str(run.get("checkpoint_policy"))
    if policy != "best_val":
        return policy
    # Summaries of versions without the choice: the kept weights chose.
    return f"{policy}, acquisition by the {run.get('acquisition_model', 'kept')} weights"


def _dataset(run: Summary) -> tuple[Any, Any]:
    dataset = run.get("dataset") or {}
    return (dataset.get("name"), dataset.get("manifest_sha256")) if isinstance(dataset, Mapping) else (dataset, None)
