"""Paired comparison of runs: same data, split, checkpoint policy and budget, differences seed by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tessera.errors import BadInput

# Two-sided 97.5 % quantiles of Student's t by degrees of freedom; beyond, the normal's.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
_NORMAL = 1.960


@dataclass(frozen=True)
class Measured:
    """One run's final number and everything that must be equal for it to be comparable."""

    run: str
    seed: int
    value: float
    dataset: str
    split: str
    checkpoint_policy: str
    budget: float


@dataclass(frozen=True)
class Comparison:
    """Difference first − second by seed, its mean, and the 95 % t-interval (NaN with fewer than two seeds)."""

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    mean: float
    low: float
    high: float


def compare(first: Sequence[Measured], second: Sequence[Measured]) -> Comparison:
    """Pair two arms by seed and give the differences of the seeds both have.

    BadInput: data set, split, checkpoint policy or budget differ between any two runs, a seed occurs twice in an arm,
    or the arms share none.
    """
    everything = [*first, *second]
    if not first or not second:
        raise BadInput("compare: one side has no runs; name at least one run a side")
    for field in ("dataset", "split", "checkpoint_policy", "budget"):
        for other in everything[1:]:
            a, b = getattr(everything[0], field), getattr(other, field)
            if a != b:
                raise BadInput(
                    f"compare: {everything[0].run} has {field} {a!r} and {other.run} has {b!r}; "
                    "only runs that agree in it can be compared"
                )
    left, right = _by_seed(first), _by_seed(second)
    seeds = sorted(left.keys() & right.keys())
    if not seeds:
        raise BadInput(f"compare: no common seed in {sorted(left)} and {sorted(right)}; run both arms with the same")
    differences = [left[seed] - right[seed] for seed in seeds]
    mean = float(np.mean(differences))
    half = math.nan
    if len(seeds) > 1:
        quantile = _T[len(seeds) - 2] if len(seeds) - 2 < len(_T) else _NORMAL
        half = quantile * float(np.std(differences, ddof=1)) / math.sqrt(len(seeds))
    return Comparison(tuple(seeds), tuple(differences), mean, mean - half, mean + half)


def _by_seed(runs: Sequence[Measured]) -> dict[int, float]:
    found: dict[int, float] = {}
    for run in runs:
        if run.seed in found:
            raise BadInput(f"compare: seed {run.seed} occurs twice on one side ({run.run}); give every seed once")
        found[run.seed] = run.value
    return found
